"""One dataset's way from the file to its places in batches: what every lane offers."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Generic, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from prefetcher.columns.column import View
from prefetcher.columns.memory import InMemory
from prefetcher.columns.ragged import OBJECT_BYTES
from prefetcher.columns.rowmap import RowMap
from prefetcher.hdf5.dataset import Dataset
from prefetcher.hdf5.elements import Elements
from prefetcher.hdf5.places import Wanted
from prefetcher.order.chunk import ChunkPlan, Part
from prefetcher.order.runs import Run
from prefetcher.pipeline.buffers import Meter, Pool

Bytes = NDArray[np.uint8]
Key = View | InMemory
"""What a batch has an array for."""
Arrays = dict[Key, NDArray[Any]]


@dataclass(frozen=True, slots=True)
class Need:
    """What samples need of one dataset.

    Attributes:
        dataset: With the rows of all files.
        views: Which rows; each once, all of the same stride.
        rows: Where each sample stands.
        files: How many files the rows lie in.
        elements: Where the elements of sparse rows lie; None for a dataset of whole rows.
    """

    dataset: Dataset
    views: tuple[View, ...]
    rows: RowMap
    files: int = 1
    elements: Elements | None = None

    @property
    def batch_bytes(self) -> int:
        """Bytes of one sample in a batch."""
        if self.dataset.elements is not None:
            return sum(self.row_bytes * view.span.rows for view in self.views)
        return sum(batch_bytes(self.dataset, view) for view in self.views)

    @property
    def most(self) -> int | None:
        """Elements of each row of variable length that any view needs; None for all."""
        counts = [view.most for view in self.views if view.most is not None]
        return max(counts) if len(counts) == len(self.views) else None

    @property
    def row_bytes(self) -> int:
        """Bytes of one row in memory; of rows of variable length the most that they average."""
        elements = self.dataset.elements
        if elements is None or self.most is None:
            return self.dataset.row_bytes
        return math.prod(self.dataset.row_shape) * (OBJECT_BYTES + self.most * elements.itemsize)

    @property
    def storage_rows(self) -> int:
        """Rows that are decoded together. Of rows of variable length, that is next to nothing."""
        return self.dataset.storage_rows if self.dataset.elements is None else 1


def batch_bytes(dataset: Dataset, view: View) -> int:
    """Bytes that the rows of one sample take in a batch."""
    dtype = view.dense or dataset.dtype
    return dtype.itemsize * math.prod(dataset.row_shape) * view.span.rows


class RowSource(Protocol):
    """What a chunk is read from. Any number of threads at once."""

    def expect(self, name: str, runs: Sequence[Run]) -> None:
        """Has the system fetch what will be read soon. Never fails."""

    def read_all(self, wanted: Sequence[Wanted]) -> None:
        """Reads rows of several datasets, all that a file has of them in one visit."""

    def objects(
        self, name: str, runs: Sequence[Run], out: NDArray[np.object_], most: int | None = None
    ) -> None:
        """Reads runs of rows of variable length into `out`, `most` elements of each."""


class Hold(Protocol):
    """The memory of one chunk in one lane."""

    def wanted(self, part: Part) -> Sequence[Wanted]:
        """The rows that one part of the chunk needs, and where they go."""

    def complete(self, part: Part, source: RowSource) -> None:
        """After these were read: reads what are no rows of one size, and looks for damage."""

    def batch(self, index: int) -> Arrays:
        """The arrays of one batch. Each batch may be asked for once."""


Laid = TypeVar("Laid")


class Lane(ABC, Generic[Laid]):
    """One dataset's way through the pipeline, and its share of the buffers.

    What a chunk needs of it is laid out once, by `lay`: that is what `Laid` stands for.

    Attributes:
        sample_bytes: Bytes that are read for one sample, on average.
    """

    sample_bytes: int

    @abstractmethod
    def lay(self, chunk: ChunkPlan) -> Laid:
        """Which rows a chunk needs, and where they go; takes no memory for them."""

    @abstractmethod
    def expect(self, laid: Laid, source: RowSource) -> None:
        """Has the system fetch all that a chunk needs, before its first part is read."""

    @abstractmethod
    def hold(self, chunk: ChunkPlan, laid: Laid, *, whole: bool) -> Hold:
        """Takes the memory for a chunk; not `whole`, for one batch that is read on its own."""

    @abstractmethod
    def most_bytes(self, chunks: int, batches: int) -> int:
        """The most memory for so many chunks, batches outside of them, and one on its own."""

    @abstractmethod
    def drop(self) -> None:
        """Lets the free buffers go."""


class Buffers:
    """The buffers of one kind of batch: the rows of its samples, shape (samples, ...)."""

    def __init__(self, view: View, dataset: Dataset, samples: int, keep: int, meter: Meter) -> None:
        self.view = view
        self._dtype, row_shape = view.dense or dataset.dtype, dataset.row_shape
        length = view.span.length
        self._shape = row_shape if length is None else (length, *row_shape)
        self.value_bytes = batch_bytes(dataset, view)
        self.nbytes = samples * self.value_bytes
        self.pool = Pool(self.nbytes, keep, meter)

    def take(self, samples: int) -> Bytes:
        """Fresh memory (samples, bytes of a value)."""
        return self.cut(self.pool.take(), samples)

    def cut(self, block: Bytes, samples: int) -> Bytes:
        """The beginning of a block as memory (samples, bytes of a value)."""
        return block[: samples * self.value_bytes].reshape(samples, self.value_bytes)

    def typed(self, batch: Bytes) -> NDArray[Any]:
        """The same memory with the dataset's dtype and shape."""
        return batch.view(self._dtype).reshape(len(batch), *self._shape)
