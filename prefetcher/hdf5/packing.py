"""What a dataset's attributes say of how its numbers were packed."""

from __future__ import annotations

import math
from typing import Any

import h5py
import numpy as np

from prefetcher.columns.column import Packing
from prefetcher.hdf5.attributes import attribute
from prefetcher.hdf5.faults import RAISED, system_error
from prefetcher.hdf5.ways import dtype_of

_SCALE, _OFFSET, _FILL, _MISSING = "scale_factor", "add_offset", "_FillValue", "missing_value"
_MOST_FILLS = 16  # CF knows a vector of missing values; nobody has a long one


def packing_of(dataset: h5py.Dataset) -> Packing | None:
    """How its numbers were packed, after the conventions of NetCDF; None if they were not."""
    dtype = dtype_of(dataset)
    if dtype.kind not in "iuf" and not dtype.names:  # attributes of records count for their fields
        return None
    scale, offset, fill, missing = (
        _numbers(dataset, name) for name in (_SCALE, _OFFSET, _FILL, _MISSING)
    )
    unsigned = _is_unsigned(dataset)
    if not (scale or offset or fill or missing or unsigned):
        return None
    return Packing((*scale, 1.0)[0], (*offset, 0.0)[0], (*fill, *missing), unsigned)


def _numbers(dataset: h5py.Dataset, name: str) -> tuple[float, ...]:
    """An attribute of one number or a few; () where it is none."""
    found = _attribute(dataset, name)
    if not isinstance(found, np.ndarray | np.generic):
        return ()
    if found.dtype.kind not in "iuf" or not 1 <= found.size <= _MOST_FILLS:
        return ()
    numbers = np.asarray(found).reshape(-1).tolist()
    # One object for every NaN, as only that makes packings of several files equal.
    return tuple(math.nan if math.isnan(number) else number for number in numbers)


def _is_unsigned(dataset: h5py.Dataset) -> bool:
    found = _attribute(dataset, "_Unsigned")
    text = found.decode(errors="replace") if isinstance(found, bytes) else found
    return isinstance(text, str) and text.lower() == "true" and dtype_of(dataset).kind == "i"


def _attribute(dataset: h5py.Dataset, name: str) -> Any:
    """None also where attributes are damaged: rows can be read all the same."""
    try:
        return attribute(dataset, name)
    except RAISED as error:
        if system_error(error):
            raise
        return None
