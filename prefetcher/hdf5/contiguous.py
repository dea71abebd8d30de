"""Rows that lie side by side: one system call reads a run and puts each row into its place.

Runs that lie near each other share a call: its vector has the rows of all of them, and a place that
nobody looks at for what lies between two. So small rows, as of labels, cost few calls. Where such
runs are short, as of every second row, what they span is read in one piece and the rows are taken
out of it: a vector of so many entries would cost more than that copy.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from itertools import pairwise

import numpy as np

from prefetcher.clock import State, doing
from prefetcher.hdf5.access import Access
from prefetcher.hdf5.places import Places
from prefetcher.hdf5.proof import Probe
from prefetcher.order.runs import Run, rows_of
from prefetcher.storage.protocol import Piece, Range, StoredBytes

_BRIDGED = np.empty(32 << 10, np.uint8)
"""Where bytes between two runs go: every thread writes here, none reads. To copy so many out of the
page cache takes less time than a call of its own."""

_SPAN_BYTES = 8 << 10
"""What is read in one piece to take short runs out of; larger ones gain nothing."""

_SHORT_RUN = 128
"""Bytes of a run, on average, up to which that pays: 0.4 to 1.0 us a run, against 1.6 us for a
place of its own in a vector. From 256 bytes on it costs more."""

_DENSE = _SPAN_BYTES // 16
"""Bytes from one run to the next, on average: so that a piece has several."""

_SMALL_ROW = 64  # bytes


class ContiguousWay:
    """Reads rows of one contiguous dataset, from any number of threads at once."""

    __slots__ = ("_bridged_rows", "_offset", "_row_bytes", "_rows", "scratch_bytes")

    kept_bytes = 200
    """Of this object, roughly."""

    def __init__(self, offset: int, rows: int, row_bytes: int) -> None:
        self._offset = offset
        self._rows = rows
        self._row_bytes = row_bytes
        self.scratch_bytes = span_bytes(row_bytes)
        self._bridged_rows = len(_BRIDGED) // max(row_bytes, 1)

    def __eq__(self, other: object) -> bool:
        """Whether the rows lie at the same places, of whatever file."""
        return isinstance(other, ContiguousWay) and self._where == other._where

    def __hash__(self) -> int:
        return hash(self._where)

    @property
    def _where(self) -> tuple[int, int, int]:
        return self._offset, self._rows, self._row_bytes

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
                if self.scratch_bytes and _are_short(near, self._row_bytes):
                    self._read_spans(access, near, places)
                else:
                    self._read_near(access.stored, near, places)

    def _read_spans(self, access: Access, runs: Sequence[Run], places: Places) -> None:
        """Reads what short runs span, piece by piece, and copies them out of it."""
        rows = rows_of(runs)
        most = _SPAN_BYTES // self._row_bytes
        windows = np.flatnonzero(np.diff((rows - rows[0]) // most, prepend=-1))
        for first, last in pairwise([*windows.tolist(), len(rows)]):
            begin, end = int(rows[first]), int(rows[last - 1]) + 1
            nbytes = (end - begin) * self._row_bytes
            span = access.scratch.piece("span", nbytes).reshape(end - begin, self._row_bytes)
            access.stored.read(self._offset + begin * self._row_bytes, nbytes, [span])
            places.put(span[rows[first:last] - begin])
            places.done += last - first

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


def span_bytes(row_bytes: int) -> int:
    """What a thread holds to read short runs of such rows: what they span, and the rows of it."""
    return 2 * _SPAN_BYTES if 0 < row_bytes <= _SMALL_ROW else 0


def _are_short(runs: Sequence[Run], row_bytes: int) -> bool:
    """Whether runs in ascending order are short, and dense."""
    used = row_bytes * sum(stop - start for start, stop in runs)
    spanned = row_bytes * (runs[-1][1] - runs[0][0])
    return len(runs) > 1 and used <= _SHORT_RUN * len(runs) and spanned <= _DENSE * len(runs)


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
