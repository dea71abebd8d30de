"""Where rows go: the caller's arrays, one after the other."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from prefetcher.hdf5.places import Places, joined


@settings(deadline=None)
@given(st.lists(st.integers(0, 4), min_size=1, max_size=8), st.data())
def test_views_cover_exactly_the_rows_asked_for(counts: list[int], data: st.DataObject) -> None:
    total = sum(counts)
    first = data.draw(st.integers(0, total))
    count = data.draw(st.integers(0, total - first))
    whole = np.arange(total * 2, dtype=np.uint8).reshape(total, 2)
    arrays = np.split(whole, np.cumsum(counts)[:-1])
    places = Places(arrays)
    seen = [row.tolist() for view in places.views(first, count) for row in view]
    assert places.count == total
    assert seen == whole[first : first + count].tolist()


@pytest.mark.parametrize("counts", [[5], [1, 1, 1, 1, 1], [2, 0, 3]])
def test_put_fills_a_stretch_of_bytes_of_some_rows(counts: list[int]) -> None:
    arrays = [np.zeros((count, 4), np.uint8) for count in counts]
    Places(arrays).put(1, np.full((3, 2), 9, np.uint8), slice(1, 3))
    expected = np.zeros((5, 4), np.uint8)
    expected[1:4, 1:3] = 9
    assert np.concatenate(arrays).tolist() == expected.tolist()


@pytest.mark.parametrize(
    ("runs", "gap", "expected"),
    [
        ([(0, 2), (3, 4), (9, 12)], 1, [[(0, 2), (3, 4)], [(9, 12)]]),
        ([(0, 2), (3, 4), (9, 12)], 5, [[(0, 2), (3, 4), (9, 12)]]),
        ([(0, 2), (2, 4)], 0, [[(0, 2)], [(2, 4)]]),
        ([(5, 6), (0, 2), (1, 3)], 9, [[(5, 6)], [(0, 2)], [(1, 3)]]),  # they do not ascend
        ([(0, 1), (4, 4), (1, 2), (7, 7)], 9, [[(0, 1), (1, 2)]]),
        ([(4, 4)], 9, []),
    ],
)
def test_runs_that_lie_near_each_other_are_joined(
    runs: list[tuple[int, int]], gap: int, expected: list[list[tuple[int, int]]]
) -> None:
    assert list(joined(runs, gap)) == expected
