"""Grain, with reader threads: by rows, and by chunks."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from typing import Any

import grain
import h5py

from bench.systems import Batch, Feed
from bench.systems.chunks import Chunks, cut, rows_of

CHUNKS_AHEAD = 2


class Rows:
    """A row by its number, for Grain's own shuffling and batching."""

    def __init__(self, feed: Feed) -> None:
        self._rows = rows_of(feed)
        file = h5py.File(feed.path)
        self._x, self._y = file[feed.x], file[feed.y]

    def __len__(self) -> int:
        return self._rows

    def __getitem__(self, row: int) -> Batch:
        return self._x[row], self._y[row]


class Cut(grain.experimental.FlatMapTransform):  # type: ignore[misc]  # grain has no types
    """A chunk's batches."""

    def __init__(self, feed: Feed) -> None:
        self._batch_size = feed.batch_size
        self.max_fan_out = -(-feed.chunk_size // feed.batch_size)

    def flat_map(self, element: Batch) -> Sequence[Batch]:
        """For Grain: the batches of one chunk."""
        return list(cut(*element, self._batch_size))


def rows(feed: Feed) -> Generator[Batch]:
    """The documented way: all rows shuffled, read in Grain's default of 16 threads, batched."""
    ahead = grain.ReadOptions(num_threads=16, prefetch_buffer_size=16)  # batches, not the rows
    drawn = grain.MapDataset.source(Rows(feed)).seed(feed.seed).shuffle()
    # Batched before it is repeated: else a batch would hold the rows of two passes.
    yield from drawn.batch(feed.batch_size).repeat(feed.passes).to_iter_dataset(ahead)


def chunks(feed: Feed) -> Generator[Batch]:
    """An expert's way: whole chunks are read ahead in two threads, shuffled and cut."""
    ahead = grain.ReadOptions(num_threads=CHUNKS_AHEAD, prefetch_buffer_size=CHUNKS_AHEAD)
    drawn = grain.MapDataset.source(Chunks(feed)).seed(feed.seed).shuffle().repeat(feed.passes)
    batches: Any = grain.experimental.FlatMapIterDataset(drawn.to_iter_dataset(ahead), Cut(feed))
    yield from batches
