"""Rows of variable length, which lie in global heaps that HDF5 alone reads: as Python objects."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from prefetcher.clock import State, doing
from prefetcher.hdf5.access import Access
from prefetcher.hdf5.general import SCRATCH_BYTES, H5pyWay
from prefetcher.hdf5.handle import Handle
from prefetcher.order.runs import Run

Objects = NDArray[np.object_]
"""An array of numbers, or bytes, for each row: shape (rows, *row_shape)."""


class ObjectPlaces:
    """The caller's array, and how many of its rows are there already. Used by one thread.

    Args:
        out: Where the rows go.
        most: Elements of each row that are kept; None for all.

    Attributes:
        count: Rows that there is room for.
        done: Rows that are there; the next ones go behind them.
    """

    def __init__(self, out: Objects, most: int | None = None) -> None:
        self._out = out
        self._most = most
        self.count = len(out)
        self.done = 0

    def put(self, rows: Objects) -> None:
        """Puts rows behind those that are there; they are done by that."""
        if self._most is not None:
            for at, row in enumerate(rows.reshape(-1)):
                if len(row) > self._most:  # a copy, so that the rest does not stay in memory
                    rows.reshape(-1)[at] = row[: self._most].copy()
        self._out[self.done : self.done + len(rows)] = rows
        self.done += len(rows)


class ObjectWay(H5pyWay):
    """Reads rows of variable length through h5py, one thread at a time.

    Args:
        handle: The open file.
        name: The dataset.
        row_bytes: What a row takes in memory, roughly: so many are asked for at once.
    """

    def __init__(self, handle: Handle, name: str, row_bytes: int) -> None:
        super().__init__(handle, name)
        self._step = max(1, SCRATCH_BYTES // max(row_bytes, 1))
        self.scratch_bytes = max(SCRATCH_BYTES, row_bytes)

    def read(self, access: Access, runs: Sequence[Run], places: ObjectPlaces) -> None:
        """Reads runs of rows to the next places. Waits while another thread reads."""
        del access  # HDF5 reads by itself
        with doing(State.LOCK):
            self._handle.lock.acquire()
        try:
            for start, stop in runs:
                for first in range(start, stop, self._step):
                    rows = slice(first, min(stop, first + self._step))
                    self._ask(partial(_taken, rows=rows, places=places))
        finally:
            self._handle.lock.release()


def _taken(dataset: h5py.Dataset, rows: slice, places: ObjectPlaces) -> None:
    found: Any = dataset[rows]
    places.put(found)
