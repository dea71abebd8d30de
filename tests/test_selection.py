"""Which samples `rows=` names; what it cannot name is refused, with what to write instead."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest

from prefetcher.errors import RowsError, SettingsError
from prefetcher.selection import samples_of

FILE = "samples.h5"


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        (None, range(10)),
        (slice(None, 4), range(4)),
        (slice(-3, None), range(7, 10)),
        (slice(None, None, 3), range(0, 10, 3)),
        ((2, 5), range(2, 5)),
        (range(1, 9, 2), range(1, 9, 2)),
        ([7, 1, 1], [7, 1, 1]),
        ([7], [7]),
        (np.array([0, 3]), [0, 3]),
        ([True, False] * 5, [0, 2, 4, 6, 8]),
        (np.array([3, 9], np.uint8), [3, 9]),
        (np.arange(10) > 7, [8, 9]),
    ],
)
def test_rows(rows: Any, expected: Any) -> None:
    assert list(samples_of(rows, 10, "a.h5")) == list(expected)


@pytest.mark.parametrize(
    ("rows", "error", "says"),
    [
        ((0, 11), RowsError, "rows 0 to 11 of a.h5: it has rows 0 to 10"),
        ((-1, 4), RowsError, "rows -1 to 4"),
        ((4, 4), RowsError, "leaves no sample of the 10 rows"),
        (slice(20, 30), RowsError, "leaves no sample"),
        (range(8, 12), RowsError, "rows 8 to 12"),
        ([], RowsError, "leaves no sample"),
        ([3, 10, 12], RowsError, "rows[1] is 10, but a.h5 has rows 0 to 9 (2 of 3 are outside)"),
        ([-1], RowsError, "rows[0] is -1"),
        ([0, 3], SettingsError, "rows=[0, 3] is a list of two: write rows=(0, 3) for the range"),
        ([0, 3], SettingsError, "rows=np.array([0, 3]) for these two samples"),
        ([np.int64(0), np.int64(3)], SettingsError, "write rows=(0, 3) for the range"),
        ([[1, 2]], SettingsError, "shape (1, 2)"),
        (np.array([1.0]), SettingsError, "float64"),
        (np.ones(4, bool), SettingsError, "a mask of 10 booleans"),
        ((0.5, 2), SettingsError, "rows=0.5: expected a whole number"),
    ],
)
def test_rows_refused(rows: Any, error: type[Exception], says: str) -> None:
    with pytest.raises(error, match=re.escape(says)):
        samples_of(rows, 10, "a.h5")


def test_a_mask_of_two_booleans_is_no_pair() -> None:
    assert list(samples_of([False, True], 2, "a.h5")) == [1]
