"""The way that fits every dataset: through h5py, one thread at a time."""

from __future__ import annotations

import math
import threading
from collections.abc import Sequence

import h5py
import numpy as np

from prefetcher.clock import State, doing
from prefetcher.errors import CorruptError
from prefetcher.hdf5.places import Places, Rows
from prefetcher.plan import Run
from prefetcher.storage.protocol import Range

SCRATCH_BYTES = 4 << 20
"""Enough that h5py's cost of a call is small beside the copy, little enough to stay in cache."""


class GeneralWay:
    """Reads through h5py under one lock, because HDF5 itself does one thing at a time."""

    bridged_rows = 0

    def __init__(self, dataset: h5py.Dataset, lock: threading.RLock) -> None:
        self._dataset = dataset
        self._lock = lock
        self._row_bytes: int = dataset.dtype.itemsize * math.prod(dataset.shape[1:])
        self._storage_rows: int = dataset.chunks[0] if dataset.chunks else 1
        self._step = min(self._rows_at_once(), len(dataset))
        self._scratch: Rows | None = None
        self.scratch_bytes = self._step * self._row_bytes

    def _rows_at_once(self) -> int:
        """Whole storage chunks, so that none is decoded twice in one read."""
        fitting = SCRATCH_BYTES // max(self._row_bytes * self._storage_rows, 1)
        return max(fitting, 1) * self._storage_rows

    def ranges(self, runs: Sequence[Run]) -> list[Range]:
        """None: HDF5 alone knows where these rows lie."""
        del runs
        return []

    def read(self, runs: Sequence[Run], places: Places) -> None:
        """Reads runs of rows to the next places. Waits while another thread reads."""
        with doing(State.LOCK):
            self._lock.acquire()
        try:
            for start, stop in runs:
                pieces = places.ahead(stop - start)
                if len(pieces) == 1:
                    self._fetch(start, pieces[0])
                    places.done += stop - start
                else:
                    self._scatter(start, stop, places)
        finally:
            self._lock.release()

    def _scatter(self, start: int, stop: int, places: Places) -> None:
        if self._scratch is None:
            self._scratch = np.empty((self._step, self._row_bytes), np.uint8)
        while start < stop:
            # Up to a multiple of the step, so that the next one begins on a storage chunk.
            last = min(stop, (start // self._step + 1) * self._step)
            rows = self._scratch[: last - start]
            self._fetch(start, rows)
            places.put(rows)
            places.done += last - start
            start = last

    def _fetch(self, start: int, rows: Rows) -> None:
        shape = (len(rows), *self._dataset.shape[1:])
        typed = rows.reshape(-1).view(self._dataset.dtype).reshape(shape)
        try:
            with doing(State.HDF5):
                self._dataset.read_direct(typed, np.s_[start : start + len(rows)])
        except (OSError, RuntimeError, ValueError) as error:
            # An errno comes from the system; without one HDF5 did not like the bytes.
            if isinstance(error, OSError) and error.errno is not None:
                raise
            raise CorruptError(f"HDF5 cannot read it: {error}") from error
