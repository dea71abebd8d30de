"""What every column is: which stored rows a sample needs, and what is made of them.

A column is written down before any file is looked at, so it is a frozen description. `value` binds
it to what a file stores.
"""

from __future__ import annotations

import math
import operator
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, NamedTuple, Self, SupportsIndex

import numpy as np
from numpy.typing import NDArray

from prefetcher.errors import DatasetError, SettingsError

Array = NDArray[Any]


class Span(NamedTuple):
    """Which rows of its dataset a sample needs. Sample i stands at row ``i * stride``.

    Attributes:
        ahead: The first row, counted from where the sample stands; negative for earlier rows.
        length: How many rows; None for one row without an axis of its own.
        stride: Rows from one sample to the next.
        pad: Whether rows beyond the ends are copies of the first and the last row. If not, there
            is no sample whose rows are not all there.
    """

    ahead: int = 0
    length: int | None = None
    stride: int = 1
    pad: bool = False

    @property
    def rows(self) -> int:
        """How many rows."""
        return 1 if self.length is None else self.length

    @property
    def stop(self) -> int:
        """One past the last row, counted from where the sample stands."""
        return self.ahead + self.rows


class View(NamedTuple):
    """The rows of samples in one dataset; columns that need the same ones share them.

    Attributes:
        dataset: Its name.
        span: Which rows.
        dense: What rows that are stored sparse are made in a batch; None for all other rows.
        most: Elements of each row that are needed, of rows of variable length; None for all.
    """

    dataset: str
    span: Span
    dense: np.dtype[Any] | None = None
    most: int | None = None


class Packing(NamedTuple):
    """How numbers were packed, as NetCDF says it: value = stored * scale + offset.

    Attributes:
        scale: The attribute `scale_factor`.
        offset: The attribute `add_offset`.
        fills: Stored numbers that stand for no value: `_FillValue` and `missing_value`.
        unsigned: Whether integers are stored as signed ones and meant as unsigned ones.
        fault: Why these attributes say nothing; "" where they do.
    """

    scale: float = 1.0
    offset: float = 0.0
    fills: tuple[float, ...] = ()
    unsigned: bool = False
    fault: str = ""

    def __str__(self) -> str:
        if self.fault:
            return self.fault
        told = []
        if self.scale != 1.0:
            told.append(f"scale_factor {self.scale:g}")
        if self.offset:
            told.append(f"add_offset {self.offset:g}")
        if self.fills:
            told.append(f"no value where {', '.join(f'{fill:g}' for fill in self.fills)}")
        return ", ".join([*told, "unsigned"] if self.unsigned else told) or "scale_factor 1"


class Stored(NamedTuple):
    """What a file holds for one row; of rows of variable length `ragged` tells the elements.

    Attributes:
        dtype: Of its elements.
        shape: Of the row.
        sparse: Whether only the elements that are not zero are stored.
        packing: How its numbers were packed; None if they were not.
        varied: Whether the rows of other files are packed in another way.
    """

    dtype: np.dtype[Any]
    shape: tuple[int, ...]
    sparse: bool = False
    packing: Packing | None = None
    varied: bool = False


class Value(NamedTuple):
    """What a batch holds for one sample, and how it is made.

    Attributes:
        dtype: Of the array.
        shape: Of one sample's value.
        make: From rows as they are stored, shape (samples, ...), to values, shape
            (samples, *shape). Pure; any thread. It raises `RowValueError`.
    """

    dtype: np.dtype[Any]
    shape: tuple[int, ...]
    make: Callable[[Array], Array]

    @property
    def nbytes(self) -> int:
        """Bytes of one sample's value."""
        return self.dtype.itemsize * math.prod(self.shape)


class RowValueError(Exception):
    """No value can be made of one of the rows.

    Attributes:
        at: Which row, counted over samples and the rows of each.
        why: What is wrong with it, to be read behind its name: "is damaged".
    """

    def __init__(self, at: int, why: str) -> None:
        super().__init__(why)
        self.at = at
        self.why = why


@dataclass(frozen=True)
class Column(ABC):
    """How the value of a sample is made of the rows of a dataset.

    A leaf of `x`, `y` or `sample_weight` is the name of a dataset, whose row i is sample i, or a
    column for anything else. Columns are immutable, and may stand in each other.

    Attributes:
        of: The dataset's name, or another column whose values this one changes.
    """

    of: str | Column

    @property
    def dataset(self) -> str:
        """The name of the dataset."""
        return self.of if isinstance(self.of, str) else self.of.dataset

    @property
    def span(self) -> Span:
        """Which rows a sample needs."""
        return Span() if isinstance(self.of, str) else self.of.span

    @property
    def view(self) -> View:
        """The rows that its values are made of."""
        return View(self.dataset, self.span, self.dense, self.most)

    @property
    def dense(self) -> np.dtype[Any] | None:
        """What rows that are stored sparse are made in a batch; None for all other rows."""
        return None if isinstance(self.of, str) else self.of.dense

    @property
    def most(self) -> int | None:
        """Elements of each row of variable length that are needed; None for all."""
        return None if isinstance(self.of, str) else self.of.most

    @abstractmethod
    def value(self, stored: Stored) -> Value:
        """What a sample's value is, for rows that are stored so.

        Raises:
            DatasetError: Values cannot be made of such rows.
        """

    def renamed(self, rename: Callable[[str], str | Column]) -> Self:
        """The same over what `rename` makes of the dataset's name."""
        of = rename(self.of) if isinstance(self.of, str) else self.of.renamed(rename)
        return replace(self, of=of)

    def _inner(self, stored: Stored) -> Value:
        """The values that this one changes, for one row each."""
        if isinstance(self.of, Column):
            return self.of.value(stored)
        if stored.sparse:
            raise DatasetError(
                f"{self.of} is a group of data, indices and indptr that does not say what it is: "
                f"write Sparse({self.of!r}) if it holds rows (CSR)"
            )
        return Value(stored.dtype, stored.shape, _as_they_are)


def check_of(column: Column) -> None:
    """Refuses a column of anything but a dataset's name or another column.

    Raises:
        SettingsError: It is.
    """
    if not isinstance(column.of, str | Column):
        raise SettingsError(
            f"{type(column).__name__}(of={type(column.of).__name__}): write the name of a dataset, "
            "or a column; an array is a part of its own"
        )


def whole(column: Column, name: str, least: int | None = None) -> int:
    """The whole number that a column was given.

    Raises:
        SettingsError: It is none, or less than `least`.
    """
    value: SupportsIndex = getattr(column, name)
    is_whole = hasattr(value, "__index__") and not isinstance(value, bool | np.bool_)
    number = operator.index(value) if is_whole else None
    if number is None or (least is not None and number < least):
        wanted = "a whole number" if least is None else f"a whole number, {least} or more"
        raise SettingsError(f"{type(column).__name__}({name}={value!r}): write {wanted}")
    return number


def _as_they_are(rows: Array) -> Array:
    return rows
