"""The way that fits every dataset: through h5py, one thread at a time."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import partial

import h5py
import numpy as np

from prefetcher.clock import State, doing
from prefetcher.errors import CorruptError, FileMissingError, PrefetchError, ReadError
from prefetcher.hdf5.access import Access
from prefetcher.hdf5.faults import RAISED, system_error
from prefetcher.hdf5.handle import Handle
from prefetcher.hdf5.places import Places, Rows
from prefetcher.hdf5.properties import leaves_gaps, missing_storage, storage_files
from prefetcher.hdf5.scratch import Scratch
from prefetcher.order.runs import Run
from prefetcher.storage.protocol import Range

SCRATCH_BYTES = 4 << 20
"""Enough that h5py's cost of a call is small beside the copy, little enough to stay in cache."""


class H5pyWay:
    """What reads through h5py: one thread at a time, as HDF5 itself does one thing at a time."""

    def __init__(self, handle: Handle, name: str) -> None:
        self._handle = handle
        self._name = name
        self._storage = [path for each in self._stored() for path in storage_files(each)]

    def _stored(self) -> list[h5py.Dataset]:
        """The dataset, and what it is made of. Not kept, as that would keep the file open."""
        return [self._handle.dataset(self._name), *self._handle.sources(self._name)]

    def ranges(self, runs: Sequence[Run]) -> list[Range]:
        """None: HDF5 alone knows where these rows lie."""
        del runs
        return []

    def _ask(self, read: Callable[[h5py.Dataset], None]) -> None:
        """Calls `read` with the dataset; hold the handle's lock. Nothing that failed is trusted."""
        try:
            with doing(State.HDF5):
                read(self._handle.dataset(self._name))
        except RAISED as error:
            self._handle.drop()
            if isinstance(error, PrefetchError):
                raise
            # No name holds the new error: it holds this frame, and so open files.
            raise system_error(error) or self._why(error) from error

    def _why(self, error: Exception) -> ReadError | FileMissingError:
        """The error for what the system can read and HDF5 cannot."""
        if missing := missing_storage(self._storage):
            return FileMissingError(f"{self._name} cannot be read: {missing}")
        return CorruptError(f"HDF5 cannot read it: {error}")


class GeneralWay(H5pyWay):
    """Rows of one size, as bytes."""

    bridged_rows = 0

    def __init__(self, handle: Handle, name: str) -> None:
        super().__init__(handle, name)
        dataset = handle.dataset(name)
        self._shape: tuple[int, ...] = dataset.shape[1:]
        self._dtype: np.dtype[np.generic] = dataset.dtype
        self._gaps = any(map(leaves_gaps, self._stored()))
        self._row_bytes: int = dataset.dtype.itemsize * math.prod(self._shape)
        self._storage_rows: int = dataset.chunks[0] if dataset.chunks else 1
        self._step = min(self._rows_at_once(), len(dataset))
        self.scratch_bytes = self._step * self._row_bytes

    def _rows_at_once(self) -> int:
        """Whole storage chunks, so that none is decoded twice in one read."""
        fitting = SCRATCH_BYTES // max(self._row_bytes * self._storage_rows, 1)
        return max(fitting, 1) * self._storage_rows

    def ranges(self, runs: Sequence[Run]) -> list[Range]:
        """None: HDF5 alone knows where these rows lie."""
        del runs
        return []

    def read(self, access: Access, runs: Sequence[Run], places: Places) -> None:
        """Reads runs of rows to the next places. Waits while another thread reads."""
        with doing(State.LOCK):
            self._handle.lock.acquire()
        try:
            for start, stop in runs:
                pieces = places.ahead(stop - start)
                if len(pieces) == 1:
                    self._fetch(start, pieces[0])
                    places.done += stop - start
                else:
                    self._scatter(access.scratch, start, stop, places)
        finally:
            self._handle.lock.release()

    def _scatter(self, scratch: Scratch, start: int, stop: int, places: Places) -> None:
        piece = scratch.piece("rows", self._step * self._row_bytes)
        room: Rows = piece.reshape(self._step, self._row_bytes)
        while start < stop:
            # Up to a multiple of the step, so that the next one begins on a storage chunk.
            last = min(stop, (start // self._step + 1) * self._step)
            rows = room[: last - start]
            self._fetch(start, rows)
            places.put(rows)
            places.done += last - start
            start = last

    def _fetch(self, start: int, rows: Rows) -> None:
        typed = rows.reshape(-1).view(self._dtype).reshape(len(rows), *self._shape)
        if self._gaps:
            rows.fill(0)  # what h5py gives where HDF5 writes nothing
        run = np.s_[start : start + len(rows)]
        self._ask(partial(h5py.Dataset.read_direct, dest=typed, source_sel=run))
