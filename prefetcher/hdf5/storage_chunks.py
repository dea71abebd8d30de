"""Rows out of storage chunks: read at their offsets, decoded outside every lock."""

from __future__ import annotations

import math
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from itertools import groupby
from operator import itemgetter

import h5py
import numpy as np
from numpy.typing import NDArray

from prefetcher.clock import State, doing
from prefetcher.errors import CorruptError
from prefetcher.filters import malloc
from prefetcher.filters.decode import Bytes, Decoder
from prefetcher.hdf5.index import ChunkIndex, StoredChunk
from prefetcher.hdf5.places import Places
from prefetcher.hdf5.proof import Probe
from prefetcher.hdf5.properties import stored_filters
from prefetcher.hdf5.records import without_gaps
from prefetcher.order.plan import Run
from prefetcher.storage.protocol import Range, StoredBytes

Elements = NDArray[np.generic]
"""A box of a dataset; its elements keep their bytes, their type does not matter here."""


class _Scratch(threading.local):
    """Memory that each reading thread keeps for the next storage chunk."""

    def __init__(self, stored_bytes: int, band_bytes: int) -> None:
        self.stored = np.empty(stored_bytes, np.uint8)
        self.band = np.empty(band_bytes, np.uint8)


class StorageChunkWay:
    """Reads rows of one chunked dataset, from any number of threads at once.

    A band is what lies side by side of the rows of one storage chunk: the storage chunks that share
    the first two coordinates. Each band gives one stretch of bytes of every such row. It is put
    together in memory small enough for the processor's cache, then moved row by row to its places.
    Where storage chunks hold whole rows, a band is one storage chunk and nothing is put together.
    """

    bridged_rows = 0

    def __init__(
        self, dataset: h5py.Dataset, table: NDArray[np.int64], stored: StoredBytes
    ) -> None:
        self._stored = stored
        self._index = ChunkIndex(dataset, table)
        # An axis of one element more, so that vectors have bands too.
        self._shape: tuple[int, ...] = (*dataset.shape, 1)
        self._chunk: tuple[int, ...] = (*dataset.chunks, 1)
        self._grid = (*self._index.grid, 1)
        self._per_band = math.prod(self._grid[2:])
        self._whole_rows = self._chunk[1:] == self._shape[1:]
        self._element = _element(dataset.dtype.itemsize)
        # What HDF5 has for it where all is written, may be undefined.
        whole = len(self._index) == math.prod(self._index.grid)
        fill = np.zeros((), dataset.dtype) if whole else np.array(dataset.fillvalue, dataset.dtype)
        self._fill = without_gaps(fill).view(self._element)
        self._row_bytes = self._element.itemsize * math.prod(self._shape[1:])
        self._chunk_bytes = self._element.itemsize * math.prod(self._chunk)
        self._decoder = Decoder(stored_filters(dataset.id.get_create_plist()), self._chunk_bytes)
        self._most_stored = min(self._index.largest, most_stored(self._chunk_bytes))
        band_bytes = self._element.itemsize * math.prod((*self._chunk[:2], *self._shape[2:]))
        kept = 0 if self._decoder.takes_room else self._most_stored  # else each has its own room
        self._scratch = _Scratch(kept, band_bytes)
        self.scratch_bytes = self._most_stored + band_bytes + 2 * self._chunk_bytes

    def read(self, runs: Sequence[Run], places: Places) -> None:
        """Reads runs of rows to the next places, each storage chunk of neighbouring runs once."""
        for slab, runs_within in self._by_slab(runs):
            for band in range(self._grid[1]):
                self._read_band(slab, band, runs_within, places)
            places.done += sum(last - first for first, last in runs_within)

    def _by_slab(self, runs: Sequence[Run]) -> Iterator[tuple[int, list[Run]]]:
        """Yields the runs within each slab, the rows of one storage chunk, counted from its own."""
        rows = self._chunk[0]
        stretches = (
            (slab, max(start - slab * rows, 0), min(stop - slab * rows, rows))
            for start, stop in runs
            for slab in range(start // rows, -(-stop // rows))
        )
        for slab, of_slab in groupby(stretches, key=itemgetter(0)):
            yield slab, [(first, last) for _, first, last in of_slab]

    def _read_band(self, slab: int, band: int, runs: Sequence[Run], places: Places) -> None:
        """Moves one band's bytes of runs of a slab's rows to the next places."""
        number = (slab * self._grid[1] + band) * self._per_band
        found = self._index.between(number, number + self._per_band)
        if self._whole_rows and found and self._decoder.is_plain(found[0].mask):
            self._read_plain(found[0], runs, places)
            return
        low, high = min(first for first, _ in runs), max(last for _, last in runs)
        if self._whole_rows and found:
            block = self._decoded(found[0])[low:high]
        else:
            block = self._put_together(band, low, high, found)
        stretch = block.reshape(high - low, -1).view(np.uint8)
        begin = band * self._chunk[1] * self._row_bytes // self._shape[1]
        skip = 0
        for first, last in runs:
            columns = slice(begin, begin + stretch.shape[1])
            places.put(stretch[first - low : last - low], columns, skip)
            skip += last - first

    def _read_plain(self, chunk: StoredChunk, runs: Sequence[Run], places: Places) -> None:
        """Rows that lie in the file as they are go straight to their places."""
        with self._named(chunk):
            if chunk.size != self._chunk_bytes:
                raise CorruptError(f"it holds {chunk.size} bytes instead of {self._chunk_bytes}")
            row_bytes, skip = self._row_bytes, 0
            with doing(State.READ):
                for first, last in runs:
                    begin = chunk.offset + first * row_bytes
                    pieces = places.ahead(last - first, skip)
                    self._stored.read(begin, (last - first) * row_bytes, pieces)
                    skip += last - first

    def _put_together(self, band: int, first: int, last: int, found: list[StoredChunk]) -> Elements:
        width = min(self._chunk[1], self._shape[1] - band * self._chunk[1])
        shape = (last - first, width, *self._shape[2:])
        nbytes = math.prod(shape) * self._element.itemsize
        block = self._scratch.band[:nbytes].view(self._element).reshape(shape)
        if len(found) < self._per_band:
            block[...] = self._fill
        for chunk in found:
            target = block[self._box(chunk.number)]
            source = tuple(slice(extent) for extent in target.shape[1:])
            target[...] = self._decoded(chunk)[(slice(first, last), *source)]
        return block

    def _box(self, number: int) -> tuple[slice, ...]:
        """Where in its band a storage chunk lies; numpy trims what is over the edge."""
        box: list[slice] = []
        for axis in range(len(self._grid) - 1, 1, -1):
            number, place = divmod(number, self._grid[axis])
            step = self._chunk[axis]
            box.append(slice(place * step, (place + 1) * step))
        return (slice(None), slice(None), *reversed(box))

    def _decoded(self, chunk: StoredChunk) -> Elements:
        with self._named(chunk):
            if chunk.size > self._most_stored:
                raise CorruptError("no storage chunk of this dataset can be that large")
            data = self._room()[: chunk.size]
            with doing(State.READ):
                self._stored.read(chunk.offset, chunk.size, [data])
            with doing(State.DECODE):
                decoded = self._decoder.decode(data, chunk.mask)
        return decoded.view(self._element).reshape(self._chunk)

    def _room(self) -> Bytes:
        """Memory for a storage chunk as it lies in the file; the decoder may take it."""
        if self._decoder.takes_room:
            return malloc.room(self._most_stored)
        return self._scratch.stored

    @contextmanager
    def _named(self, chunk: StoredChunk) -> Iterator[None]:
        try:
            yield
        except CorruptError as error:
            raise CorruptError(
                f"storage chunk {self._place(chunk)} at byte {chunk.offset} "
                f"({chunk.size} bytes): {error}"
            ) from error

    def ranges(self, runs: Sequence[Run]) -> list[Range]:
        """Where in the file the storage chunks of these runs of rows lie."""
        rows, per_slab = self._chunk[0], self._grid[1] * self._per_band
        return [
            (chunk.offset, chunk.offset + chunk.size)
            for start, stop in runs
            for chunk in self._index.between(start // rows * per_slab, -(-stop // rows) * per_slab)
        ]

    def probes(self) -> Iterator[Probe]:
        """The first and the last storage chunk that is stored."""
        for chunk in self._index.ends():
            corner = np.multiply(self._place(chunk), self._chunk[:-1]).tolist()
            box = tuple(
                slice(begin, min(begin + step, extent))
                for begin, step, extent in zip(corner, self._chunk, self._shape, strict=False)
            )
            yield Probe(box, partial(self._bytes_within, chunk, box))

    def _bytes_within(self, chunk: StoredChunk, box: tuple[slice, ...]) -> bytes:
        inside = tuple(slice(part.stop - part.start) for part in box)
        try:
            return self._decoded(chunk)[inside].tobytes()
        except CorruptError:
            if inside != tuple(map(slice, self._chunk[:-1])) and self._may_be_plain(chunk):
                return b""  # no proof: HDF5 shall answer
            raise

    def _may_be_plain(self, chunk: StoredChunk) -> bool:
        """Whether a storage chunk over the edge may lie in the file as it is, without filters.

        A file may have them so (H5D_CHUNK_DONT_FILTER_PARTIAL_CHUNKS), and h5py cannot tell.
        """
        if chunk.size != self._chunk_bytes:
            return False
        data = np.empty(chunk.size, np.uint8)
        self._stored.read(chunk.offset, chunk.size, [data])
        return self._decoder.hdf5_survives(data, chunk.mask)

    def _place(self, chunk: StoredChunk) -> tuple[int, ...]:
        """The coordinates of a storage chunk in the grid of them."""
        return tuple(map(int, np.unravel_index(chunk.number, self._index.grid)))


def most_stored(chunk_bytes: int) -> int:
    """What a storage chunk may take in the file: more is a lie, as no filter adds much."""
    return 2 * chunk_bytes + (64 << 10)


def _element(nbytes: int) -> np.dtype[np.generic]:
    """A type of that size that numpy copies fast and as it is."""
    return np.dtype(f"u{nbytes}" if nbytes in (1, 2, 4, 8) else f"V{nbytes}")
