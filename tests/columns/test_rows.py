"""Rows and windows as they are written down."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from prefetcher.columns.column import Span, Stored, View
from prefetcher.columns.fields import Field
from prefetcher.columns.rows import Row, Window
from prefetcher.errors import SettingsError

STORED = Stored(np.dtype([("e", "f4"), ("p", "i2", (3,))]), (5,))


def any_type(value: Any) -> Any:
    """What the types do not allow, and somebody may write."""
    return value


def test_the_rows_of_a_sample() -> None:
    assert Row("a").view == View("a", Span(0, None, 1, False))
    assert Row("a", ahead=any_type(np.int32(3)), stride=2).span == Span(3, None, 2, False)
    assert Window("a", 4, 2, -1, "edge").span == Span(-1, 4, 2, True)
    assert (Span(-1, 4).rows, Span(-1, 4).stop, Span(7).stop) == (4, 3, 8)


def test_columns_in_columns() -> None:
    column = Window(Field("events", "p"), 4)
    value = column.value(STORED)
    assert (column.dataset, value.dtype, value.shape) == ("events", np.dtype("i2"), (4, 5, 3))
    rows = np.zeros((2, 4, 5), STORED.dtype)
    rows["p"] = np.arange(2 * 4 * 5 * 3).reshape(2, 4, 5, 3)
    assert (value.make(rows) == rows["p"]).all()
    assert Field(Row("events", ahead=2), "e").span == Span(2)


def test_another_name_is_put_in_everywhere() -> None:
    renamed = Window(Field("a", "e"), 4).renamed("train/{}".format)
    assert renamed == Window(Field("train/a", "e"), 4)


def test_columns_are_equal_by_what_they_say() -> None:
    assert Window("a", 3) == Window("a", 3)
    assert len({Window("a", 3), Window("a", 3), Window("a", 4), Row("a")}) == 3


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Window("a", 0), r"Window\(length=0\): write a whole number, 1 or more"),
        (
            lambda: Window("a", any_type(2.5)),
            r"Window\(length=2.5\): write a whole number, 1 or more",
        ),
        (lambda: Window("a", True), r"Window\(length=True\)"),
        (lambda: Row("a", stride=0), r"Row\(stride=0\): write a whole number, 1 or more"),
        (lambda: Row("a", ahead=any_type("1")), r"Row\(ahead='1'\): write a whole number"),
        (lambda: Window("a", 2, pad=any_type("zero")), 'write pad="edge", or leave it out'),
        (lambda: Row(any_type(3)), r"Row\(of=int\): write the name of a dataset, or a column"),
        (lambda: Window(Row("a", 1), 2), "Row already says which rows"),
    ],
)
def test_what_cannot_be_is_refused(make: Any, message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        make()
