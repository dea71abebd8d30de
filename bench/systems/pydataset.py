"""Keras's own `PyDataset` with two of its workers: each batch is a slice of the file."""

from __future__ import annotations

import math
from collections.abc import Generator
from typing import Any

import h5py
import keras
import numpy as np

# What fit() makes of a PyDataset, and the only way to its workers without a model. Should a later
# Keras move it, this system fails with that error and the others are measured.
from keras.src.trainers.data_adapters.py_dataset_adapter import PyDatasetAdapter

from bench.systems import Batch, Feed
from bench.systems.chunks import rows_of


class Slices(keras.utils.PyDataset):  # type: ignore[misc]  # keras has no types
    """Batch i is the i-th slice, shuffled within itself: rows drawn singly are far slower."""

    def __init__(self, feed: Feed, workers: int = 2) -> None:
        super().__init__(workers=workers)
        self._file = h5py.File(feed.path)
        self._x, self._y = self._file[feed.x], self._file[feed.y]
        self._feed = feed
        self._rows = rows_of(feed)

    def __len__(self) -> int:
        return math.ceil(self._rows / self._feed.batch_size)

    def __getitem__(self, index: int) -> Batch:
        start = index * self._feed.batch_size
        stop = min(start + self._feed.batch_size, self._rows)
        order = np.random.permutation(stop - start)  # noqa: NPY002  # any thread
        return self._x[start:stop][order], self._y[start:stop][order]


def batches(feed: Feed) -> Generator[Batch]:
    """The batches as Keras's workers bring them; their order is shuffled, as `fit` does it."""
    adapter: Any = PyDatasetAdapter(Slices(feed), shuffle=True)
    for _ in range(feed.passes):
        yield from adapter.get_numpy_iterator()
