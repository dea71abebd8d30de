"""Rows that lie side by side: one system call reads a run and puts each row into its place."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial

import numpy as np

from prefetcher.hdf5.places import Places
from prefetcher.hdf5.proof import Probe
from prefetcher.hdf5.stored import Range, StoredBytes
from prefetcher.plan import Run


class ContiguousWay:
    """Reads rows of one contiguous dataset, from any number of threads at once."""

    scratch_bytes = 0

    def __init__(self, stored: StoredBytes, offset: int, rows: int, row_bytes: int) -> None:
        self._stored = stored
        self._offset = offset
        self._rows = rows
        self._row_bytes = row_bytes

    def read(self, start: int, stop: int, places: Places, at: int) -> None:
        """Reads rows [start, stop) straight to places `at` on: one copy in all."""
        pieces = places.views(at, stop - start)
        self._stored.read(self._offset + start * self._row_bytes, pieces)

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
        self.read(row, row + 1, Places([found]), 0)
        return found.tobytes()
