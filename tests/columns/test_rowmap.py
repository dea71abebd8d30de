"""Where samples stand, over several files."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from prefetcher.columns.rowmap import RowMap

FILES = st.lists(st.tuples(st.integers(0, 9), st.integers(0, 3)), min_size=1, max_size=5)


@given(FILES, st.integers(1, 4))
def test_each_sample_stands_in_its_file(files: list[tuple[int, int]], stride: int) -> None:
    """Drawn are the samples of each file and the first one's place; it has the rows they need."""
    samples = [count for count, _ in files]
    first = [begin for _, begin in files]
    rows = [(begin + count) * stride + 1 for count, begin in files]
    expected = [
        (sum(rows[:file]) + (begin + place) * stride, sum(rows[:file]), sum(rows[: file + 1]))
        for file, (count, begin) in enumerate(files)
        for place in range(count)
    ]
    numbers = np.arange(len(expected))
    found = RowMap(rows, samples, first, stride)
    low, high = found.bounds(numbers)
    assert list(zip(found.rows(numbers), low, high, strict=True)) == expected


def test_samples_that_are_rows_are_known_as_such() -> None:
    assert RowMap([3, 4], [3, 4], [0, 0], 1).is_identity
    assert not RowMap([3, 4], [2, 3], [0, 0], 1).is_identity
    assert not RowMap([3, 4], [2, 3], [1, 1], 1).is_identity
    assert not RowMap([4], [2], [0], 2).is_identity
