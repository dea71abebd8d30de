"""What several systems do by hand: read a chunk through h5py and shuffle it."""

from __future__ import annotations

import importlib
import importlib.util
import threading
from collections.abc import Iterator

import h5py
import numpy as np

from bench.systems import Array, Batch, Feed

if importlib.util.find_spec("hdf5plugin"):
    importlib.import_module("hdf5plugin")  # tells HDF5 of lz4, zstd and blosc


class Chunks:
    """The chunks of a file by number: ``chunks[3]`` is the fourth one, shuffled.

    It opens the file when it is first asked, so that worker processes each have their own. Any
    thread may ask. They take turns under a lock of ours: h5py lets one read at a time anyway, and
    once two of TensorFlow's threads stood still at h5py's lock, for a reason that was not found.
    """

    def __init__(self, feed: Feed) -> None:
        self._feed = feed
        self._spans = feed.spans(rows_of(feed))
        self._file: h5py.File | None = None
        self._turn = threading.Lock()

    def __len__(self) -> int:
        return len(self._spans)

    def __getitem__(self, number: int) -> Batch:
        x, y = self.read(number)
        order = np.random.permutation(len(x))  # noqa: NPY002  # any thread, any process
        return x[order], y[order]

    def read(self, number: int) -> Batch:
        """The chunk as it lies in the file."""
        start, stop = self._spans[number]
        with self._turn:
            if self._file is None:
                self._file = h5py.File(self._feed.path)
            return self._file[self._feed.x][start:stop], self._file[self._feed.y][start:stop]


def rows_of(feed: Feed) -> int:
    """Rows in a pass."""
    if feed.rows is not None:
        return feed.rows
    with h5py.File(feed.path) as file:
        return len(file[feed.x])


def cut(x: Array, y: Array, batch_size: int) -> Iterator[Batch]:
    """Batches of a chunk, without a copy."""
    for at in range(0, len(x), batch_size):
        yield x[at : at + batch_size], y[at : at + batch_size]
