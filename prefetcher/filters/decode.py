"""One decoder for each HDF5 filter, and the order in which a storage chunk goes through them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from prefetcher.errors import CorruptError
from prefetcher.filters import compressors, plugins
from prefetcher.filters.compressors import BZIP2, GZIP, LZF, LZO, SZIP
from prefetcher.filters.shuffle import unshuffled

Bytes = NDArray[np.uint8]
"""A storage chunk, or what a filter made of it: one dimension, contiguous."""

SHUFFLE, FLETCHER32 = 2, 3
_NAMES = {
    SHUFFLE: "shuffle",
    FLETCHER32: "fletcher32",
    SZIP: "szip",
    5: "nbit",
    6: "scaleoffset",
    LZO: "lzo",
    BZIP2: "bzip2",
    LZF: "lzf",
    plugins.BLOSC: "blosc",
    plugins.LZ4: "lz4",
    plugins.BITSHUFFLE: "bitshuffle",
    32013: "zfp",
    plugins.ZSTD: "zstd",
    32026: "blosc2",
}
_FIRST_PLUGIN = 256  # smaller numbers are the library's own filters
_CHECKSUM_BYTES = 4
_ROOM = 64  # more than all checksums below a compressor add


class StoredFilter(NamedTuple):
    """One filter of a dataset, as the file names it."""

    code: int
    """The number under which the HDF Group registered it."""
    values: tuple[int, ...]
    """Its settings; their meaning is the filter's own."""

    @property
    def name(self) -> str:
        """A short name for people: "gzip-4", "lzf", "filter 305"."""
        if self.code == GZIP:
            return f"gzip-{self.values[0]}" if self.values else "gzip"
        return _NAMES.get(self.code) or f"filter {self.code}"

    @property
    def from_plugin(self) -> bool:
        """Whether it may be in the hdf5plugin package."""
        return self.code >= _FIRST_PLUGIN


class Stage(NamedTuple):
    """One decoder in its place."""

    name: str
    decode: Callable[[Bytes, int], Bytes]
    """Takes the stored bytes and the size that they must have when decoded."""
    adds: int | None
    """Bytes that the filter adds when it writes; None where that depends on the bytes."""
    hdf5_survives: Callable[[Bytes, int], bool] | None = None
    """As that of `compressors.Compressor`; for who adds what depends on the bytes."""


def stage_for(stored: StoredFilter) -> Stage | None:
    """The decoder for a filter with these settings, None if it is left to h5py."""
    if stored.code == FLETCHER32:
        return Stage(stored.name, _without_checksum, _CHECKSUM_BYTES)
    if stored.code == SHUFFLE and stored.values and stored.values[0] > 0:
        return Stage(stored.name, partial(unshuffled, stored.values[0]), 0)
    if found := compressors.compressor(stored.code, stored.values):
        return Stage(stored.name, found.decode, None, found.hdf5_survives)
    decode = plugins.decoder(stored.code, stored.values)
    return decode and Stage(stored.name, decode, None)


def why_left_to_hdf5(filters: Sequence[StoredFilter]) -> str | None:
    """One clause why h5py has to decode these filters, None if `Decoder` can."""
    stages = [stage_for(stored) for stored in filters]
    for stored, stage in zip(filters, stages, strict=True):
        if stage is None:
            if compressors.is_wanting(stored.code, stored.values):
                return f"{stored.name} is decoded outside HDF5 by {compressors.NOT_INSTALLED}"
            return f"only HDF5 itself can decode {stored.name}"
    # Nothing would bound the size of what the inner one of two compressors writes.
    if sum(stage is not None and stage.adds is None for stage in stages) > 1:
        return "it is compressed twice"
    return None


