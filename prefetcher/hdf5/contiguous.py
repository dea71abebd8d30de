"""Rows that lie side by side: one system call reads a run and puts each row into its place.

Runs that lie near each other share a call: its vector has the rows of all of them, and a place that
nobody looks at for what lies between two. So small rows, as of labels, cost few calls.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial

import numpy as np

from prefetcher.clock import State, doing
from prefetcher.hdf5.access import Access
from prefetcher.hdf5.places import Places
from prefetcher.hdf5.proof import Probe
from prefetcher.order.plan import Run
from prefetcher.storage.protocol import Piece, Range, StoredBytes

_BRIDGED = np.empty(32 << 10, np.uint8)
"""Where bytes between two runs go: every thread writes here, none reads. To copy so many out of the
page cache takes less time than a call of its own."""


class ContiguousWay:
    """Reads rows of one contiguous dataset, from any number of threads at once."""

    __slots__ = ("_bridged_rows", "_offset", "_row_bytes", "_rows")

    scratch_bytes = 0
    kept_bytes = 200
    """Of this object, roughly."""

    def __init__(self, offset: int, rows: int, row_bytes: int) -> None:
        self._offset = offset
        self._rows = rows
        self._row_bytes = row_bytes
        self._bridged_rows = len(_BRIDGED) // max(row_bytes, 1)

    def read(self, access: Access, runs: Sequence[Run], places: Places) -> None:
        """Reads runs of rows straight to the next places: one copy in all."""
        with doing(State.READ):
            if len(runs) == 1:  # as of small files
                ((start, stop),) = runs
                if count := stop - start:
                    offset, size = self._offset + start * self._row_bytes, count * self._row_bytes
                    access.stored.read(offset, size, places.ahead(count))
                    places.done += count
                return
            for near in joined(runs, self._bridged_rows):
                self._read_near(access.stored, near, places)

    def _read_near(self, stored: StoredBytes, runs: Sequence[Run], places: Places) -> None:
        begin, row_bytes = runs[0][0], self._row_bytes
        reached, rows = begin, 0
        pieces: list[Piece] = []
        for start, stop in runs:
            if start > reached:
                pieces.append(_BRIDGED[: (start - reached) * row_bytes])
            pieces += places.ahead(stop - start, rows)
            rows += stop - start
            reached = stop
        stored.read(self._offset + begin * row_bytes, (reached - begin) * row_bytes, pieces)
        places.done += rows

    def ranges(self, runs: Sequence[Run]) -> list[Range]:
        """Where in the file these runs of rows lie."""
        begin, size = self._offset, self._row_bytes
        return [(begin + start * size, begin + stop * size) for start, stop in runs]

    def probes(self, access: Access) -> Iterator[Probe]:
        """The first and the last row."""
        for row in dict.fromkeys((0, self._rows - 1)):
            yield Probe((slice(row, row + 1),), partial(self._row, access, row))

    def _row(self, access: Access, row: int) -> bytes:
        found = np.empty((1, self._row_bytes), np.uint8)
        self.read(access, [(row, row + 1)], Places([found]))
        return found.tobytes()


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
