"""Columns of one field of records."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import partial

import numpy as np

from prefetcher.columns.column import Array, Column, Stored, Value
from prefetcher.errors import DatasetError
from prefetcher.messages.suggestions import missing

_WRITTEN = re.compile(r"(?P<of>.+?)(?P<fields>(\[[^\[\]]+\])+)")


@dataclass(frozen=True)
class Field(Column):
    """One field of each record: ``Field("events", "energy")``, or the name "events[energy]".

    Records are the elements of PyTables' tables, pandas' frames and h5py's compound types. Their
    rows are read once, however many fields of them are used.

    Attributes:
        of: The dataset's name, or a column of records, such as another field.
        field: The field's name.
    """

    field: str

    def value(self, stored: Stored) -> Value:
        """The field's dtype; its shape behind that of the records."""
        inner = self._inner(stored)
        fields = inner.dtype.fields
        if fields is None:
            raise DatasetError(
                f"{self.of} holds {inner.dtype}, which has no fields: leave {self.field!r} out"
            )
        if self.field not in fields:
            have = {name: f"{name} {kind[0]}" for name, kind in fields.items()}
            raise DatasetError(missing("field", self.field, str(self.of), have))
        base, shape = _shape_of(fields[self.field][0])
        return Value(base, (*inner.shape, *shape), partial(_taken, inner, self.field))

    def __str__(self) -> str:
        return f"{self.of}[{self.field}]"


def written_field(name: str) -> Field | None:
    """The field that a name such as "events[energy]" or "events[pos][x]" stands for."""
    found = _WRITTEN.fullmatch(name)
    if found is None:
        return None
    column: str | Column = found["of"]
    for field in found["fields"][1:-1].split("]["):
        column = Field(column, field)
    return column if isinstance(column, Field) else None


def _shape_of(dtype: np.dtype[np.generic]) -> tuple[np.dtype[np.generic], tuple[int, ...]]:
    return dtype.subdtype or (dtype, ())


def _taken(inner: Value, field: str, rows: Array) -> Array:
    # A copy, as backends take no strides, and records must not be kept for one of their fields.
    return np.ascontiguousarray(inner.make(rows)[field])
