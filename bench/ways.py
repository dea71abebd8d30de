"""The ways to read that are compared. Each reads whole passes and counts what it got."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np
from numpy.typing import NDArray

import prefetcher
from bench.files import numbers_in

BATCH_SIZE = 32
PREADV_BYTES = 1 << 20
"""The small buffer of plain `preadv`: it stays in the processor's cache, which flatters it."""


@dataclass
class Count:
    """What a reader got: enough to show a row that is missing, doubled or wrong."""

    rows: int = 0
    total: int = 0
    nbytes: int = 0

    def add(self, images: NDArray[np.generic]) -> None:
        """Counts these pictures and the numbers they carry."""
        self.rows += len(images)
        self.total += int(numbers_in(images).sum())
        self.nbytes += images.nbytes


Way = Callable[[Path, int, int], Count]
"""Reads a file: path, samples in a chunk, passes."""


def article(path: Path, chunk_size: int, passes: int) -> Count:
    """The seed article's generator: a slice through h5py, shuffled with numpy, cut in batches."""
    count = Count()
    for images, _ in _article_batches(path, chunk_size, passes):
        count.add(images)
    return count


def _article_batches(
    path: Path, chunk_size: int, passes: int
) -> Iterator[tuple[NDArray[np.generic], NDArray[np.generic]]]:
    rng = np.random.default_rng(0)
    with h5py.File(path) as file:
        images, ids = file["images"], file["ids"]
        for _ in range(passes):
            for start in range(0, len(images), chunk_size):
                x, y = images[start : start + chunk_size], ids[start : start + chunk_size]
                order = rng.permutation(len(x))
                x, y = x[order], y[order]
                for at in range(0, len(x), BATCH_SIZE):
                    yield x[at : at + BATCH_SIZE], y[at : at + BATCH_SIZE]


def ours(readers: int) -> Way:
    """`PrefetchSequence` with so many readers, all else as it comes."""

    def read(path: Path, chunk_size: int, passes: int) -> Count:
        count = Count()
        with prefetcher.PrefetchSequence(
            path, "images", "ids", batch_size=BATCH_SIZE, chunk_size=chunk_size, readers=readers
        ) as sequence:
            for _ in range(passes):
                for index in range(len(sequence)):
                    count.add(sequence[index][0])
        return count

    return read


def preadv(threads: int, *, whole_chunks: bool) -> Way:
    """Plain `os.preadv` of a contiguous dataset into memory that is used again and again.

    Args:
        threads: Each reads every so-many-th run of rows into a buffer of its own.
        whole_chunks: The buffers together hold a chunk, as for shuffling they must; else each
            is `PREADV_BYTES` large.
    """

    def read(path: Path, chunk_size: int, passes: int) -> Count:
        with h5py.File(path) as file:
            images = file["images"]
            stretch = _Stretch(images.id.get_offset(), images.shape, images.dtype)
        row_bytes = stretch.row_bytes
        together = chunk_size // threads if whole_chunks else max(1, PREADV_BYTES // row_bytes)
        counts = [Count() for _ in range(threads)]
        workers = [
            threading.Thread(target=_preadv, args=(path, stretch, together, number, counts, passes))
            for number in range(threads)
        ]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
        return Count(
            sum(count.rows for count in counts),
            sum(count.total for count in counts),
            sum(count.nbytes for count in counts),
        )

    return read


@dataclass(frozen=True)
class _Stretch:
    """Where the rows of a contiguous dataset lie."""

    offset: int
    shape: tuple[int, ...]
    dtype: np.dtype[np.generic]

    @property
    def row_bytes(self) -> int:
        return int(np.prod(self.shape[1:])) * self.dtype.itemsize


def _preadv(
    path: Path, stretch: _Stretch, together: int, number: int, counts: list[Count], passes: int
) -> None:
    """One thread's share of every pass."""
    rows = stretch.shape[0]
    memory = np.empty((together, *stretch.shape[1:]), stretch.dtype)
    file = os.open(path, os.O_RDONLY)
    try:
        for _ in range(passes):
            for start in range(number * together, rows, len(counts) * together):
                part = memory[: min(together, rows - start)]
                _read_fully(file, part.data.cast("B"), stretch, start)
                counts[number].add(part)
    finally:
        os.close(file)


def _read_fully(file: int, view: memoryview, stretch: _Stretch, start: int) -> None:
    offset = stretch.offset + start * stretch.row_bytes
    while view:
        done = os.preadv(file, [view], offset)
        if not done:
            raise EOFError(f"the file ends at byte {offset}")
        view, offset = view[done:], offset + done
