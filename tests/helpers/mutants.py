"""Damaged copies of HDF5 files, each a pure function of the file and a number.

``python -m helpers.mutants FILE NUMBER COPY`` writes the copy that a failing test names.
"""

from __future__ import annotations

import sys
import zlib
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import h5py
import numpy as np

Span = tuple[int, int]
"""Where stored bytes lie: offset and length."""

SEED = 16
TELLING = (0, 1, 0x7F, 0x80, 0xFE, 0xFF)
"""Values that lengths, counts and types stumble over."""


def stored_spans(path: Path) -> list[Span]:
    """Where the rows of the file's datasets lie, as far as HDF5 tells."""
    spans: list[Span] = []

    def note(_: str, item: h5py.HLObject) -> None:
        if not isinstance(item, h5py.Dataset):
            return
        with suppress(Exception):  # a type or a layout that has no offset
            if item.chunks:
                item.id.chunk_iter(lambda chunk: spans.append((chunk.byte_offset, chunk.size)))
            elif (offset := item.id.get_offset()) is not None:
                spans.append((offset, item.id.get_storage_size()))

    with h5py.File(path) as file:
        file.visititems(note)
    return [(offset, size) for offset, size in spans if size]


def metadata_of(whole: bytes, spans: list[Span]) -> np.ndarray[Any, np.dtype[np.int64]]:
    """The offsets of all bytes that are neither rows nor zero: nearly all mean something."""
    bare = np.frombuffer(whole, np.uint8) != 0
    for offset, size in spans:
        bare[offset : offset + size] = False
    return np.flatnonzero(bare)


class Mutants:
    """The damaged copies of one file."""

    def __init__(self, path: Path) -> None:
        self._kind = path.stem
        self._whole = path.read_bytes()
        self._spans = stored_spans(path)
        self._metadata = metadata_of(self._whole, self._spans)

    def write(self, number: int, path: Path) -> str:
        """Writes copy `number`; returns what is wrong with it."""
        rng = np.random.default_rng([SEED, zlib.crc32(self._kind.encode()), number])
        file = bytearray(self._whole)
        damage = list(DAMAGES.values())[number % len(DAMAGES)]
        told = damage(self, rng, file)
        path.write_bytes(file)
        return told

    def flip(self, rng: np.random.Generator, file: bytearray) -> str:
        """One to three bits anywhere."""
        at = rng.integers(len(file), size=rng.integers(1, 4)).tolist()
        for offset in at:
            file[offset] ^= 1 << int(rng.integers(8))
        return f"bits at {at}"

    def flip_metadata(self, rng: np.random.Generator, file: bytearray) -> str:
        """A bit of a byte that means something."""
        at = int(rng.choice(self._metadata))
        file[at] ^= 1 << int(rng.integers(8))
        return f"a bit of metadata at {at}"

    def set_metadata(self, rng: np.random.Generator, file: bytearray) -> str:
        """A telling value in place of a byte that means something."""
        at, value = int(rng.choice(self._metadata)), int(rng.choice(TELLING))
        file[at] = value
        return f"{value:#x} in the metadata at {at}"

    def number_metadata(self, rng: np.random.Generator, file: bytearray) -> str:
        """Another number of 2 to 8 bytes in the metadata: a length, an offset, a count."""
        at, size = int(rng.choice(self._metadata)), int(rng.choice([2, 4, 8]))
        value = int(rng.integers(0, 2 ** int(rng.integers(1, min(8 * size, 62)))))
        file[at : at + size] = (value % (1 << 8 * size)).to_bytes(size, "little")
        del file[len(self._whole) :]
        return f"{value} in {size} bytes at {at}"

    def repeat_metadata(self, rng: np.random.Generator, file: bytearray) -> str:
        """A piece of metadata in the place of another: an index that names a place twice."""
        source, target = rng.choice(self._metadata, 2).tolist()
        size = min(int(rng.choice([8, 16, 24, 32, 40])), len(file) - target)
        piece = self._whole[source : source + size]
        file[target : target + len(piece)] = piece
        return f"{size} bytes from {source} at {target}"

    def damage_rows(self, rng: np.random.Generator, file: bytearray) -> str:
        """A few bytes of the stored rows, or all of a storage chunk."""
        if not self._spans:
            return self.flip(rng, file)
        offset, size = self._spans[int(rng.integers(len(self._spans)))]
        if rng.integers(5) == 0:
            file[offset : offset + size] = bytes(size)
            return f"zeros in the {size} bytes of rows at {offset}"
        at = offset + int(rng.integers(size))
        file[at] ^= 1 << int(rng.integers(8))
        return f"a bit of the rows at {at}"

    def cut(self, rng: np.random.Generator, file: bytearray) -> str:
        """The file cut short."""
        size = int(rng.integers(len(file)))
        del file[size:]
        return f"cut to {size} bytes"


Damage = Callable[[Mutants, np.random.Generator, bytearray], str]

DAMAGES: Mapping[str, Damage] = {
    "flip": Mutants.flip,
    "flip metadata": Mutants.flip_metadata,
    "set metadata": Mutants.set_metadata,
    "number": Mutants.number_metadata,
    "repeat": Mutants.repeat_metadata,
    "rows": Mutants.damage_rows,
    "metadata again": Mutants.flip_metadata,
    "number again": Mutants.number_metadata,
    "cut": Mutants.cut,
}
"""In turn; what goes deep comes twice."""


if __name__ == "__main__":
    told = Mutants(Path(sys.argv[1])).write(int(sys.argv[2]), Path(sys.argv[3]))
    print(told)  # noqa: T201
