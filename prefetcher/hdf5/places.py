"""Where rows go: the caller's arrays, filled one after the other."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from itertools import accumulate
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from prefetcher.order.runs import Run, rows_of

Rows = NDArray[np.uint8]
"""Rows as bytes: C-contiguous, shape (rows, bytes of one row)."""


class Wanted(NamedTuple):
    """Rows of one dataset, and where they go.

    Attributes:
        name: The dataset.
        runs: Runs of its rows, counted over all files.
        out: Arrays (k, bytes of one row) that follow each other, with room for exactly these.
    """

    name: str
    runs: Sequence[Run]
    out: Sequence[Rows]


class Places:
    """The caller's arrays, and how many of their rows are there already. Used by one thread.

    Attributes:
        count: Rows that there is room for.
        done: Rows that are there; the next ones go behind them.
    """

    __slots__ = ("_arrays", "_single", "_starts", "count", "done")

    def __init__(self, arrays: Sequence[Rows]) -> None:
        counts = list(map(len, arrays))
        self._arrays = arrays
        self.count = sum(counts)
        self.done = 0
        # Shuffled rows: the common case, and the one in which Python's steps for a row count.
        self._single = self.count == len(arrays) and max(counts, default=1) == 1
        self._starts = [] if self._single else list(accumulate(counts, initial=0))

    @property
    def row_bytes(self) -> int:
        """Bytes of a row; 0 where there is no room for any."""
        return int(self._arrays[0].shape[1]) if self._arrays else 0

    def ahead(self, count: int, skip: int = 0) -> Sequence[Rows]:
        """The memory of the next rows but `skip`, as few contiguous pieces as it has."""
        first = self.done + skip
        if self._single:
            return self._arrays[first : first + count]
        if len(self._arrays) == 1:
            return [self._arrays[0][first : first + count]] if count else []
        return list(self._cut(first, count))

    def _cut(self, first: int, count: int) -> Iterator[Rows]:
        at = bisect_right(self._starts, first) - 1
        while count > 0:
            array, skip = self._arrays[at], first - self._starts[at]
            piece = array[skip : skip + count] if skip or count < len(array) else array
            yield piece
            first, count, at = first + len(piece), count - len(piece), at + 1

    def put(self, rows: Rows, columns: slice = slice(None), skip: int = 0) -> None:
        """Copies `rows` to the next places but `skip`, into these bytes of each.

        They are not done by that.
        """
        copied = 0
        for piece in self.ahead(len(rows), skip):
            piece[:, columns] = rows[copied : copied + len(piece)]
            copied += len(piece)

    def put_runs(self, rows: Rows, begin: int, runs: Sequence[Run], columns: slice) -> None:
        """Copies runs of `rows`, the first of which has the number `begin`, as `put` does.

        Many runs to one array are copied in one step, not in Python's steps for each.
        """
        count = sum(stop - start for start, stop in runs)
        pieces = self.ahead(count) if len(runs) > 1 and not self._single else ()
        if len(pieces) == 1:
            pieces[0][:, columns] = rows[rows_of(runs) - begin]
            return
        skip = 0
        for start, stop in runs:
            self.put(rows[start - begin : stop - begin], columns, skip)
            skip += stop - start


def rows_in(runs: Sequence[Run]) -> int:
    """The rows of these runs together."""
    count = 0
    for start, stop in runs:
        count += stop - start
    return count


def after(runs: Sequence[Run], done: int) -> Sequence[Run]:
    """What is left of `runs` without their first `done` rows."""
    for at, (start, stop) in enumerate(runs):
        if done < stop - start:
            return [(start + done, stop), *runs[at + 1 :]]
        done -= stop - start
    return []
