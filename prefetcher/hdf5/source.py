"""Rows of some datasets of one open file, each dataset in the way that fits it."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from functools import partial
from typing import Protocol

import h5py
import numpy as np
from numpy.typing import NDArray

from prefetcher.errors import (
    ClosedError,
    CorruptError,
    DatasetError,
    PrefetchError,
    ReadError,
    RowsError,
)
from prefetcher.hdf5.contiguous import ContiguousWay
from prefetcher.hdf5.describe import Dataset, FileDescription
from prefetcher.hdf5.faults import damage_reported
from prefetcher.hdf5.general import GeneralWay
from prefetcher.hdf5.handle import Handle
from prefetcher.hdf5.index import walk_index
from prefetcher.hdf5.objects import ObjectPlaces, Objects, ObjectWay
from prefetcher.hdf5.places import Places, Rows, after
from prefetcher.hdf5.proof import Probe, agrees
from prefetcher.hdf5.storage_chunks import StorageChunkWay
from prefetcher.order.plan import Run
from prefetcher.storage.local import LocalBytes
from prefetcher.storage.protocol import Range
from prefetcher.storage.retry import Retry


class _Way(Protocol):
    """What every way of reading offers."""

    @property
    def scratch_bytes(self) -> int: ...

    def ranges(self, runs: Sequence[Run]) -> list[Range]: ...

    def read(self, runs: Sequence[Run], places: Places) -> None: ...


class _FastWay(_Way, Protocol):
    """What a way that does without HDF5 offers too."""

    def probes(self) -> Iterable[Probe]: ...


class _Filled(Protocol):
    """What is filled row by row."""

    @property
    def count(self) -> int: ...

    @property
    def done(self) -> int: ...


def _index(dataset: h5py.Dataset) -> NDArray[np.int64] | None:
    """Its index, whoever reads it: HDF5 itself may crash over one that is damaged."""
    return walk_index(dataset) if dataset.chunks and dataset.size else None


class Source:
    """Rows of some datasets of one file. `read` may be called from any number of threads at once.

    Args:
        description: The file as `describe` found it.
        names: The datasets that will be read.
        retries: How often a read is tried again after EIO, ESTALE or ETIMEDOUT; 3 spans about two
            seconds, which is what a file server takes to come back.
        stopping: Set by the owner to end a pause between two tries at once.
        on_retry: Told of every retry, on the thread that reads.

    Raises:
        FileChangedError: the file is no longer the one that was described.
        FileError: it can no longer be opened.
        ReadError: the system could not read it, also not after the retries.
        CorruptError: an index of a dataset is damaged, so that HDF5 may crash over it.
        DatasetError: a dataset cannot be cut into batches, or there is none of that name.
    """

    def __init__(
        self,
        description: FileDescription,
        names: Sequence[str],
        *,
        retries: int = 3,
        stopping: threading.Event | None = None,
        on_retry: Callable[[Mapping[str, object]], None] | None = None,
    ) -> None:
        self._path = description.path
        self._datasets = {name: description.dataset(name) for name in names}
        self._retry = Retry(retries, stopping or threading.Event(), on_retry)
        # Re-entrant: a finalizer may close the source on a thread that holds one of them.
        self._state = threading.RLock()
        self._reading = 0
        self._closed = False
        self._undo = ExitStack()
        self._retry.opening(self._path.name, partial(self._open, description))
        self.scratch_bytes = max((way.scratch_bytes for way in self._ways.values()), default=0)
        """The most memory, in bytes, that one reading thread holds beside the caller's arrays."""

    def _open(self, description: FileDescription) -> None:
        with ExitStack() as undo:
            kinds = {each.name: (each.shape, each.dtype) for each in self._datasets.values()}
            handle = Handle(description.path, description.identity, kinds)
            undo.callback(handle.close)
            self._stored = LocalBytes(description.path, description.identity)
            undo.callback(self._stored.close)
            self._stored.check_unchanged()
            with damage_reported(description.path):
                of_one_size = [
                    name for name, each in self._datasets.items() if each.elements is None
                ]
                self._ways = {name: self._way(name, handle) for name in of_one_size}
                self._object_ways = {
                    name: self._object_way(name, handle)
                    for name in self._datasets
                    if name not in self._ways
                }
            self._undo = undo.pop_all()

    def _way(self, name: str, handle: Handle) -> _Way:
        """The way of the description, unless its bytes are not those that h5py gives."""
        dataset = self._datasets[name]
        opened = handle.dataset(dataset.name)
        way = self._fast_way(dataset, opened, self._indexes(name, handle)[0])
        if way is not None and agrees(opened, way.probes()):
            return way
        return GeneralWay(handle, dataset.name)

    def _object_way(self, name: str, handle: Handle) -> ObjectWay:
        dataset = self._datasets[name]
        self._indexes(name, handle)
        return ObjectWay(handle, dataset.name, dataset.row_bytes)

    def _indexes(self, name: str, handle: Handle) -> list[NDArray[np.int64] | None]:
        """The indexes of a dataset and of what it is made of, each checked."""
        dataset = self._datasets[name].name
        try:
            behind = (handle.dataset(dataset), *handle.sources(dataset))
            return [_index(each) for each in behind]
        except CorruptError as error:
            raise CorruptError(f"{name} in {self._path.name} is damaged: {error}") from error

    def _fast_way(
        self, dataset: Dataset, opened: h5py.Dataset, index: NDArray[np.int64] | None
    ) -> _FastWay | None:
        if dataset.way == "contiguous":
            offset = opened.id.get_offset()
            return ContiguousWay(self._stored, offset, dataset.rows, dataset.row_bytes)
        if dataset.way == "storage chunks" and index is not None:
            with suppress(CorruptError):  # HDF5 itself misplaces some storage chunks in its index
                return StorageChunkWay(opened, index, self._stored)
        return None

    def expect(self, name: str, runs: Sequence[Run]) -> None:
        """Has the system fetch runs of rows that will be read soon. Never fails.

        May wait for the disk to take so many requests. Does nothing where the rows are in memory.
        """
        with suppress(ClosedError), self._open_meanwhile():
            self._stored.expect(self._ranges(name, runs))

    def ranges(self, name: str, runs: Sequence[Run]) -> list[Range]:
        """Where in the file the bytes of runs of rows lie; none where HDF5 alone knows.

        Raises:
            ClosedError: the source was closed.
        """
        with self._open_meanwhile():
            return self._ranges(name, runs)

    def _ranges(self, name: str, runs: Sequence[Run]) -> list[Range]:
        return [] if name in self._object_ways else self._ways[name].ranges(runs)

    def read(self, name: str, runs: Sequence[Run], out: Sequence[Rows]) -> None:
        """Reads runs of rows of dataset `name`, one after the other, into `out`.

        Args:
            name: One of the names given at opening.
            runs: The (first row, last row + 1) of each; many, as what a call costs is paid once.
            out: C-contiguous uint8 arrays of shape (k, bytes of one row) whose k add up to the
                rows. Filled with the bytes that h5py would give, in its byte order.

        Raises:
            ReadError: the system could not read, also not after the retries.
            CorruptError: a checksum, a decoder or an offset says that the file is damaged.
            FileChangedError: the file was written to since it was described.
            RowsError: the dataset has no such rows, or `out` has not room for exactly them.
            ClosedError: the source was closed.
        """
        if name not in self._ways:
            raise DatasetError(f"{name} has rows of variable length: ask for `objects`")
        places = Places(out)
        self._fill(name, runs, places, partial(self._ways[name].read, places=places))

    def objects(
        self, name: str, runs: Sequence[Run], out: Objects, most: int | None = None
    ) -> None:
        """Reads runs of rows of variable length as h5py gives them; raises what `read` does.

        Args:
            name: One of the names given at opening.
            runs: As of `read`.
            out: Shape (rows, *row_shape).
            most: Elements of each row that are wanted; None for all.
        """
        if name not in self._object_ways:
            raise DatasetError(f"{name} has rows of one size: `read` them")
        places = ObjectPlaces(out, most)
        self._fill(name, runs, places, partial(self._object_ways[name].read, places=places))

    def _fill(
        self,
        name: str,
        runs: Sequence[Run],
        places: _Filled,
        read: Callable[[Sequence[Run]], None],
    ) -> None:
        self._check_rows(name, runs, places)
        with self._open_meanwhile():
            while places.done < places.count:
                try:
                    read(after(runs, places.done))
                except (OSError, CorruptError) as error:
                    self._again(error, name, after(runs, places.done)[0], places, read)
            self._stored.check_unchanged()

    def _check_rows(self, name: str, runs: Sequence[Run], places: _Filled) -> None:
        rows = self._datasets[name].rows
        for start, stop in runs:
            if not 0 <= start <= stop <= rows:
                raise RowsError(
                    f"rows {start} to {stop} of {name} in {self._path.name} were asked for; it has "
                    f"rows 0 to {rows}"
                )
        count = sum(stop - start for start, stop in runs)
        if places.count != count:
            raise RowsError(f"{count} rows of {name} do not fill room for {places.count}")

    @contextmanager
    def _open_meanwhile(self) -> Iterator[None]:
        """Keeps the file open until the block ends, even if `close` is called meanwhile."""
        with self._state:
            if self._closed:
                raise ClosedError(f"{self._path.name} was closed: open a new source")
            self._reading += 1
        try:
            yield
        finally:
            with self._state:
                self._reading -= 1
            self._close_if_idle()

    def _again(
        self,
        cause: OSError,
        name: str,
        run: Run,
        places: _Filled,
        fill: Callable[[Sequence[Run]], None],
    ) -> None:
        """After `cause`: reads a run alone, more than once if that may help; or tells its rows.

        What of it is there already is not read again.
        """
        begun = places.done

        def read() -> None:
            fill(after([run], places.done - begun))

        where = {"file": self._path.name, "dataset": name, "rows": list(run)}
        try:
            if isinstance(cause, CorruptError):
                read()  # the damage may be in a run that was read together with this one
            else:
                self._retry.again(cause, read, where)
        except CorruptError as error:
            self._stored.check_unchanged()
            raise CorruptError(f"{self._where(name, run)} are damaged: {error}") from error
        except PrefetchError:
            raise
        except OSError as error:
            self._stored.check_unchanged()
            raise ReadError(f"reading {self._where(name, run)} failed: {error}") from error
        finally:
            del cause  # it may hold this frame, and so open files until the next collection

    def _where(self, name: str, run: Run) -> str:
        return f"rows {run[0]} to {run[1]} of {name} in {self._path.name}"

    def close(self) -> None:
        """Closes the file, or leaves that to the last `read` under way. Never waits for one."""
        self._closed = True
        self._close_if_idle()

    def _close_if_idle(self) -> None:
        with self._state:
            if self._closed and not self._reading:
                self._undo.close()
