"""Where rows go: the caller's arrays, one after the other."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from prefetcher.hdf5.places import Places, after


@settings(deadline=None)
@given(st.lists(st.integers(0, 4), min_size=1, max_size=8), st.data())
def test_views_cover_exactly_the_rows_asked_for(counts: list[int], data: st.DataObject) -> None:
    total = sum(counts)
    first = data.draw(st.integers(0, total))
    count = data.draw(st.integers(0, total - first))
    whole = np.arange(total * 2, dtype=np.uint8).reshape(total, 2)
    arrays = np.split(whole, np.cumsum(counts)[:-1])
    places = Places(arrays)
    places.done = data.draw(st.integers(0, first))
    skip = first - places.done
    seen = [row.tolist() for view in places.ahead(count, skip) for row in view]
    assert places.count == total
    assert seen == whole[first : first + count].tolist()


@pytest.mark.parametrize("counts", [[5], [1, 1, 1, 1, 1], [2, 0, 3]])
def test_put_fills_a_stretch_of_bytes_of_some_rows(counts: list[int]) -> None:
    arrays = [np.zeros((count, 4), np.uint8) for count in counts]
    places = Places(arrays)
    places.done = 1
    places.put(np.full((3, 2), 9, np.uint8), slice(1, 3))
    expected = np.zeros((5, 4), np.uint8)
    expected[1:4, 1:3] = 9
    assert np.concatenate(arrays).tolist() == expected.tolist()


@pytest.mark.parametrize(
    ("done", "expected"),
    [(0, [(5, 7), (1, 4)]), (1, [(6, 7), (1, 4)]), (2, [(1, 4)]), (4, [(3, 4)]), (5, [])],
)
def test_what_is_left_of_runs(done: int, expected: list[tuple[int, int]]) -> None:
    assert list(after([(5, 7), (1, 4)], done)) == expected


@given(st.lists(st.tuples(st.integers(0, 9), st.integers(0, 4)), min_size=1), st.booleans())
def test_runs_are_put_one_after_the_other(starts: list[tuple[int, int]], alone: bool) -> None:
    """To one array, or to an array for each row."""
    runs = [(5 + start, 5 + start + count) for start, count in starts]
    rows = np.arange(13 * 2, dtype=np.uint8).reshape(13, 2)
    expected = [rows[row - 5].tolist() for run in runs for row in range(*run)]
    target = np.zeros((1 + len(expected), 3), np.uint8)
    places = Places(np.split(target, len(target)) if alone else [target])
    places.done = 1
    places.put_runs(rows, 5, runs, slice(1, 3))
    assert target[1:, 1:].tolist() == expected
    assert not target[0].any()
    assert not target[:, 0].any()
