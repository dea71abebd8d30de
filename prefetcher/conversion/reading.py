"""Rows of datasets of one HDF5 file, read by any number of workers of a process."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from prefetcher.conversion.source import RowNumbers
from prefetcher.errors import CorruptError
from prefetcher.hdf5.dataset import Csr, Dataset
from prefetcher.hdf5.describe import describe
from prefetcher.hdf5.elements import Elements, elements_of
from prefetcher.hdf5.shards import Shards
from prefetcher.hdf5.source import Source
from prefetcher.order.runs import Run, runs_of
from prefetcher.writing.codec import STORAGE_CHUNK_BYTES

_KEPT_BYTES = 256 << 20
"""Of decoded rows that are kept until the rows beside them are asked for: several times what a
storage chunk has that anybody reads with pleasure."""
_WORTH_KEEPING = 64 << 10  # bytes that are decoded together: fewer are decoded again in no time
_AT_ONCE = 16 << 20  # bytes of rows along another axis that are turned together


class Wanted(NamedTuple):
    """What is read of which file."""

    path: str
    names: tuple[str, ...]
    allow_external: bool


class Reading:
    """One file, opened for reading by any number of threads."""

    def __init__(self, wanted: Wanted) -> None:
        description = describe(wanted.path, allow_external=wanted.allow_external)
        self._datasets = {name: description.dataset(name) for name in wanted.names}
        self._sparse = {
            name: _Sparse(dataset.csr, dataset.shape[1], elements_of(Shards((description,)), name))
            for name, dataset in self._datasets.items()
            if dataset.csr is not None
        }
        parts = (part.name for dataset in self._datasets.values() for part in dataset.parts)
        self._source = Source(description, list(dict.fromkeys(parts)))
        self._kept = _Kept(_KEPT_BYTES)
        self._all_fit = all_fit(self._datasets.values())
        self.close = self._source.close

    def dataset(self, name: str) -> Dataset:
        """What is known of a dataset."""
        return self._datasets[name]

    def take(self, name: str, rows: RowNumbers, most: int | None = None) -> NDArray[Any]:
        """Rows of a dataset in any order: in native byte order, dense, or as objects.

        Of rows of variable length no more than `most` elements are kept, None for all.
        """
        dataset, order = self._datasets[name], np.argsort(rows, kind="stable")
        if name in self._sparse:
            taken = np.empty((len(rows), dataset.shape[1]), np.float32)
            taken[order] = self._sparse[name].rows(self._source, rows[order])
            return taken
        if dataset.elements is not None:
            taken = np.empty((len(rows), *dataset.row_shape), object)
            read: NDArray[np.object_] = np.empty(taken.shape, object)
            self._source.objects(name, runs_of(rows[order]), read, most)
            taken[order] = read
            return taken
        return self._fixed(dataset, rows, order)

    def _fixed(self, dataset: Dataset, rows: RowNumbers, order: NDArray[np.intp]) -> NDArray[Any]:
        taken = np.empty((len(rows), *dataset.row_shape), dataset.dtype)
        places = taken.view(np.uint8).reshape(len(rows), -1)
        together = _together(dataset)
        numbers = rows // together
        touched = np.unique(numbers)
        in_order = together > len(rows) and len(touched) <= 2 and _is_kept(dataset)
        if in_order or (self._all_fit and len(touched) * together > 2 * len(rows)):
            for number in touched.tolist():
                at = np.flatnonzero(numbers == number)
                block = self._kept.get(
                    (dataset.name, number), partial(self._block, dataset, number * together)
                )
                places[at] = block[rows[at] - number * together]
        else:
            self._source.read(dataset.name, runs_of(rows[order]), _pieces(places, order))
        return taken.astype(dataset.dtype.newbyteorder("="), copy=False)

    def _block(self, dataset: Dataset, start: int) -> NDArray[np.uint8]:
        stop = min(start + _together(dataset), dataset.rows)
        block = np.empty((stop - start, dataset.row_bytes), np.uint8)
        self._source.read(dataset.name, [(start, stop)], [block])
        return block


def _together(dataset: Dataset) -> int:
    """Rows that cost as much as one of them: of a storage chunk, or turned together."""
    if dataset.axis and not dataset.storage_chunk:
        return max(dataset.least_rows, _AT_ONCE // max(dataset.row_bytes, 1))
    return dataset.storage_rows if dataset.storage_rows * dataset.row_bytes >= _WORTH_KEEPING else 1


def all_fit(datasets: Iterable[Dataset]) -> bool:
    """Whether all rows that are decoded or turned together can be kept: any order is then good."""
    whole = (each for each in datasets if each.elements is None and each.csr is None)
    together = [each for each in whole if _together(each) > 1]
    return sum(each.rows * each.row_bytes for each in together) <= _KEPT_BYTES


def read_alone(dataset: Dataset) -> str:
    """What it costs to read its rows in a shuffled order; "" where that is little."""
    if dataset.axis and not dataset.storage_chunk:
        count = dataset.row_bytes // max(dataset.piece_bytes, 1)
        return f"{dataset.path}: in a shuffled order each row is read alone, in {count:,} pieces"
    if dataset.storage_rows > 1 and dataset.filters:
        return (
            f"{dataset.path}: in a shuffled order {dataset.storage_rows:,} rows are decoded for "
            "each that is written"
        )
    return ""


def _is_kept(dataset: Dataset) -> bool:
    """Whether what is read together can be kept until it was written."""
    return _together(dataset) * dataset.row_bytes <= _KEPT_BYTES // 2


def decoded_again(dataset: Dataset) -> str:
    """What it costs that storage chunks are too large to be kept; "" where they are not."""
    if not dataset.storage_chunk or not dataset.filters or _is_kept(dataset):
        return ""
    nbytes = dataset.storage_rows * dataset.row_bytes
    return (
        f"{dataset.path}: {dataset.storage_rows:,} rows lie in storage chunks of "
        f"{nbytes / 1e6:,.0f} MB together, more than is kept decoded: each is decoded some "
        f"{nbytes / STORAGE_CHUNK_BYTES:,.0f} times"
    )


def _pieces(places: NDArray[np.uint8], order: NDArray[np.intp]) -> list[NDArray[np.uint8]]:
    """`places` in this order: in one piece where they stay as they are."""
    if bool((np.diff(order) == 1).all()):
        return [places]
    return [places[at : at + 1] for at in order]


class _Kept:
    """Blocks of rows that were read, until they are too many; each is read once, by one thread."""

    def __init__(self, most_bytes: int) -> None:
        self._most_bytes = most_bytes
        self._lock = threading.Lock()
        self._blocks: OrderedDict[object, NDArray[np.uint8]] = OrderedDict()
        self._bytes = 0
        self._reading: dict[object, threading.Lock] = {}

    def get(self, key: object, read: Callable[[], NDArray[np.uint8]]) -> NDArray[np.uint8]:
        """The block of that key, read if it is not there."""
        with self._lock:
            reading = self._reading.setdefault(key, threading.Lock())
        with reading:
            found = self._blocks.get(key)
            if found is None:
                found = read()
                self._keep(key, found)
            return found

    def _keep(self, key: object, block: NDArray[np.uint8]) -> None:
        with self._lock:
            if key not in self._blocks:  # two may have read one that went meanwhile
                self._blocks[key] = block
                self._bytes += block.nbytes
            while self._bytes > self._most_bytes:
                old, gone = self._blocks.popitem(last=False)
                self._bytes -= gone.nbytes
                self._reading.pop(old, None)


class _Sparse:
    """Rows of a sparse matrix, dense."""

    def __init__(self, csr: Csr, columns: int, elements: Elements) -> None:
        self._csr = csr
        self._columns = columns
        self._elements = elements

    def rows(self, source: Source, rows: RowNumbers) -> NDArray[np.float32]:
        """These rows, ascending, shape (rows, columns)."""
        found = self._elements.of(rows)
        counts = found.stop - found.begin
        ends = np.cumsum(counts)
        runs = [
            (begin, stop)
            for begin, stop in zip(found.begin.tolist(), found.stop.tolist(), strict=True)
            if begin < stop
        ]
        indices = self._read(source, self._csr.indices, runs, int(ends[-1]))
        data = self._read(source, self._csr.data, runs, int(ends[-1]))
        self._check(indices, rows, ends)
        out = np.zeros((len(rows), self._columns), np.float32)
        places = np.repeat(np.arange(len(rows)) * self._columns, counts)
        places += indices.astype(np.int64)  # uint64 and int64 together are floats
        if bool((np.diff(places) > 0).all()):
            out.reshape(-1)[places] = data
        else:  # a column may come twice in a row
            np.add.at(out.reshape(-1), places, data.astype(np.float32))
        return out

    def _read(self, source: Source, dataset: Dataset, runs: list[Run], count: int) -> NDArray[Any]:
        out = np.empty((count, dataset.row_bytes), np.uint8)
        source.read(dataset.name, runs, [out])
        return out.view(dataset.dtype)[:, 0]

    def _check(self, indices: NDArray[Any], rows: RowNumbers, ends: NDArray[np.int64]) -> None:
        """Damage must never put an element into another row."""
        bad = np.flatnonzero((indices < 0) | (indices >= self._columns))
        if len(bad):
            row = int(rows[np.searchsorted(ends, bad[0], side="right")])
            raise CorruptError(
                f"{self._elements.where(row)} are damaged: {self._csr.indices.name} holds "
                f"{indices[bad[0]]}, and there are columns 0 to {self._columns - 1}; copy or write "
                "the file again"
            )


class _Readings:
    """The files that parts of this process read, each opened once."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._open: dict[Wanted, Reading] = {}

    def of(self, wanted: Wanted) -> Reading:
        """The file, opened if it is not."""
        with self._lock:
            if wanted not in self._open:
                self._open[wanted] = Reading(wanted)
            return self._open[wanted]

    def close(self, path: str) -> None:
        """Closes a file."""
        with self._lock:
            for key in [key for key in self._open if key.path == path]:
                self._open.pop(key).close()


READINGS = _Readings()
"""Those of this process."""
