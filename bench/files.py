"""The files that are measured: the same pictures, stored in every way worth comparing.

Each picture carries its row's number in its first pixel, so that whoever reads it can prove that
every row came, and came once.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import count, islice
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from prefetcher.cli import roads
from prefetcher.cli.output import progress

STEP = 32
"""Rows of a storage chunk, where we choose."""
FLOAT_SHARE = 4
"""A float32 row weighs as much as four uint8 rows, so such a file has a quarter of the rows."""
_PLACES = np.array([1 << 16, 1 << 8, 1])


@dataclass(frozen=True)
class Kind:
    """One way to store the pictures.

    Attributes:
        name: What the table calls it.
        storage: What `h5py.Group.create_dataset` is told about the layout and the filters.
        dtype: "uint8", or "float32" with values from 0 to 1.
        grain: Noise of the pictures in grey levels: 0 compresses like a clean photograph, 3
            like one taken in poor light.
    """

    name: str
    storage: Mapping[str, Any] = field(default_factory=dict)
    dtype: str = "uint8"
    grain: int = 0

    def rows(self, samples: int) -> int:
        """Rows of a file that weighs as much as `samples` uint8 pictures."""
        return samples if self.dtype == "uint8" else samples // FLOAT_SHARE


def kinds() -> list[Kind]:
    """Every kind whose filters are installed here."""
    together = {"chunks": (STEP, roads.SIDE, roads.SIDE, 3)}
    gzip = {"compression": "gzip", "compression_opts": 4}
    made = [
        Kind("contiguous"),
        Kind("storage chunks of 32", together),
        Kind("gzip-4", together | gzip),
        Kind("gzip-4, noisy", together | gzip, grain=3),
        Kind("gzip-4, h5py's chunks", gzip | {"chunks": True}),
        Kind("lzf", together | {"compression": "lzf"}),
        Kind("szip", together | {"compression": "szip"}),
        Kind("shuffle, gzip-4, float32", together | gzip | {"shuffle": True}, dtype="float32"),
    ]
    if importlib.util.find_spec("hdf5plugin"):
        import hdf5plugin

        made += [
            Kind("lz4", together | dict(hdf5plugin.LZ4())),
            Kind("zstd-3", together | dict(hdf5plugin.Zstd(clevel=3))),
            Kind("blosc", together | dict(hdf5plugin.Blosc())),
            Kind("bzip2", together | dict(hdf5plugin.BZip2())),
        ]
    return made


def make(folder: Path, kind: Kind, samples: int, seed: int = 0) -> Path:
    """Writes the file of a kind, unless an earlier run left it there.

    Args:
        folder: Where the files lie; about 0.6 GB each for 12,800 samples.
        kind: How to store them.
        samples: Weight of the file in uint8 pictures.
        seed: Of the pictures.

    Returns:
        The file, with the datasets ``images`` and ``ids``.
    """
    rows = kind.rows(samples)
    words = "".join(letter if letter.isalnum() else "-" for letter in kind.name)
    path = folder / f"{words}-{rows}-{seed}.h5"
    if not path.exists():
        partial = path.with_suffix(".partial")
        with h5py.File(partial, "w") as file:
            _fill(file, kind, rows, seed)
        partial.replace(path)
    return path


def _fill(file: h5py.File, kind: Kind, rows: int, seed: int) -> None:
    shape = (rows, roads.SIDE, roads.SIDE, 3)
    images = file.create_dataset("images", shape, kind.dtype, **kind.storage)
    file["ids"] = np.arange(rows)
    # Whole storage chunks: a part of one would have to be read and compressed again.
    together = images.chunks[0] if images.chunks else STEP
    with progress(f"Writing {kind.name}", rows) as advance:
        numbered = _numbered(kind, rows, seed)
        for start in range(0, rows, together):
            pictures = np.stack(list(islice(numbered, together)))
            images[start : start + len(pictures)] = pictures
            advance(len(pictures))


def _numbered(kind: Kind, rows: int, seed: int) -> Iterator[NDArray[np.generic]]:
    """One picture after the other, its row's number in its first pixel."""
    numbers = count()
    for drawn, _ in roads.draw_in_steps(rows, seed, kind.grain):
        for picture in drawn if kind.dtype == "uint8" else drawn / np.float32(255):
            picture[0, 0] = next(numbers) // _PLACES % 256
            yield picture


def numbers_in(pictures: NDArray[np.generic]) -> NDArray[np.int64]:
    """The row numbers that these pictures carry, int64 (count,)."""
    numbers: NDArray[np.int64] = pictures[:, 0, 0].astype(np.int64) @ _PLACES
    return numbers
