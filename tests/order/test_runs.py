"""Runs of rows, and the rows of runs."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from prefetcher.order.runs import rows_of, runs_of


@given(st.lists(st.integers(0, 30), min_size=1))
def test_runs_are_the_stretches_that_rise_by_one(rows: list[int]) -> None:
    runs = runs_of(np.array(rows))
    assert [row for start, stop in runs for row in range(start, stop)] == rows
    assert all(stop != start for (_, stop), (start, _) in pairwise(runs))
    assert rows_of(runs).tolist() == rows
