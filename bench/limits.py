"""What the machine allows at most: stored bytes read, decoded and copied with nothing around it.

Each runs in a child's process and gives the seconds of each pass, as `bench.passes.read` does.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import cycle
from pathlib import Path
from time import perf_counter
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from prefetcher.filters import malloc
from prefetcher.filters.decode import Decoder, StoredFilter
from prefetcher.hdf5.properties import stored_filters

BLOCK_BYTES = 1 << 20
"""Small enough to stay in a processor's cache, which flatters it."""
CHUNK_ROWS = 3200


@dataclass(frozen=True)
class Stored:
    """Where a dataset's bytes lie: offset and size of each piece, and the bytes these decode to."""

    path: Path
    pieces: list[tuple[int, int]]
    piece_bytes: int
    row_bytes: int
    filters: Sequence[StoredFilter] = ()

    @property
    def nbytes(self) -> int:
        """Decoded bytes of all pieces."""
        return len(self.pieces) * self.piece_bytes


def stored(path: str, rows: int | None = None) -> Stored:
    """The pieces of the first rows, or all: storage chunks, or stretches if it is contiguous."""
    with h5py.File(path) as file:
        images = file["images"]
        rows = len(images) if rows is None else rows
        row_bytes = int(np.prod(images.shape[1:])) * images.dtype.itemsize
        if images.chunks is None:
            together = BLOCK_BYTES // row_bytes
            offset = images.id.get_offset()
            starts = range(0, rows - together + 1, together)
            pieces = [(offset + start * row_bytes, together * row_bytes) for start in starts]
            return Stored(Path(path), pieces, together * row_bytes, row_bytes)
        found: list[tuple[int, int]] = []
        images.id.chunk_iter(
            lambda one: (
                found.append((one.byte_offset, one.size)) if one.chunk_offset[0] < rows else None
            )
        )
        piece_bytes = int(np.prod(images.chunks)) * images.dtype.itemsize
        filters = stored_filters(images.id.get_create_plist())
        return Stored(Path(path), found, piece_bytes, row_bytes, filters)


def preadv(path: str, rows: int, passes: int, threads: int) -> dict[str, Any]:
    """Threads that only read the stored bytes, each into memory of its own used again."""
    place = stored(path, rows)

    def work(pieces: list[tuple[int, int]]) -> None:
        memory = memoryview(bytearray(max(size for _, size in pieces)))
        with _opened(place.path) as file:
            for offset, size in pieces:
                _read_fully(file, memory[:size], offset)

    return _timed(place.pieces, work, threads, passes) | {"nbytes": place.nbytes}


def scatter(path: str, rows: int, passes: int, threads: int) -> dict[str, Any]:
    """Threads that only read, each row to a random place in memory of two chunks.

    So much and so placed is what a chunk that is shuffled while it is read needs at least.
    """
    place = stored(path, rows)
    row_bytes, places = place.row_bytes, _places(place, rows)
    together = place.piece_bytes // row_bytes

    def work(pieces: list[tuple[int, int]]) -> None:
        with _opened(place.path) as file:
            for offset, size in pieces:
                at = (offset - place.pieces[0][0]) // row_bytes % (len(places) - together + 1)
                if os.preadv(file, places[at : at + together], offset) != size:  # type: ignore[arg-type]
                    raise EOFError(f"a read at {offset} was cut short")

    return _timed(place.pieces, work, threads, passes) | {"nbytes": place.nbytes}


def decode(path: str, rows: int, passes: int, threads: int) -> dict[str, Any]:
    """Threads that only decode what was read before, with this package's own decoders.

    A plugin filter takes its input for its own: here that is a copy, in a training the read itself.
    """
    place = stored(path, rows)
    data = np.frombuffer(place.path.read_bytes(), np.uint8)
    decoder = Decoder(place.filters, place.piece_bytes)

    def work(pieces: list[tuple[int, int]]) -> None:
        for offset, size in pieces:
            decoder.decode(data[offset : offset + size], 0)

    return _timed(place.pieces, work, threads, passes) | {"nbytes": place.nbytes}


