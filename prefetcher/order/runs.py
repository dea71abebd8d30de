"""Runs of rows: rows that lie side by side, which one read can bring. Pure."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Run = tuple[int, int]
"""The first of some file rows that lie side by side, and one past the last."""


def runs_of(rows: NDArray[np.int64]) -> list[Run]:
    """Where `rows` rise by one they are a run; at least one row."""
    return runs_from(rows, np.append(0, np.flatnonzero(np.diff(rows) != 1) + 1))


def rows_of(runs: Sequence[Run]) -> NDArray[np.int64]:
    """The rows of some runs; the reverse of `runs_of`."""
    starts, stops = np.array(runs, np.int64).reshape(-1, 2).T
    counts = stops - starts
    ends = np.cumsum(counts)
    return np.repeat(starts - ends + counts, counts) + np.arange(counts.sum())


def runs_from(rows: NDArray[np.int64], starts: NDArray[np.int64]) -> list[Run]:
    """The runs that begin at these indices of `rows`, the first of which is 0."""
    last = rows[np.append(starts[1:], len(rows)) - 1]
    return list(zip(rows[starts].tolist(), (last + 1).tolist(), strict=True))
