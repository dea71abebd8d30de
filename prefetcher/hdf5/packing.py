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
_SHOWN = 40  # characters of an attribute that a message names
_MOST_FILLS = 16  # CF knows a vector of missing values; nobody has a long one


def packing_of(dataset: h5py.Dataset) -> Packing | None:
    """How its numbers were packed, after the conventions of NetCDF; None if they were not.

    Attributes that say nothing are no reason to refuse a dataset: it can be read as it is stored.
    So the packing tells what is wrong with them.
    """
    dtype = dtype_of(dataset)
    if dtype.kind not in "iuf" and not dtype.names:  # attributes of records count for their fields
        return None
    if not _has_attributes(dataset):
        return None
    found = {name: _attribute(dataset, name) for name in (_SCALE, _OFFSET, _FILL, _MISSING)}
    unsigned = _is_unsigned(dataset)
    there = {name: value for name, value in found.items() if value is not None}
    if not there and not unsigned:
        return None
    if fault := next(filter(None, (_fault(*each) for each in there.items())), ""):
        return Packing(fault=fault)
    scale, offset, fill, missing = map(_numbers, found.values())
    return Packing((*scale, 1.0)[0], (*offset, 0.0)[0], (*fill, *missing), unsigned)


def attributes_of(packing: Packing | None, dtype: np.dtype[Any]) -> dict[str, Any]:
    """The attributes that say so, for a dataset of the same stored numbers."""
    if packing is None or packing.fault:
        return {}
    fill, missing = packing.fills[:1], packing.fills[1:]
    found: dict[str, Any] = {
        _SCALE: () if packing.scale == 1 else np.float64(packing.scale),
        _OFFSET: () if packing.offset == 0 else np.float64(packing.offset),
        _FILL: _stored(fill, dtype)[0] if fill else (),
        _MISSING: _stored(missing, dtype),
    }
    found = {name: value for name, value in found.items() if np.size(value)}
    return found | ({"_Unsigned": "true"} if packing.unsigned else {})


def _stored(numbers: tuple[float, ...], dtype: np.dtype[Any]) -> Any:
    """Numbers of that dtype where it has them all, as NetCDF wants it."""
    found = np.array(numbers)
    if dtype.kind not in "iuf":
        return found
    with np.errstate(invalid="ignore", over="ignore"):
        same = found.astype(dtype)
    return same if np.array_equal(same, found, equal_nan=True) else found


def _numbers(value: Any) -> tuple[float, ...]:
    """The numbers of an attribute; none where there is none."""
    numbers = np.ravel(() if value is None else value).tolist()
    # One object for every NaN, as only that makes packings of several files equal.
    return tuple(math.nan if math.isnan(number) else number for number in numbers)


def _fault(name: str, value: Any) -> str:
    """What is wrong with an attribute that should be a number, or a few; "" where nothing is."""
    array = np.asarray(value)
    most = _MOST_FILLS if name == _MISSING else 1
    wanted = f"1 to {most} numbers are" if most > 1 else "one number is"
    if array.dtype.kind not in "iuf":
        kind = "text" if array.dtype.kind in "SUO" else str(array.dtype)
        return f"{name} is {kind} ({str(value)[:_SHOWN]}), where {wanted} expected"
    if not 1 <= array.size <= most:
        return f"{name} has {array.size} numbers, where {wanted} expected"
    return ""


def _has_attributes(dataset: h5py.Dataset) -> bool:
    """Asked once, as most datasets have none, and there may be thousands of files."""
    try:
        return bool(h5py.h5a.get_num_attrs(dataset.id))
    except RAISED as error:
        if system_error(error):
            raise
        return False


def _is_unsigned(dataset: h5py.Dataset) -> bool:
    found = _attribute(dataset, "_Unsigned")
    text = found.decode(errors="replace") if isinstance(found, bytes) else found
    return isinstance(text, str) and text.lower() == "true" and dtype_of(dataset).kind == "i"


def _attribute(dataset: h5py.Dataset, name: str) -> Any:
    """None also where attributes are damaged: rows can be read all the same."""
    try:
        found = attribute(dataset, name)
    except RAISED as error:
        if system_error(error):
            raise
        return None
    return None if isinstance(found, h5py.Empty) or not np.size(found) else found