def unpack(path: str, rows: int, passes: int, threads: int) -> dict[str, Any]:
    """Threads that read and decode storage chunks, and move each row to a random place.

    All the work that such a file asks for, with nothing around it.
    """
    place = stored(path, rows)
    places, together = _places(place, rows), place.piece_bytes // place.row_bytes
    decoder, most = Decoder(place.filters, place.piece_bytes), max(size for _, size in place.pieces)
    numbers = {offset: number for number, (offset, _) in enumerate(place.pieces)}

    def work(pieces: list[tuple[int, int]]) -> None:
        memory = np.empty(most, np.uint8)
        with _opened(place.path) as file:
            for offset, size in pieces:
                data = (malloc.room(most) if decoder.takes_room else memory)[:size]
                _read_fully(file, data.data, offset)
                decoded = decoder.decode(data, 0).reshape(together, -1)
                at = numbers[offset] * together % (len(places) - together + 1)
                for target, row in zip(places[at : at + together], decoded, strict=True):
                    target[:] = row

    return _timed(place.pieces, work, threads, passes) | {"nbytes": place.nbytes}


def _places(place: Stored, rows: int) -> list[NDArray[np.uint8]]:
    """Memory of two chunks by rows, in a random order."""
    memory = np.ones((min(rows, 2 * CHUNK_ROWS), place.row_bytes), np.uint8)
    slots = np.random.default_rng(0).permutation(len(memory)).tolist()
    return [memory[slot : slot + 1] for slot in slots]


def memcpy(path: str, rows: int, passes: int, threads: int) -> dict[str, Any]:
    """Threads that copy memory of a chunk's size, from and to places that no cache holds."""
    place = stored(path, rows)
    sizes = [(number, place.piece_bytes) for number in range(len(place.pieces))]
    source = np.ones((128, place.piece_bytes), np.uint8)
    target = np.ones((128, place.piece_bytes), np.uint8)

    def work(pieces: list[tuple[int, int]]) -> None:
        for number, _ in pieces:
            np.copyto(target[number % len(target)], source[number % len(source)])

    return _timed(sizes, work, threads, passes) | {"nbytes": place.nbytes}


@contextmanager
def paced(path: str, threads: int, chunk_rows: int, rows_per_s: float) -> Iterator[None]:
    """While the block runs, threads read and decode, chunk after chunk, no more than this pace."""
    place, done = stored(path), threading.Event()
    decoder = Decoder(place.filters, place.piece_bytes) if place.filters else None
    together = max(1, chunk_rows * place.row_bytes // place.piece_bytes)
    pieces = cycle(place.pieces)
    chunks = [[next(pieces) for _ in range(together)] for _ in range(8)]

    def work(thread: int) -> None:
        memory = np.empty(max(size for _, size in place.pieces), np.uint8)
        due = perf_counter()
        with _opened(path) as file:
            for chunk in cycle(chunks):
                for offset, size in chunk[thread::threads]:
                    _read_fully(file, memory[:size].data, offset)
                    if decoder is not None:
                        decoder.decode(memory[:size], 0)
                due = max(due + chunk_rows / rows_per_s, perf_counter())
                if done.wait(due - perf_counter()):
                    return

    workers = [threading.Thread(target=work, args=(thread,)) for thread in range(threads)]
    for worker in workers:
        worker.start()
    try:
        yield
    finally:
        done.set()
        for worker in workers:
            worker.join()


def sequential(path: str) -> dict[str, Any]:
    """The whole file from its begin to its end, as plainly as can be: what the disk gives."""
    memory = memoryview(bytearray(8 << 20))
    begun = perf_counter()
    with Path(path).open("rb", buffering=0) as file:
        nbytes = 0
        while done := file.readinto(memory):
            nbytes += done
    return {"seconds": [perf_counter() - begun], "nbytes": nbytes}


def _timed(
    pieces: list[tuple[int, int]],
    work: Callable[[list[tuple[int, int]]], None],
    threads: int,
    passes: int,
) -> dict[str, Any]:
    seconds = []
    for _ in range(passes):
        workers = [
            threading.Thread(target=work, args=(pieces[number::threads],))
            for number in range(threads)
        ]
        begun = perf_counter()
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
        seconds.append(perf_counter() - begun)
    return {"seconds": seconds}


@contextmanager
def _opened(path: str | Path) -> Iterator[int]:
    file = os.open(path, os.O_RDONLY)
    try:
        yield file
    finally:
        os.close(file)


def _read_fully(file: int, view: memoryview, offset: int) -> None:
    while view:
        done = os.preadv(file, [view], offset)
        if not done:
            raise EOFError(f"the file ends at byte {offset}")
        view, offset = view[done:], offset + done
