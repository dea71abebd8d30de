"""Columns of one row or of several neighbouring rows for each sample."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Literal

from prefetcher.columns.column import Array, Column, Span, Stored, Value, check_of, whole
from prefetcher.errors import SettingsError


@dataclass(frozen=True)
class Row(Column):
    """One row for each sample: sample i is row ``i * stride + ahead``.

    ``x="states", y=Row("states", ahead=1)`` predicts the next state. Samples whose row is not there
    do not exist, for any column of the data set.

    Attributes:
        of: The dataset's name, or a column that makes a value of each row.
        ahead: Rows from where the sample stands; negative for earlier ones.
        stride: Rows from one sample to the next; the same for every column of one dataset.

    Raises:
        SettingsError: A number cannot be used.
    """

    ahead: int = 0
    stride: int = 1

    def __post_init__(self) -> None:
        _check_of(self)
        object.__setattr__(self, "ahead", whole(self, "ahead"))
        object.__setattr__(self, "stride", whole(self, "stride", 1))

    @property
    def span(self) -> Span:
        """One row."""
        return Span(self.ahead, None, self.stride)

    def value(self, stored: Stored) -> Value:
        """The row itself, or what `of` makes of it."""
        return self._inner(stored)


@dataclass(frozen=True)
class Window(Column):
    """Neighbouring rows for each sample: rows ``i * stride + ahead`` on, `length` of them.

    A value has the shape (length, *row). Rows that several windows share are read and decoded once
    for a chunk, and windows are cut when a batch is made.

        x=Window("weather", 64), y=Row("weather", ahead=64 + 23)     # 64 hours, and the day after
        x=Window("images", 2, ahead=-1, pad="edge"), y=Window("actions", 16, pad="edge")

    No window reaches from one file into the next. `rows=` counts samples, so windows of rows for
    training reach `length - 1` rows into those for validation that follow: leave so many out.

    Attributes:
        of: The dataset's name, or a column that makes a value of each row.
        length: Rows in a window, 1 or more.
        stride: Rows from one sample to the next; the same for every column of one dataset.
        ahead: Where the window begins, in rows from where the sample stands; negative for windows
            that begin before it.
        pad: "edge" repeats the first and the last row of a file where a window reaches beyond
            them, so that each row is where a sample stands. None leaves such samples out.

    Raises:
        SettingsError: A number cannot be used.
    """

    length: int
    stride: int = 1
    ahead: int = 0
    pad: Literal["edge"] | None = None

    def __post_init__(self) -> None:
        _check_of(self)
        object.__setattr__(self, "length", whole(self, "length", 1))
        object.__setattr__(self, "stride", whole(self, "stride", 1))
        object.__setattr__(self, "ahead", whole(self, "ahead"))
        if self.pad not in (None, "edge"):
            raise SettingsError(f'{self}: write pad="edge", or leave it out')

    @property
    def span(self) -> Span:
        """`length` rows."""
        return Span(self.ahead, self.length, self.stride, self.pad is not None)

    def value(self, stored: Stored) -> Value:
        """The values of the rows, one behind the other."""
        inner = self._inner(stored)
        return Value(inner.dtype, (self.length, *inner.shape), partial(_each_row, inner))


def _each_row(inner: Value, windows: Array) -> Array:
    """Values of the rows of windows (samples, length, ...)."""
    samples, length = windows.shape[:2]
    made = inner.make(windows.reshape(samples * length, *windows.shape[2:]))
    return made.reshape(samples, length, *inner.shape)


def _check_of(column: Column) -> None:
    check_of(column)
    if isinstance(column.of, Row | Window):
        raise SettingsError(
            f"{column}: {type(column.of).__name__} already says which rows a sample has; write one "
            f"{type(column).__name__} with both"
        )
