"""What HDF5's own library can write, and h5py cannot."""

from __future__ import annotations

import ctypes
from pathlib import Path

import h5py
import pytest

_MAPS = Path("/proc/self/maps")
_DONT_FILTER_PARTIAL_CHUNKS = 2


def undefine_fill_value(properties: h5py.h5p.PropDCID) -> None:
    """Takes the fill value away, as netCDF and others do: what is not written has none."""
    set_fill_value = _library().H5Pset_fill_value
    set_fill_value.argtypes = [ctypes.c_int64, ctypes.c_int64, ctypes.c_void_p]
    assert set_fill_value(properties.id, h5py.h5t.STD_I32LE.id, None) >= 0


def leave_edges_unfiltered(properties: h5py.h5p.PropDCID) -> None:
    """Has storage chunks that reach over the edge stored as they are."""
    set_options = _library().H5Pset_chunk_opts
    set_options.argtypes = [ctypes.c_int64, ctypes.c_uint]
    assert set_options(properties.id, _DONT_FILTER_PARTIAL_CHUNKS) >= 0


def _library() -> ctypes.CDLL:
    """The one that h5py has loaded."""
    lines = _MAPS.read_text().splitlines() if _MAPS.exists() else []
    paths = {line.split()[-1] for line in lines if "libhdf5" in line and "libhdf5_hl" not in line}
    if len(paths) != 1:
        pytest.skip("h5py's own libhdf5 is not to be found")
    return ctypes.CDLL(paths.pop())
