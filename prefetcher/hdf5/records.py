"""Records: whether their stored bytes are those of numpy's records, and what to do about the rest.

Two things are not the same in all bytes. A string that ends at its first zero byte may have
anything behind that, and between the fields of a record may lie bytes of no field. Where there are
such strings, HDF5 converts records and hands out neither. Else it hands out a record as it lies in
the file, and so is it read here.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import h5py
import numpy as np

from prefetcher.hdf5.places import Rows

Dtype = np.dtype[np.generic]


class Bytes(NamedTuple):
    """Some bytes of an element."""

    begin: int
    stop: int


class Member(NamedTuple):
    """One field: its type and place in the file, and in numpy's record."""

    stored: h5py.h5t.TypeID
    offset: int
    field: Dtype
    at: int


def is_numpys(stored: h5py.h5t.TypeID, dtype: Dtype) -> bool:
    """Whether the bytes of fields are numpy's, but for what is behind the end of a string.

    Args:
        stored: The type in the file.
        dtype: What h5py makes of it.
    """
    if dtype.hasobject or stored.get_size() != dtype.itemsize:
        return False
    if dtype.names is not None and isinstance(stored, h5py.h5t.TypeCompoundID):
        members = list(_members(stored, dtype))
        return len(members) == len(dtype.names) and all(
            each.offset == each.at and is_numpys(each.stored, each.field) for each in members
        )
    if isinstance(stored, h5py.h5t.TypeArrayID):
        base, shape = dtype.subdtype or (dtype, ())
        return stored.get_array_dims() == shape and is_numpys(stored.get_super(), base)
    if _ends_at_zero(stored):
        return dtype.kind == "S"
    if isinstance(stored, h5py.h5t.TypeBitfieldID):  # the flags of PyTables
        order = "BE" if dtype.str.startswith(">") else "LE"
        plain = getattr(h5py.h5t, f"STD_B{8 * dtype.itemsize}{order}", None)
        return dtype.kind == "u" and plain is not None and bool(stored.equal(plain))
    return bool(stored.equal(h5py.h5t.py_create(dtype, logical=True)))


def _members(stored: h5py.h5t.TypeCompoundID, dtype: Dtype) -> Iterator[Member]:
    """The members of a record in the file, beside numpy's fields of their names."""
    fields: Mapping[str, Any] = dtype.fields or {}
    for number in range(stored.get_nmembers()):
        name = stored.get_member_name(number).decode(errors="surrogateescape")
        field, at = fields[name][:2] if name in fields else (np.dtype(object), -1)
        yield Member(stored.get_member_type(number), stored.get_member_offset(number), field, at)


def _ends_at_zero(stored: h5py.h5t.TypeID) -> bool:
    return (
        isinstance(stored, h5py.h5t.TypeStringID)
        and not stored.is_variable_str()
        and stored.get_strpad() == h5py.h5t.STR_NULLTERM
    )


class Record:
    """What is not the same in the bytes of the records of a dataset.

    Args:
        dataset: One whose type `is_numpys`.

    Attributes:
        strings: Where in an element a string may have to be ended.
    """

    def __init__(self, dataset: h5py.Dataset) -> None:
        self._itemsize = dataset.dtype.itemsize
        self.strings = list(_strings(dataset.id.get_type(), dataset.dtype, 0))
        self._gaps = list(_gaps(dataset.dtype))

    def converted(self, rows: Rows) -> None:
        """Zeros what HDF5 does not hand out where it converts, in place.

        Args:
            rows: C-contiguous, shape (rows, bytes of a row).
        """
        elements = rows.reshape(-1, self._itemsize)
        for begin, stop in self.strings:
            text = elements[:, begin:stop]
            text *= np.logical_and.accumulate(text != 0, axis=1)
        for begin, stop in self._gaps:
            elements[:, begin:stop] = 0

    def compared(self, found: bytes) -> bytes:
        """Bytes of elements, without those that have no meaning."""
        elements = np.frombuffer(found, np.uint8).reshape(-1, self._itemsize).copy()
        self.converted(elements)
        return elements.tobytes()


def _strings(stored: h5py.h5t.TypeID, dtype: Dtype, at: int) -> Iterator[Bytes]:
    """Where in an element there are strings that end at their first zero byte."""
    if dtype.names is not None and isinstance(stored, h5py.h5t.TypeCompoundID):
        for each in _members(stored, dtype):
            yield from _strings(each.stored, each.field, at + each.offset)
    elif isinstance(stored, h5py.h5t.TypeArrayID):
        base, shape = dtype.subdtype or (dtype, ())
        for number in range(int(np.prod(shape))):
            yield from _strings(stored.get_super(), base, at + number * base.itemsize)
    elif _ends_at_zero(stored):
        yield Bytes(at, at + dtype.itemsize)


def without_gaps(record: np.ndarray[tuple[()], Dtype]) -> np.ndarray[tuple[()], Dtype]:
    """The same record, whose bytes between the fields are zeros."""
    clean = np.frombuffer(record.tobytes(), np.uint8).copy()
    for begin, stop in _gaps(record.dtype):
        clean[begin:stop] = 0
    return clean.view(record.dtype).reshape(())


def _gaps(dtype: Dtype, at: int = 0) -> Iterator[Bytes]:
    """Where in an element there are bytes of no field."""
    used = np.zeros(dtype.itemsize, np.bool_)
    _mark(dtype, used)
    edges = np.flatnonzero(np.diff(np.concatenate([[True], used, [True]])))
    for begin, stop in edges.reshape(-1, 2).tolist():
        yield Bytes(at + begin, at + stop)


def _mark(dtype: Dtype, used: np.ndarray[tuple[int], np.dtype[np.bool_]]) -> None:
    """Marks the bytes of fields."""
    if dtype.subdtype:
        base, _ = dtype.subdtype
        for at in range(0, dtype.itemsize, max(1, base.itemsize)):
            _mark(base, used[at : at + base.itemsize])
    elif dtype.fields:
        for field, at, *_ in dtype.fields.values():
            _mark(field, used[at : at + field.itemsize])
    else:
        used[:] = True
