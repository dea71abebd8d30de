"""Rows along another axis than the first: neighbours are read together, and turned in memory.

Each element of such a row lies in another place of the file. So the same element of many neighbours
is read in one call, and what costs is the number of calls: some 4 us each.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from functools import partial
from itertools import groupby
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from prefetcher.clock import State, doing
from prefetcher.hdf5.access import Access
from prefetcher.hdf5.contiguous import joined
from prefetcher.hdf5.general import SCRATCH_BYTES, H5pyWay
from prefetcher.hdf5.handle import Handle
from prefetcher.hdf5.index import moved, moved_back
from prefetcher.hdf5.places import Places, Rows
from prefetcher.hdf5.proof import Probe
from prefetcher.hdf5.properties import leaves_gaps
from prefetcher.hdf5.scratch import Scratch
from prefetcher.order.runs import Run
from prefetcher.storage.protocol import Range

_PAGE = 4096  # bytes that a disk is read by: shorter pieces read what nobody wants
_TOGETHER_BYTES = 1 << 20  # of rows that are read together, as a block is by default
_MOST_AT_ONCE = (
    32 << 20
)  # bytes of wide rows that a thread reads at once where so many are asked for
_BRIDGED_BYTES = 4096  # of a piece between two runs: copied in the time of a call


def rows_together(element_bytes: int, row_bytes: int) -> int:
    """Rows that are read together where the file does not say: a power of two.

    So many that each piece is a page of the file, as far as they are no more than 1 MiB.
    """
    rows = min(_PAGE // max(element_bytes, 1), _TOGETHER_BYTES // max(row_bytes, 1))
    return 1 << max(rows, 1).bit_length() - 1


def turning_bytes(row_bytes: int, together: int, rows: int) -> int:
    """The most memory that a thread holds to read and to turn rows in storage chunks of HDF5."""
    return 2 * _rows_at_once(row_bytes, together, rows) * row_bytes


def contiguous_bytes(element_bytes: int, row_bytes: int, rows: int) -> int:
    """The same for rows without storage chunks."""
    return 2 * _contiguous_rows(element_bytes, row_bytes, rows) * row_bytes


def _contiguous_rows(element_bytes: int, row_bytes: int, rows: int) -> int:
    """Rows that are read at once at most: more of wide ones, as each piece is a call."""
    most = min(_PAGE // max(element_bytes, 1), _MOST_AT_ONCE // max(row_bytes, 1))
    return max(1, min(max(SCRATCH_BYTES // max(row_bytes, 1), most), rows))


def _rows_at_once(row_bytes: int, together: int, rows: int) -> int:
    """Whole storage chunks, so that none is decoded twice in one read."""
    fitting = SCRATCH_BYTES // max(row_bytes * together, 1)
    return max(1, min(max(fitting, 1) * together, rows))


class TurnedContiguousWay:
    """Rows of a contiguous dataset along another axis; from any number of threads at once.

    Args:
        offset: Where its bytes begin in the file.
        shape: As it is stored.
        itemsize: Bytes of an element.
        axis: Along which the rows lie.
    """

    kept_bytes = 200
    """Of this object, roughly."""

    def __init__(self, offset: int, shape: Sequence[int], itemsize: int, axis: int) -> None:
        self._offset = offset
        self._axis = axis
        self._axes = len(shape)
        self._rows = shape[axis]
        self._pieces = math.prod(shape[:axis])
        # What lies side by side of a row counts as one element.
        self._element = itemsize * math.prod(shape[axis + 1 :])
        self._row_bytes = self._pieces * self._element
        self._step = _contiguous_rows(self._element, self._row_bytes, self._rows)
        self.scratch_bytes = contiguous_bytes(self._element, self._row_bytes, self._rows)

    def ranges(self, runs: Sequence[Run]) -> list[Range]:
        """Where in the file the pieces of these runs of rows lie."""
        wanted = np.array(runs, np.int64).reshape(-1, 2) * self._element
        every = np.arange(self._pieces)[:, None, None] * self._rows * self._element
        places = (every + wanted + self._offset).reshape(-1, 2)
        return [(start, stop) for start, stop in places.tolist()]

    def read(self, access: Access, runs: Sequence[Run], places: Places) -> None:
        """Reads runs of rows to the next places; those that lie near each other together."""
        with doing(State.READ):
            for near in joined(runs, _BRIDGED_BYTES // max(self._element, 1)):
                for some in _within(near, self._step):
                    self._read(access, some, places)

    def _read(self, access: Access, runs: Sequence[Run], places: Places) -> None:
        first, last = runs[0][0], runs[-1][1]
        count = last - first
        found = access.scratch.piece("turned", count * self._row_bytes)
        pieces = found.reshape(self._pieces, count * self._element)
        offset = self._offset + first * self._element
        for piece in pieces:
            access.stored.read(offset, len(piece), [piece])
            offset += self._rows * self._element
        turned = pieces.view(_unit(self._element)).reshape(self._pieces, count, -1).swapaxes(0, 1)
        _put(access.scratch, turned, self._row_bytes, runs, places)

    def probes(self, access: Access) -> Iterator[Probe]:
        """The first and the last row."""
        for row in dict.fromkeys((0, self._rows - 1)):
            where = [slice(None)] * self._axes
            where[self._axis] = slice(row, row + 1)
            yield Probe(tuple(where), partial(self._row, access, row))

    def _row(self, access: Access, row: int) -> bytes:
        found = np.empty((1, self._row_bytes), np.uint8)
        self.read(access, [(row, row + 1)], Places([found]))
        return found.tobytes()


class TurnedWay(H5pyWay):
    """Rows along another axis, as bytes, through h5py: one thread at a time.

    Args:
        handle: The open file.
        name: The dataset.
        axis: Along which the rows lie.
        together: Rows that are decoded together.
    """

    def __init__(self, handle: Handle, name: str, axis: int, together: int) -> None:
        super().__init__(handle, name)
        dataset = handle.dataset(name)
        self._axis = axis
        self._dtype: np.dtype[np.generic] = dataset.dtype
        self._rows, *others = moved(dataset.shape, axis)
        self._row_shape = tuple(others)
        self._row_bytes: int = dataset.dtype.itemsize * math.prod(others)
        self._gaps = any(map(leaves_gaps, self._stored()))
        self._step = _rows_at_once(self._row_bytes, together, self._rows)
        self.scratch_bytes = turning_bytes(self._row_bytes, together, self._rows)

    def read(self, access: Access, runs: Sequence[Run], places: Places) -> None:
        """Reads runs of rows to the next places. Waits while another thread reads."""
        with doing(State.LOCK):
            self._handle.lock.acquire()
        try:
            for some in _within(runs, self._step):
                self._read(access.scratch, some, places)
        finally:
            self._handle.lock.release()

    def _read(self, scratch: Scratch, runs: Sequence[Run], places: Places) -> None:
        first, last = runs[0][0], runs[-1][1]
        shape = moved_back((last - first, *self._row_shape), self._axis)
        found = scratch.piece("turned", (last - first) * self._row_bytes)
        if self._gaps:
            found.fill(0)  # what h5py gives where HDF5 writes nothing
        typed = found.view(self._dtype).reshape(shape)
        where = [slice(None)] * len(shape)
        where[self._axis] = slice(first, last)
        self._ask(partial(h5py.Dataset.read_direct, dest=typed, source_sel=tuple(where)))
        plain = found.view(_unit(self._dtype.itemsize)).reshape(*shape, -1)
        _put(scratch, np.moveaxis(plain, self._axis, 0), self._row_bytes, runs, places)


def _put(
    scratch: Scratch, turned: NDArray[Any], row_bytes: int, runs: Sequence[Run], places: Places
) -> None:
    """Copies runs of rows, the first of which comes first in `turned`, to the next places."""
    first, count = runs[0][0], len(turned)
    ahead = places.ahead(count) if len(runs) == 1 else ()
    rows: Rows
    if len(ahead) == 1:  # one copy instead of two
        ahead[0].view(turned.dtype).reshape(turned.shape)[...] = turned
    else:
        rows = scratch.piece("rows", count * row_bytes).reshape(count, row_bytes)
        rows.reshape(-1).view(turned.dtype).reshape(turned.shape)[...] = turned
        places.put_runs(rows, first, runs, slice(None))
    places.done += sum(stop - start for start, stop in runs)


def _within(runs: Sequence[Run], step: int) -> Iterator[list[Run]]:
    """Runs, cut at the multiples of `step`; those between two of them together if they ascend."""
    cut = (
        (max(start, at * step), min(stop, (at + 1) * step))
        for start, stop in runs
        for at in range(start // step, -(-stop // step))
    )
    for _, some in groupby(cut, key=lambda run: run[0] // step):
        ascending: list[Run] = []
        for run in some:
            if ascending and run[0] < ascending[-1][1]:
                yield ascending
                ascending = []
            ascending.append(run)
        yield ascending


def _unit(nbytes: int) -> np.dtype[np.generic]:
    """A type that numpy copies fast and that divides so many bytes."""
    if nbytes in (1, 2, 4, 8):
        return np.dtype(f"u{nbytes}")
    return np.dtype(f"V{nbytes}") if nbytes else np.dtype("u1")
