"""Columns of rows of which only the elements that are not zero are stored."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Self

import numpy as np
from numpy.typing import DTypeLike

from prefetcher.columns.column import Array, Column, Stored, Value
from prefetcher.errors import DatasetError, SettingsError


@dataclass(frozen=True)
class Sparse(Column):
    """Rows of a sparse matrix (CSR), made dense when a batch is made: ``Sparse("X")``.

    Sample i is row i, shape (columns,). In chunks the rows stay sparse, so that a chunk takes a
    fraction of what it stands for. Of a group that says what it is, its name alone is enough:
    ``x="X"`` for AnnData's `X` and layers, ``x="matrix"`` for files of 10x Genomics, whose columns
    are the cells. Another group needs data, indices and indptr, and its shape as an attribute.

    Elements that a row names twice are added, as scipy adds them. A matrix that is compressed by
    columns (AnnData's csc_matrix) is refused, as each row would have to be gathered from all over
    the file. Where the rows begin is read when the file is opened, and takes 8 bytes a row.

    Attributes:
        of: The group's name.
        dtype: What a batch holds. float32, which models compute in; half the memory of the float64
            that such files often have.

    Raises:
        SettingsError: `of` is no name, or `dtype` no type of numbers.
    """

    dtype: DTypeLike = np.float32

    def __post_init__(self) -> None:
        if not isinstance(self.of, str):
            raise SettingsError(f"Sparse(of={self.of!r}): write the name of a group")
        try:
            dtype = np.dtype(self.dtype)
        except TypeError:
            dtype = np.dtype(object)
        if dtype.kind not in "fiub":
            raise SettingsError(
                f"Sparse({self.of!r}, dtype={self.dtype!r}): write a type of numbers, as float32"
            )
        object.__setattr__(self, "dtype", dtype)

    @property
    def dense(self) -> np.dtype[Any]:
        """What the rows are made in a batch."""
        return np.dtype(self.dtype)

    def value(self, stored: Stored) -> Value:
        """The whole row."""
        if not stored.sparse:
            raise DatasetError(f"it holds whole rows, none that are sparse: write {self.of!r}")
        if not np.can_cast(stored.dtype, self.dense, "same_kind"):
            raise DatasetError(
                f"it holds {stored.dtype}, which {self.dense} would cut off: write another dtype"
            )
        return Value(self.dense, stored.shape, _whole)

    def renamed(self, rename: Callable[[str], str | Column]) -> Self:
        """The same of another group."""
        of = rename(self.dataset)
        return replace(self, of=of if isinstance(of, str) else of.dataset)

    def __str__(self) -> str:
        return f"Sparse({self.of!r}, {self.dense})"


def _whole(rows: Array) -> Array:
    return rows
