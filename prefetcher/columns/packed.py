"""Columns of numbers that were packed into smaller ones, as NetCDF does it."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from prefetcher.columns.column import Array, Column, Packing, Stored, Value
from prefetcher.errors import DatasetError

_FLOAT32 = np.dtype(np.float32)


@dataclass(frozen=True)
class Unpacked(Column):
    """Numbers as they were before they were packed: ``Unpacked("t2m")``, float32.

    The attributes of the dataset say how, as NetCDF and the CF conventions have them: a stored
    number times `scale_factor`, plus `add_offset`; NaN where it is `_FillValue` or one of
    `missing_value`; and `_Unsigned` for integers that are meant without a sign. It is computed in
    float64, then rounded once.

    Columns may stand in each other: ``Window(Unpacked("t2m"), 24)``. Each file is unpacked as its
    own attributes say, as NetCDF files of one variable often have a scale for each year.

    Attributes:
        of: The dataset's name, or a column of its numbers.
    """

    def value(self, stored: Stored) -> Value:
        """The same shape, float32."""
        inner = self._inner(stored)
        if stored.packing is None:
            raise DatasetError(
                "none of its attributes scale_factor, add_offset, _FillValue and missing_value "
                f"says that it is packed: write {str(self.of)!r}"
            )
        if stored.packing.fault:
            raise DatasetError(
                f"it cannot be unpacked, as its attribute {stored.packing.fault}: write the "
                f"attribute anew, or use {str(self.of)!r} and undo the packing in a transform"
            )
        if inner.dtype.kind not in "iuf":
            raise DatasetError(f"it holds {inner.dtype}, and packed values are whole numbers")
        few = inner.dtype.kind in "iu" and inner.dtype.itemsize <= 2
        unpack = _by_table if few and not stored.varied else _computed  # a table takes 256 KiB
        return Value(_FLOAT32, inner.shape, partial(_made, inner, unpack(inner, stored.packing)))

    def __str__(self) -> str:
        return f"Unpacked({self.of})"


def _made(inner: Value, unpack: Any, rows: Array) -> Array:
    made: Array = unpack(inner.make(rows))
    return made


def _by_table(inner: Value, packing: Packing) -> Any:
    """A number of two bytes has 65,536 values, so each is worked out once."""
    native = inner.dtype.newbyteorder("=")
    word = np.dtype(f"u{native.itemsize}")
    every = np.arange(1 << (8 * native.itemsize)).astype(word).view(native)
    return partial(_looked_up, native, word, _values(every, packing))


def _looked_up(native: np.dtype[Any], word: np.dtype[Any], table: Array, stored: Array) -> Array:
    plain = np.ascontiguousarray(stored, native)
    return np.take(table, plain.view(word), mode="clip")  # else numpy checks them in a buffer


def _computed(inner: Value, packing: Packing) -> Any:
    return partial(_native_values, inner.dtype.newbyteorder("="), packing)


def _native_values(native: np.dtype[Any], packing: Packing, stored: Array) -> Array:
    return _values(np.ascontiguousarray(stored, native), packing)


def _values(stored: Array, packing: Packing) -> Array:
    """What the numbers stand for, float32."""
    missing = np.zeros(stored.shape, np.bool_)
    for fill in packing.fills:
        missing |= stored == fill
    if packing.unsigned and stored.dtype.kind == "i":
        stored = stored.view(f"u{stored.dtype.itemsize}")
    with np.errstate(over="ignore", invalid="ignore"):
        values = (stored.astype(np.float64) * packing.scale + packing.offset).astype(np.float32)
    values[missing] = np.nan
    return values
