"""Where rows go: one run of rows, spread over the caller's arrays."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from itertools import accumulate

import numpy as np
from numpy.typing import NDArray

Rows = NDArray[np.uint8]
"""Rows as bytes: C-contiguous, shape (rows, bytes of one row)."""


class Places:
    """The arrays that a run of rows fills one after the other. Used by one thread."""

    __slots__ = ("_arrays", "_starts", "count")

    def __init__(self, arrays: Sequence[Rows]) -> None:
        self._arrays = arrays
        self._starts = list(accumulate(map(len, arrays), initial=0))
        self.count = self._starts[-1]

    def views(self, first: int, count: int) -> Iterator[Rows]:
        """The memory of rows [first, first + count), as few contiguous pieces as it has."""
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
