"""`Padded`: rows of variable length, cut and filled to one length."""

from __future__ import annotations

from typing import Any

import h5py
import numpy as np
import pytest

from prefetcher import Field, Padded, Row, Window
from prefetcher.columns.column import Stored
from prefetcher.errors import DatasetError, SettingsError


def objects(*rows: Any, dtype: Any = np.int32) -> Any:
    made = np.empty(len(rows), object)
    made[:] = [np.array(row, dtype) for row in rows]
    return made


def stored(dtype: Any = np.int32, shape: tuple[int, ...] = ()) -> Stored:
    return Stored(h5py.vlen_dtype(np.dtype(dtype)), shape)


def test_rows_are_cut_and_filled() -> None:
    value = Padded("t", 3, fill=-1).value(stored())
    assert (value.dtype, value.shape) == (np.dtype(np.int32), (3,))
    made = value.make(objects([1], [], [1, 2, 3], [4, 5, 6, 7]))
    assert made.tolist() == [[1, -1, -1], [-1, -1, -1], [1, 2, 3], [4, 5, 6]]
    assert made.dtype == np.int32


def test_the_mask_tells_what_is_filled() -> None:
    value = Padded("t", 3, mask=True).value(stored())
    assert (value.dtype, value.shape) == (np.dtype(np.bool_), (3,))
    made = value.make(objects([0], [], [0, 0, 0], [4, 5, 6, 7]))
    assert made.tolist() == [[True, False, False], [False] * 3, [True] * 3, [True] * 3]


def test_several_rows_in_one() -> None:
    """A dataset (n, 2) of rows of variable length."""
    rows = objects([1], [2, 2], [], [3]).reshape(2, 2)
    value = Padded("t", 2).value(stored(shape=(2,)))
    assert value.shape == (2, 2)
    assert value.make(rows).tolist() == [[[1, 0], [2, 2]], [[0, 0], [3, 0]]]
    masks = Padded("t", 2, mask=True).value(stored(shape=(2,))).make(rows)
    assert masks.sum(axis=2).tolist() == [[1, 2], [0, 1]]


def test_windows_of_padded_rows() -> None:
    value = Window(Padded("t", 2), 2).value(stored())
    assert value.shape == (2, 2)
    rows = objects([1], [2, 2], [2, 2], [3, 3, 3]).reshape(2, 2)
    assert value.make(rows).tolist() == [[[1, 0], [2, 2]], [[2, 2], [3, 3]]]


def test_byte_order_is_native() -> None:
    value = Padded("t", 2).value(stored(">i2"))
    made = value.make(objects([258], dtype=">i2"))
    assert value.dtype.isnative
    assert made.dtype == np.int16
    assert made.tolist() == [[258, 0]]


def test_records_are_filled_with_zeros() -> None:
    kind = np.dtype([("a", "i4"), ("b", "f4")])
    made = Padded("t", 2).value(stored(kind)).make(objects([(1, 2.0)], dtype=kind))
    assert made.tolist() == [[(1, 2.0), (0, 0.0)]]


def test_a_field_of_padded_records() -> None:
    kind = np.dtype([("a", "i4"), ("b", "f4")])
    value = Field(Padded("t", 3), "b").value(stored(kind))
    assert value.shape == (3,)
    made = value.make(objects([(1, 2.0), (3, 4.0)], [], dtype=kind))
    assert made.tolist() == [[2.0, 4.0, 0.0], [0.0, 0.0, 0.0]]


@pytest.mark.parametrize(
    ("dtype", "fill"),
    [("f4", 0.1), ("f2", np.nan), ("i1", -1), ("i8", 2**40), ("u1", 255), (bool, True), ("f8", 3)],
)
def test_what_may_be_filled_in(dtype: Any, fill: Any) -> None:
    made = Padded("t", 1, fill).value(stored(dtype)).make(objects([], dtype=dtype))
    assert np.array_equal(made, np.array([[fill]], dtype), equal_nan=np.dtype(dtype).kind == "f")


@pytest.mark.parametrize(
    ("dtype", "fill"),
    [("u1", -1), ("u1", 256), ("i4", 0.5), ("i4", np.nan), ("i4", -np.inf)],
)
def test_what_the_dtype_does_not_have_is_refused(dtype: Any, fill: Any) -> None:
    with pytest.raises(DatasetError, match="write another fill"):
        Padded("t", 1, fill).value(stored(dtype))


@pytest.mark.parametrize(
    ("column", "says"),
    [
        (lambda: Padded("t", 0), "length=0.*1 or more"),
        (lambda: Padded("t", 2.5), "length=2.5"),  # type: ignore[arg-type]
        (lambda: Padded(3, 2), "name of a dataset"),  # type: ignore[arg-type]
        (lambda: Padded("t", 2, mask=1), "mask=True or mask=False"),  # type: ignore[arg-type]
        (lambda: Padded("t", 2, "x"), "write a number for fill"),  # type: ignore[arg-type]
        (lambda: Padded(Window("t", 2), 2), r"write Window\(Padded"),
        (lambda: Padded(Row("t", 2), 2), r"write Row\(Padded"),
    ],
)
def test_settings_that_cannot_be(column: Any, says: str) -> None:
    with pytest.raises(SettingsError, match=says):
        column()


@pytest.mark.parametrize(
    ("kind", "says"),
    [
        (Stored(np.dtype("i4"), (7,)), "one length already"),
        (Stored(h5py.string_dtype(), ()), "holds text: pass a transform"),
        (Stored(h5py.vlen_dtype(np.dtype(("i4", (2,)))), ()), "arrays of"),
    ],
)
def test_rows_that_are_not_ragged_numbers_are_refused(kind: Stored, says: str) -> None:
    with pytest.raises(DatasetError, match=says):
        Padded("t", 2).value(kind)