class Decoder:
    """Undoes the filters of one dataset, on any number of threads at once.

    Args:
        filters: The filters in the order in which they were applied; not left to HDF5.
        size: Bytes of a decoded storage chunk.
    """

    def __init__(self, filters: Sequence[StoredFilter], size: int) -> None:
        self._stages = [stage for stored in filters if (stage := stage_for(stored))]
        self._size = size
        # Whether HDF5's own decoders answer damaged bytes; others crash, or wait for ever.
        self._stands_damage = all(
            stage.adds is not None or stage.hdf5_survives for stage in self._stages
        )
        self.takes_room = bool(filters) and filters[-1].code in plugins.LIBRARIES
        """Whether `decode` is best given bytes in a `malloc.room`, which it then takes."""

    def is_plain(self, mask: int) -> bool:
        """Whether a storage chunk with this filter mask lies in the file as it is."""
        return not self._used(mask)

    def decode(self, data: Bytes, mask: int) -> Bytes:
        """The decoded storage chunk; it may be a view of `data`.

        Args:
            data: Its bytes in the file; gone afterwards if they lie in a `malloc.room`.
            mask: Bit i tells that filter i was skipped when it was written.

        Raises:
            CorruptError: a checksum does not match, or the bytes do not decode to their size.
        """
        used = self._used(mask)
        for at, stage in reversed(list(enumerate(used))):
            if stage.adds is None:
                size = self._size + sum(before.adds or 0 for before in used[:at])
            else:
                size = len(data) - stage.adds
            data = stage.decode(data, size)
            if len(data) != size:
                raise CorruptError(f"{stage.name} decodes to {len(data)} bytes instead of {size}")
        if len(data) != self._size:
            raise CorruptError(f"it holds {len(data)} bytes instead of {self._size}")
        return data

    def hdf5_survives(self, data: Bytes, mask: int) -> bool:
        """Whether HDF5 itself would answer these bytes, which do not decode, with a plain error.

        Its filters may crash, wait for ever, or take the memory for whatever a stream unpacks to.
        """
        if not self._stands_damage:
            return False  # HDF5 would be shown other storage chunks too
        with suppress(CorruptError):  # which keeps HDF5 from going further
            for stage in reversed(self._used(mask)):
                if stage.hdf5_survives:
                    return stage.hdf5_survives(data, self._size + _ROOM)
                data = stage.decode(data, len(data) - (stage.adds or 0))
        return True

    def _used(self, mask: int) -> list[Stage]:
        return [stage for i, stage in enumerate(self._stages) if not mask >> i & 1]


def _without_checksum(data: Bytes, size: int) -> Bytes:
    if size < 0:
        raise CorruptError("it is too short to hold its checksum")
    stored = int.from_bytes(data[size:].tobytes(), "little")
    found = fletcher32(data[:size])
    # HDF5 before 1.6.3 stored each half with its bytes swapped.
    if stored not in (found, _bytes_swapped(found)):
        raise CorruptError(f"its checksum is {found:08x}, the file says {stored:08x}")
    return data[:size]


def _bytes_swapped(checksum: int) -> int:
    return (checksum & 0x00FF00FF) << 8 | (checksum >> 8 & 0x00FF00FF)


_BLOCK = 256  # the weighted sum of so many words still fits 32 bits
_WEIGHTS = np.arange(_BLOCK, 0, -1, dtype=np.uint32)


def fletcher32(data: Bytes) -> int:
    """HDF5's checksum: the sum of all big-endian 16-bit words and the sum of its prefixes."""
    if data.size % 2:
        data = np.append(data, np.uint8(0))
    words = data.view(">u2")
    head = words[: words.size // _BLOCK * _BLOCK].reshape(-1, _BLOCK)
    tail = words[head.size :].astype(np.uint64)
    sums = head.sum(axis=1, dtype=np.uint32).astype(np.uint64)
    weighted = np.einsum("ij,j->i", head, _WEIGHTS, dtype=np.uint32, casting="same_kind")
    # A word counts once in every later prefix; modulo 65535 nothing here passes 64 bits.
    later = np.arange(words.size - _BLOCK, -1, -_BLOCK, dtype=np.uint64)[: sums.size]
    first = int(sums.sum()) + int(tail.sum())
    second = int((sums % 65535 * (later % 65535)).sum()) + int(weighted.sum(dtype=np.uint64))
    second += int((tail * np.arange(tail.size, 0, -1, dtype=np.uint64)).sum())
    return _folded(second) << 16 | _folded(first) if first else 0


def _folded(total: int) -> int:
    """Modulo 65535 as ones' complement folding gives it: 65535 stands for itself, not for 0."""
    return (total - 1) % 65535 + 1
