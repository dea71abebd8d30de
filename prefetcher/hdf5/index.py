"""Where the storage chunks of a dataset lie in the file."""

from __future__ import annotations

import math
from array import array
from collections.abc import Sequence
from typing import NamedTuple, TypeVar

import h5py
import numpy as np
from numpy.typing import NDArray

from prefetcher.errors import CorruptError

Each = TypeVar("Each")


def moved(each: Sequence[Each], axis: int) -> tuple[Each, ...]:
    """What belongs to `axis` goes first."""
    return (each[axis], *each[:axis], *each[axis + 1 :])


def moved_back(each: Sequence[Each], axis: int) -> tuple[Each, ...]:
    """What is first goes where `axis` is."""
    return (*each[1 : axis + 1], each[0], *each[axis + 1 :])


class StoredChunk(NamedTuple):
    """One storage chunk as the index knows it."""

    number: int
    """Its place in the grid of storage chunks, the last axis counting fastest."""
    offset: int
    """Where its bytes begin in the file."""
    size: int
    """How many bytes are stored."""
    mask: int
    """Bit i tells that filter i was skipped."""


def grid_of(shape: tuple[int, ...], chunk: tuple[int, ...]) -> tuple[int, ...]:
    """How many storage chunks lie along each axis."""
    return tuple(-(-extent // step) for extent, step in zip(shape, chunk, strict=True))


def walk_index(dataset: h5py.Dataset) -> NDArray[np.int64]:
    """What HDF5's own index says of each storage chunk, int64 (storage chunks, axes + 3).

    A row holds its first element's place along each axis, its offset, size and mask, and the rows
    are in the order of the places.

    Raises:
        CorruptError: The index names a storage chunk twice. HDF5 may crash over such a dataset.
    """
    axes = len(dataset.shape)
    flat = array("Q")

    def note(info: h5py.h5d.StoreInfo) -> None:
        flat.extend(info.chunk_offset)
        flat.extend((info.byte_offset, info.size, info.filter_mask))

    dataset.id.chunk_iter(note)
    table = np.frombuffer(flat, np.uint64).reshape(-1, axes + 3).astype(np.int64)
    table = table[np.lexsort(table[:, axes - 1 :: -1].T)]
    if np.any(np.all(table[1:, :axes] == table[:-1, :axes], axis=1)):
        raise CorruptError("its index names a storage chunk twice")
    return table


class ChunkIndex:
    """Every storage chunk of one dataset, as one walk through HDF5's own index found them.

    Keeps 32 bytes for each. Does not change, so any number of threads may ask.

    Args:
        dataset: One that is stored in storage chunks.
        table: What `walk_index` says of it.
        axis: What comes first where its grid is numbered.

    Raises:
        CorruptError: the index names a storage chunk that is off the grid.
    """

    __slots__ = ("_sorted", "_table", "grid")

    def __init__(self, dataset: h5py.Dataset, table: NDArray[np.int64], axis: int = 0) -> None:
        axes = moved(range(len(dataset.chunks)), axis)
        steps = tuple(dataset.chunks[each] for each in axes)
        self.grid = grid_of(tuple(dataset.shape[each] for each in axes), steps)
        numbers = self._numbers(table[:, axes], steps)
        # As the table is sorted already, but by the axes as they are stored.
        order = np.argsort(numbers, kind="stable") if axis else slice(None)
        self._sorted = numbers[order]
        self._table = table[order, len(steps) :].copy()  # a view would keep the places

    def _numbers(self, corners: NDArray[np.int64], steps: tuple[int, ...]) -> NDArray[np.int64]:
        places, off = np.divmod(corners, np.array(steps, np.int64))
        if off.any() or (places < 0).any() or (places >= np.array(self.grid)).any():
            raise CorruptError("its index names a storage chunk off the grid")
        strides = [math.prod(self.grid[axis + 1 :]) for axis in range(len(steps))]
        return places @ np.array(strides, np.int64)

    def __len__(self) -> int:
        return len(self._table)

    @property
    def largest(self) -> int:
        """Bytes of the largest stored storage chunk, 0 if there is none."""
        return int(self._table[:, 1].max(initial=0))

    def between(self, first: int, last: int) -> list[StoredChunk]:
        """The stored ones with numbers [first, last); those missing were never written."""
        begin, end = np.searchsorted(self._sorted, (first, last))
        numbers = self._sorted[begin:end].tolist()
        return [
            StoredChunk(number, *row)
            for number, row in zip(numbers, self._table[begin:end].tolist(), strict=True)
        ]

    def ends(self) -> list[StoredChunk]:
        """The first and the last one that is stored."""
        last = len(self) - 1
        return [
            StoredChunk(int(self._sorted[at]), *self._table[at].tolist())
            for at in sorted({0, last})
            if last >= 0
        ]
