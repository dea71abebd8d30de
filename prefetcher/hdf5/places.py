"""Where rows go: runs of rows, spread over the caller's arrays."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from itertools import accumulate

import numpy as np
from numpy.typing import NDArray

from prefetcher.plan import Run

Rows = NDArray[np.uint8]
"""Rows as bytes: C-contiguous, shape (rows, bytes of one row)."""


def joined(runs: Sequence[Run], gap: int) -> Iterator[list[Run]]:
    """Yields runs that are read in one go: ascending, with at most `gap` rows between two.

    Empty runs are left out. Without a gap each run is for itself.
    """
    near: list[Run] = []
    for run in runs:
        if run[0] == run[1]:
            continue
        if near and not (gap and 0 <= run[0] - near[-1][1] <= gap):
            yield near
            near = []
        near.append(run)
    if near:
        yield near


class Places:
    """The arrays that runs of rows fill one after the other. Used by one thread."""

    __slots__ = ("_arrays", "_single", "_starts", "count")

    def __init__(self, arrays: Sequence[Rows]) -> None:
        self._arrays = arrays
        self._starts = list(accumulate(map(len, arrays), initial=0))
        self.count = self._starts[-1]
        # Shuffled rows: the common case, and the one in which Python's steps for a row count.
        self._single = self.count == len(arrays) and max(map(len, arrays), default=1) == 1

    def views(self, first: int, count: int) -> Sequence[Rows]:
        """The memory of rows [first, first + count), as few contiguous pieces as it has."""
        if self._single:
            return self._arrays[first : first + count]
        return list(self._cut(first, count))

    def _cut(self, first: int, count: int) -> Iterator[Rows]:
        at = bisect_right(self._starts, first) - 1
        while count > 0:
            array, skip = self._arrays[at], first - self._starts[at]
            piece = array[skip : skip + count] if skip or count < len(array) else array
            yield piece
            first, count, at = first + len(piece), count - len(piece), at + 1

    def put(self, first: int, rows: Rows, columns: slice = slice(None)) -> None:
        """Copies `rows` to rows [first, first + len(rows)), into these bytes of each."""
        done = 0
        for piece in self.views(first, len(rows)):
            piece[:, columns] = rows[done : done + len(piece)]
            done += len(piece)
