"""PyTorch's DataLoader with two worker processes, by rows and by chunks."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from typing import Any

import h5py
import torch
from torch.utils.data import DataLoader, Dataset, IterableDataset, get_worker_info

from bench.systems import Batch, Feed
from bench.systems.chunks import Chunks, cut, rows_of

WORKERS = 2


class Rows(Dataset[Any]):  # type: ignore[misc]  # torch is not installed for the checks
    """A row by its number; every worker opens the file for itself, as handles cannot be sent."""

    def __init__(self, feed: Feed) -> None:
        self._feed = feed
        self._rows = rows_of(feed)
        self._file: h5py.File | None = None

    def __len__(self) -> int:
        return self._rows

    def __getitem__(self, row: int) -> Any:
        if self._file is None:
            self._file = h5py.File(self._feed.path)
        return torch.from_numpy(self._file[self._feed.x][row]), self._file[self._feed.y][row]


class Parts(IterableDataset[Any]):  # type: ignore[misc]  # as above
    """The batches of every other chunk, as each worker has its share of them."""

    def __init__(self, feed: Feed) -> None:
        self._feed = feed
        self._chunks = Chunks(feed)

    def __iter__(self) -> Iterator[Any]:
        worker = get_worker_info()
        assert worker is not None
        for number in range(worker.id, len(self._chunks), worker.num_workers):
            for x, y in cut(*self._chunks[number], self._feed.batch_size):
                yield torch.from_numpy(x), torch.from_numpy(y)


def rows(feed: Feed) -> Generator[Batch]:
    """The textbook's way: all rows shuffled, one item at a time, collated by the loader."""
    loader = DataLoader(
        Rows(feed),
        batch_size=feed.batch_size,
        shuffle=True,
        num_workers=WORKERS,
        persistent_workers=True,
    )
    yield from _passes(loader, feed)


def chunks(feed: Feed) -> Generator[Batch]:
    """An expert's way: whole chunks are read and shuffled in the workers, and sent as batches."""
    loader = DataLoader(Parts(feed), batch_size=None, num_workers=WORKERS, persistent_workers=True)
    yield from _passes(loader, feed)


def _passes(loader: Any, feed: Feed) -> Generator[Batch]:
    for _ in range(feed.passes):
        for x, y in loader:
            yield x.numpy(), y.numpy()
