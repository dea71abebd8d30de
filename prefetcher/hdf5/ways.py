"""Which way of reading is proved safe for a dataset. Whatever is not goes through h5py."""

from __future__ import annotations

import math
import os
from functools import lru_cache
from typing import Literal, get_args

import h5py
import numpy as np

from prefetcher.columns.ragged import elements_of
from prefetcher.filters.decode import why_left_to_hdf5
from prefetcher.hdf5.index import grid_of
from prefetcher.hdf5.properties import has_fill_value, layout_of, stored_filters
from prefetcher.hdf5.records import is_numpys

Way = Literal["contiguous", "storage chunks", "general"]
WAYS: tuple[Way, ...] = get_args(Way)

_RAGGED = "its rows are of variable length, which lie in heaps that HDF5 alone reads"
_MOST_CHUNKS = 1 << 60  # their numbers are 64-bit integers
_MOST_BYTES = 1 << 32  # HDF5's own limit for one storage chunk


def dtype_of(dataset: h5py.Dataset) -> np.dtype[np.generic]:
    """The dtype that h5py gives; object where numpy has no equivalent."""
    try:
        dtype: np.dtype[np.generic] = dataset.dtype
    except (TypeError, ValueError):
        return np.dtype(object)
    return dtype


def why_no_dtype(dataset: h5py.Dataset) -> str:
    """Why its elements cannot be had as numpy's; "" where they can."""
    try:
        dtype = dataset.dtype
        in_memory = _in_memory(dtype)
    except (TypeError, ValueError) as error:
        return f"its type is none of numpy's ({error})"
    if h5py.h5t.find(dataset.id.get_type(), in_memory) is None:
        return f"HDF5 cannot convert its type to {dtype}"
    return ""


def _in_memory(dtype: np.dtype[np.generic]) -> h5py.h5t.TypeID:
    """HDF5's type for numpy's."""
    # To numpy types with and without metadata are the same, to HDF5 they are not.
    plain = dtype.metadata is None and dtype.kind in "biuf"
    return _plain_in_memory(dtype) if plain else h5py.h5t.py_create(dtype, logical=True)


@lru_cache(maxsize=64)
def _plain_in_memory(dtype: np.dtype[np.generic]) -> h5py.h5t.TypeID:
    return h5py.h5t.py_create(dtype, logical=True)


def choose(file: h5py.File, dataset: h5py.Dataset) -> tuple[Way, str]:
    """The fastest way that gives the bytes h5py would give, and one clause why.

    Each rule below keeps a case out in which stored bytes are not the bytes of the array, or in
    which they cannot be found.

    Args:
        file: The file that is read.
        dataset: One that was found in it, perhaps through a link into another file.
    """
    layout = layout_of(dataset.id.get_create_plist())
    if h5py.h5o.get_info(dataset.id).fileno != h5py.h5o.get_info(file.id).fileno:
        return "general", "it lies in another file"
    if reason := _why_general(dataset, layout):
        return "general", reason
    if layout == "chunked" and file.swmr_mode:
        return "general", "a writer may move its storage chunks meanwhile (swmr)"
    if layout == "contiguous":
        return "contiguous", "its rows lie side by side in the file"
    return "storage chunks", "every storage chunk can be read and decoded on its own"


def _why_general(dataset: h5py.Dataset, layout: str) -> str | None:
    if not dataset.shape or not dataset.size:
        return "it has no rows"
    if not hasattr(os, "preadv"):
        return "this system cannot read at an offset"  # Windows
    if not _same_bytes(dataset):
        ragged = elements_of(dtype_of(dataset)) is not None
        return _RAGGED if ragged else "its type is stored in other bytes than numpy's"
    if layout == "contiguous":
        return _why_not_contiguous(dataset)
    if layout == "chunked":
        return _why_not_storage_chunks(dataset)
    return f"its layout is {layout}"


def _same_bytes(dataset: h5py.Dataset) -> bool:
    """Whether HDF5 would convert nothing: big-endian stays, padded bits and strings do not.

    In records it may be that strings have to be ended, see `records`.
    """
    dtype, stored = dtype_of(dataset), dataset.id.get_type()
    if dtype.hasobject or dtype.subdtype:
        return False
    if dtype.kind == "S":
        return bool(stored.equal(_in_memory(dtype)))
    return is_numpys(stored, dtype)


def _why_not_contiguous(dataset: h5py.Dataset) -> str | None:
    nbytes = math.prod(dataset.shape) * dataset.dtype.itemsize
    # A dataset never written has an offset too where the file has a userblock: one before it.
    allocated = dataset.id.get_space_status() == h5py.h5d.SPACE_STATUS_ALLOCATED
    if not allocated or dataset.id.get_offset() is None:
        return "nothing was ever written to it"
    if dataset.id.get_storage_size() != nbytes:
        return "its stored size is not that of its rows"
    return None


def _why_not_storage_chunks(dataset: h5py.Dataset) -> str | None:
    properties = dataset.id.get_create_plist()
    if reason := why_left_to_hdf5(stored_filters(properties)):
        return reason
    if _grows_sideways(dataset):
        return "it may grow along one later axis, where HDF5 misplaces storage chunks"
    grid = math.prod(grid_of(dataset.shape, dataset.chunks))
    if grid > _MOST_CHUNKS or math.prod(dataset.chunks) * dataset.dtype.itemsize > _MOST_BYTES:
        return "its storage chunks are too many or too large"
    if dataset.id.get_storage_size() == 0:
        return "nothing was ever written to it"
    if not has_fill_value(properties) and dataset.id.get_num_chunks() < grid:
        return "parts of it were never written and have no value"
    return None


def _grows_sideways(dataset: h5py.Dataset) -> bool:
    """Whether one axis may grow without limit and it is not the rows.

    New files (libver "latest") index such a dataset along that axis. Walking through that index,
    HDF5 1.14.6 gives the storage chunks wrong coordinates; which index there is h5py cannot tell.
    """
    endless = [axis for axis, limit in enumerate(dataset.maxshape) if limit is None]
    return len(endless) == 1 and endless != [0]
