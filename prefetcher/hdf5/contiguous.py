"""Rows that lie side by side: one system call reads a run and puts each row into its place.

Runs that lie near each other share a call: its vector has the rows of all of them, and a place that
nobody looks at for what lies between two. So small rows, as of labels, cost few calls.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial

import numpy as np

from prefetcher.hdf5.places import Places
from prefetcher.hdf5.proof import Probe
from prefetcher.hdf5.stored import Piece, Range, StoredBytes
from prefetcher.plan import Run

_BRIDGED = np.empty(32 << 10, np.uint8)
"""Where bytes between two runs go: every thread writes here, none reads. To copy so many out of the
page cache takes less time than a call of its own."""


class ContiguousWay:
    """Reads rows of one contiguous dataset, from any number of threads at once."""

    scratch_bytes = 0

    def __init__(self, stored: StoredBytes, offset: int, rows: int, row_bytes: int) -> None:
        self._stored = stored
        self._offset = offset
        self._rows = rows
        self._row_bytes = row_bytes
        self.bridged_rows = len(_BRIDGED) // max(row_bytes, 1)

    def read(self, runs: Sequence[Run], places: Places, at: int) -> None:
        """Reads runs of ascending rows straight to places `at` on: one copy in all."""
        begin = reached = runs[0][0]
        pieces: list[Piece] = []
        for start, stop in runs:
            if start > reached:
                pieces.append(_BRIDGED[: (start - reached) * self._row_bytes])
            pieces += places.views(at, stop - start)
            at += stop - start
            reached = stop
        row_bytes = self._row_bytes
        self._stored.read(self._offset + begin * row_bytes, (reached - begin) * row_bytes, pieces)

    def ranges(self, runs: Sequence[Run]) -> list[Range]:
        """Where in the file these runs of rows lie."""
        begin, size = self._offset, self._row_bytes
        return [(begin + start * size, begin + stop * size) for start, stop in runs]

    def probes(self) -> Iterator[Probe]:
        """The first and the last row."""
        for row in (0, self._rows - 1):
            yield Probe((slice(row, row + 1),), partial(self._row, row))

    def _row(self, row: int) -> bytes:
        found = np.empty((1, self._row_bytes), np.uint8)
        self.read([(row, row + 1)], Places([found]), 0)
        return found.tobytes()
