"""Rows out of storage chunks: read at their offsets, decoded outside every lock."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import lru_cache, partial
from itertools import groupby
from operator import itemgetter

import h5py
import numpy as np
from numpy.typing import NDArray

from prefetcher.clock import State, doing
from prefetcher.errors import CorruptError
from prefetcher.filters import malloc
from prefetcher.filters.decode import Bytes, Decoder, StoredFilter
from prefetcher.hdf5.access import Access
from prefetcher.hdf5.index import ChunkIndex, StoredChunk, grid_of, moved, moved_back
from prefetcher.hdf5.places import Places
from prefetcher.hdf5.proof import Probe
from prefetcher.hdf5.properties import stored_filters
from prefetcher.hdf5.records import without_gaps
from prefetcher.order.runs import Run
from prefetcher.storage.protocol import Range

_ALIKE = 64
"""Kinds of datasets that are kept: each shape of the last file is one."""

Elements = NDArray[np.generic]
"""A box of a dataset; its elements keep their bytes, their type does not matter here."""


class _Layout:
    """What is alike in every dataset of one shape, type and set of filters: made once for all."""

    def __init__(
        self,
        shape: tuple[int, ...],
        chunk: tuple[int, ...],
        filters: tuple[StoredFilter, ...],
        fill: bytes,
    ) -> None:
        # An axis of one element more, so that vectors have bands too.
        self.shape = (*shape, 1)
        self.chunk = (*chunk, 1)
        self.grid = (*grid_of(shape, chunk), 1)
        self.per_band = math.prod(self.grid[2:])
        self.whole_rows = self.chunk[1:] == self.shape[1:]
        self.element = _element(len(fill))
        self.fill = np.frombuffer(fill, self.element).reshape(())
        self.row_bytes = self.element.itemsize * math.prod(self.shape[1:])
        self.chunk_bytes = self.element.itemsize * math.prod(self.chunk)
        self.decoder = Decoder(filters, self.chunk_bytes)
        self.band_bytes = self.element.itemsize * math.prod((*self.chunk[:2], *self.shape[2:]))


_layout = lru_cache(_ALIKE)(_Layout)


class StorageChunkWay:
    """Reads rows of one chunked dataset, from any number of threads at once.

    A band is what lies side by side of the rows of one storage chunk: the storage chunks that share
    the first two coordinates. Each band gives one stretch of bytes of every such row. It is put
    together in memory small enough for the processor's cache, then moved row by row to its places.
    Where storage chunks hold whole rows, a band is one storage chunk and nothing is put together.

    Where rows lie along another axis than the first, all of this counts that axis as the first.
    What was decoded is then looked at so, and turned by the copy to where it goes.

    Args:
        dataset: One that is stored in storage chunks.
        table: What `walk_index` says of it.
        axis: Along which its rows lie.
    """

    __slots__ = ("_axis", "_index", "_layout", "_most_stored", "kept_bytes", "scratch_bytes")

    def __init__(self, dataset: h5py.Dataset, table: NDArray[np.int64], axis: int = 0) -> None:
        self._axis = axis
        self._index = ChunkIndex(dataset, table, axis)
        # What HDF5 has for it where all is written, may be undefined.
        whole = len(self._index) == math.prod(self._index.grid)
        fill = np.zeros((), dataset.dtype) if whole else np.array(dataset.fillvalue, dataset.dtype)
        filters = stored_filters(dataset.id.get_create_plist())
        stored_fill = without_gaps(fill).tobytes()
        shape, extents = moved(dataset.shape, axis), moved(dataset.chunks, axis)
        self._layout = layout = _layout(shape, extents, filters, stored_fill)
        self._most_stored = min(self._index.largest, most_stored(layout.chunk_bytes))
        decoded = (3 if axis else 2) * layout.chunk_bytes
        self.scratch_bytes = self._most_stored + layout.band_bytes + decoded
        self.kept_bytes = kept_bytes(len(self._index))

    def read(self, access: Access, runs: Sequence[Run], places: Places) -> None:
        """Reads runs of rows to the next places, each storage chunk of neighbouring runs once."""
        for slab, runs_within in self._by_slab(runs):
            for band in range(self._layout.grid[1]):
                self._read_band(access, slab, band, runs_within, places)
            places.done += sum(last - first for first, last in runs_within)

    def _by_slab(self, runs: Sequence[Run]) -> Iterator[tuple[int, list[Run]]]:
        """Yields the runs within each slab, the rows of one storage chunk, counted from its own."""
        for slab, of_slab in groupby(self._stretches(runs), key=itemgetter(0)):
            yield slab, [(first, last) for _, first, last in of_slab]

    def _stretches(self, runs: Sequence[Run]) -> Iterator[tuple[int, int, int]]:
        """Yields (slab, its first row, its last row + 1)."""
        rows = self._layout.chunk[0]
        return (
            (slab, max(start - slab * rows, 0), min(stop - slab * rows, rows))
            for start, stop in runs
            for slab in range(start // rows, -(-stop // rows))
        )

    def _read_band(
        self, access: Access, slab: int, band: int, runs: Sequence[Run], places: Places
    ) -> None:
        """Moves one band's bytes of runs of a slab's rows to the next places."""
        number = (slab * self._layout.grid[1] + band) * self._layout.per_band
        found = self._index.between(number, number + self._layout.per_band)
        plain = self._layout.whole_rows and not self._axis and found
        if plain and self._layout.decoder.is_plain(found[0].mask):
            self._read_plain(access, found[0], runs, places)
            return
        low, high = min(first for first, _ in runs), max(last for _, last in runs)
        if self._layout.whole_rows and found:
            block = np.ascontiguousarray(self._decoded(access, found[0])[low:high])
        else:
            block = self._put_together(access, band, low, high, found)
        stretch = block.reshape(high - low, -1).view(np.uint8)
        begin = band * self._layout.chunk[1] * self._layout.row_bytes // self._layout.shape[1]
        places.put_runs(stretch, low, runs, slice(begin, begin + stretch.shape[1]))

    def _read_plain(
        self, access: Access, chunk: StoredChunk, runs: Sequence[Run], places: Places
    ) -> None:
        """Rows that lie in the file as they are go straight to their places."""
        with self._named(chunk):
            if chunk.size != self._layout.chunk_bytes:
                raise CorruptError(
                    f"it holds {chunk.size} bytes instead of {self._layout.chunk_bytes}"
                )
            row_bytes, skip = self._layout.row_bytes, 0
            with doing(State.READ):
                for first, last in runs:
                    begin = chunk.offset + first * row_bytes
                    pieces = places.ahead(last - first, skip)
                    access.stored.read(begin, (last - first) * row_bytes, pieces)
                    skip += last - first

    def _put_together(
        self, access: Access, band: int, first: int, last: int, found: list[StoredChunk]
    ) -> Elements:
        width = min(self._layout.chunk[1], self._layout.shape[1] - band * self._layout.chunk[1])
        shape = (last - first, width, *self._layout.shape[2:])
        nbytes = math.prod(shape) * self._layout.element.itemsize
        block = access.scratch.piece("band", nbytes).view(self._layout.element).reshape(shape)
        if len(found) < self._layout.per_band:
            block[...] = self._layout.fill
        for chunk in found:
            target = block[self._box(chunk.number)]
            source = tuple(slice(extent) for extent in target.shape[1:])
            target[...] = self._decoded(access, chunk)[(slice(first, last), *source)]
        return block

    def _box(self, number: int) -> tuple[slice, ...]:
        """Where in its band a storage chunk lies; numpy trims what is over the edge."""
        box: list[slice] = []
        for axis in range(len(self._layout.grid) - 1, 1, -1):
            number, place = divmod(number, self._layout.grid[axis])
            step = self._layout.chunk[axis]
            box.append(slice(place * step, (place + 1) * step))
        return (slice(None), slice(None), *reversed(box))

    def _decoded(self, access: Access, chunk: StoredChunk) -> Elements:
        with self._named(chunk):
            if chunk.size > self._most_stored:
                raise CorruptError("no storage chunk of this dataset can be that large")
            data = self._room(access)[: chunk.size]
            with doing(State.READ):
                access.stored.read(chunk.offset, chunk.size, [data])
            with doing(State.DECODE):
                decoded = self._layout.decoder.decode(data, chunk.mask)
        elements = decoded.view(self._layout.element)
        if not self._axis:
            return elements.reshape(self._layout.chunk)
        stored = moved_back(self._layout.chunk, self._axis)
        return np.moveaxis(elements.reshape(stored), self._axis, 0)

    def _room(self, access: Access) -> Bytes:
        """Memory for a storage chunk as it lies in the file; the decoder may take it."""
        if self._layout.decoder.takes_room:
            return malloc.room(self._most_stored)
        return access.scratch.piece("stored", self._most_stored)

    @contextmanager
    def _named(self, chunk: StoredChunk) -> Iterator[None]:
        try:
            yield
        except CorruptError as error:
            place = moved_back(self._place(chunk), self._axis)
            raise CorruptError(
                f"storage chunk {place} at byte {chunk.offset} ({chunk.size} bytes): {error}"
            ) from error

    def ranges(self, runs: Sequence[Run]) -> list[Range]:
        """Where in the file the storage chunks of these runs of rows lie."""
        per_slab = self._layout.grid[1] * self._layout.per_band
        return [
            (chunk.offset, chunk.offset + chunk.size)
            for slab, _ in groupby(self._stretches(runs), key=itemgetter(0))
            for chunk in self._index.between(slab * per_slab, (slab + 1) * per_slab)
        ]

    def probes(self, access: Access) -> Iterator[Probe]:
        """The first and the last storage chunk that is stored."""
        for chunk in self._index.ends():
            corner = np.multiply(self._place(chunk), self._layout.chunk[:-1]).tolist()
            box = tuple(
                slice(begin, min(begin + step, extent))
                for begin, step, extent in zip(
                    corner, self._layout.chunk, self._layout.shape, strict=False
                )
            )
            where = moved_back(box, self._axis)
            yield Probe(where, partial(self._bytes_within, access, chunk, box))

    def _bytes_within(self, access: Access, chunk: StoredChunk, box: tuple[slice, ...]) -> bytes:
        inside = tuple(slice(part.stop - part.start) for part in box)
        try:
            found = self._decoded(access, chunk)[inside]
            return np.moveaxis(found, 0, self._axis).tobytes()
        except CorruptError:
            if inside != tuple(map(slice, self._layout.chunk[:-1])) and self._may_be_plain(
                access, chunk
            ):
                return b""  # no proof: HDF5 shall answer
            raise

    def _may_be_plain(self, access: Access, chunk: StoredChunk) -> bool:
        """Whether a storage chunk over the edge may lie in the file as it is, without filters.

        A file may have them so (H5D_CHUNK_DONT_FILTER_PARTIAL_CHUNKS), and h5py cannot tell.
        """
        if chunk.size != self._layout.chunk_bytes:
            return False
        data = np.empty(chunk.size, np.uint8)
        access.stored.read(chunk.offset, chunk.size, [data])
        return self._layout.decoder.hdf5_survives(data, chunk.mask)

    def _place(self, chunk: StoredChunk) -> tuple[int, ...]:
        """The coordinates of a storage chunk in the grid of them."""
        return tuple(map(int, np.unravel_index(chunk.number, self._index.grid)))


def kept_bytes(storage_chunks: int) -> int:
    """Memory of what is known of a dataset with so many storage chunks, roughly."""
    return 800 + 32 * storage_chunks


def most_stored(chunk_bytes: int) -> int:
    """What a storage chunk may take in the file: more is a lie, as no filter adds much."""
    return 2 * chunk_bytes + (64 << 10)


def _element(nbytes: int) -> np.dtype[np.generic]:
    """A type of that size that numpy copies fast and as it is."""
    return np.dtype(f"u{nbytes}" if nbytes in (1, 2, 4, 8) else f"V{nbytes}")
