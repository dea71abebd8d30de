"""One decoder for each HDF5 filter."""

from __future__ import annotations

from typing import NamedTuple

import h5py

GZIP, SHUFFLE, FLETCHER32, LZF, LZ4, ZSTD = 1, 2, 3, 32000, 32004, 32015
_NAMES = {
    SHUFFLE: "shuffle",
    FLETCHER32: "fletcher32",
    4: "szip",
    5: "nbit",
    6: "scaleoffset",
    307: "bzip2",
    LZF: "lzf",
    32001: "blosc",
    LZ4: "lz4",
    32008: "bitshuffle",
    32013: "zfp",
    ZSTD: "zstd",
    32026: "blosc2",
}


class StoredFilter(NamedTuple):
    """One filter of a dataset's pipeline, as the file names it."""

    code: int
    """The number under which the HDF Group registered it."""
    values: tuple[int, ...]
    """Its settings; their meaning is the filter's own."""
    name: str
    """What the file calls it, often nothing."""


def stored_filters(properties: h5py.h5p.PropDCID) -> tuple[StoredFilter, ...]:
    """The filters in the order in which they were applied when the dataset was written."""
    found = []
    for i in range(properties.get_nfilters()):
        code, _, values, name = properties.get_filter(i)
        found.append(StoredFilter(code, tuple(values), name.decode("utf-8", "replace")))
    return tuple(found)


def readable_name(stored: StoredFilter) -> str:
    """A short name for people: "gzip-4", "lzf", "filter 305"."""
    if stored.code == GZIP:
        return f"gzip-{stored.values[0]}" if stored.values else "gzip"
    return _NAMES.get(stored.code) or f"filter {stored.code}"
