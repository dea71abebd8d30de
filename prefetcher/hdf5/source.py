"""Rows of some datasets of one file, each dataset in the way that fits it.

The file is opened when it is read, and may be closed between two reads: `opened` says when. What
was proved of it stays, so to open it again costs little; that it is still the same is checked.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, suppress
from typing import Any, Protocol, cast

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
from prefetcher.hdf5.access import Access
from prefetcher.hdf5.contiguous import ContiguousWay
from prefetcher.hdf5.dataset import Dataset
from prefetcher.hdf5.describe import FileDescription
from prefetcher.hdf5.faults import damage_reported
from prefetcher.hdf5.general import GeneralWay, H5pyWay
from prefetcher.hdf5.handle import Handle
from prefetcher.hdf5.index import walk_index
from prefetcher.hdf5.objects import ObjectPlaces, Objects, ObjectWay
from prefetcher.hdf5.opened import OPEN_FILES
from prefetcher.hdf5.opening import status_of
from prefetcher.hdf5.places import Places, Rows, after, rows_in
from prefetcher.hdf5.proof import FastWay, Proofs, Proven, agrees
from prefetcher.hdf5.records import Record
from prefetcher.hdf5.scratch import Scratch
from prefetcher.hdf5.storage_chunks import StorageChunkWay
from prefetcher.hdf5.told import check_same, check_told
from prefetcher.hdf5.turning import TurnedContiguousWay, TurnedWay
from prefetcher.hdf5.ways import Way
from prefetcher.order.runs import Run
from prefetcher.storage.local import LocalBytes
from prefetcher.storage.protocol import Range, check_identity, identity_of
from prefetcher.storage.retry import Retry


class _Way(Protocol):
    """What every way of reading offers."""

    @property
    def scratch_bytes(self) -> int: ...

    def ranges(self, runs: Sequence[Run]) -> list[Range]: ...

    # Rows of one size go to `Places`, others to `ObjectPlaces`.
    def read(self, access: Access, runs: Sequence[Run], places: Any) -> None: ...


HANDLE_BYTES = 300_000
"""What HDF5 keeps in memory of a file that it has open: measured over 2,000 small files."""


class _Open:
    """What is open of a file: its bytes, and h5py's handle where a dataset is read through it."""

    __slots__ = ("_handle", "access", "descriptors", "nbytes", "stored", "ways")

    def __init__(
        self, stored: LocalBytes, scratch: Scratch, handle: Handle | None, ways: Mapping[str, _Way]
    ) -> None:
        self.stored = stored
        self.access = Access(stored, scratch)
        self.ways = ways
        self._handle = handle
        self.descriptors = 1 if handle is None else 2 + handle.files
        self.nbytes = 0 if handle is None else HANDLE_BYTES * (1 + handle.files)

    def close(self) -> None:
        """Closes all of it."""
        self.stored.close()
        if self._handle is not None:
            self._handle.close()


class ConvertedWay:
    """A way of records with strings that HDF5 converts: the same is done to what was read."""

    def __init__(self, way: FastWay, record: Record) -> None:
        self.way = way
        self._record = record
        self.scratch_bytes = way.scratch_bytes
        self.kept_bytes = way.kept_bytes
        self.ranges = way.ranges
        self.probes = way.probes

    def read(self, access: Access, runs: Sequence[Run], places: Places) -> None:
        """Reads as the way does; also where that then fails, what is there is converted."""
        before = places.done
        try:
            self.way.read(access, runs, places)
        finally:
            count = places.done - before
            for rows in places.ahead(count, -count):
                self._record.converted(rows)


class Filled(Protocol):
    """What is filled row by row."""

    @property
    def count(self) -> int:
        """Rows that there is room for."""

    @property
    def done(self) -> int:
        """Rows that are there."""


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
        proofs: What was proved of the files of a data set; None begins anew.
        number: This file's number among them.
        scratch: Memory to work in, which sources may share; None for some of its own.

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
        proofs: Proofs | None = None,
        number: int = 0,
        scratch: Scratch | None = None,
    ) -> None:
        self._path = description.path
        # It may be opened again when the process is in another folder.
        self._place = description.path.absolute()
        self._description = description
        self._datasets = {name: description.dataset(name) for name in names}
        self._retry = Retry(retries, stopping or threading.Event(), on_retry)
        self._scratch = scratch or Scratch()
        self._proofs, self._number = Proofs() if proofs is None else proofs, number
        self._identity = self._proofs.pinned(number) or description.identity
        self._closed = False
        opened = self._enter()
        self.scratch_bytes = max(way.scratch_bytes for way in opened.ways.values())
        """The most memory, in bytes, that a reading thread holds beside the caller's arrays."""
        self._leave()

    def _opened(self) -> _Open:
        return self._retry.opening(self._path.name, self._open)

    def _open(self) -> _Open:
        proven = self._proofs.find(self._number)
        new = [name for name in self._datasets if name not in proven]
        if not new and None not in proven.values():
            stored = LocalBytes(self._place, self._identity)
            return _Open(stored, self._scratch, None, cast("dict[str, FastWay]", proven))
        with ExitStack() as undo:
            if not new:  # it was open before
                check_identity(self._path.name, status_of(self._place), self._identity)
            # h5py goes first: what it says of a file that cannot be used is plainer.
            handle = self._handle(undo)
            stored = LocalBytes(self._place, self._identity)
            undo.callback(stored.close)
            if new and self._description.manifest:
                self._check_told(handle, new)
            if new:
                stored.check_unchanged()
                proven = proven | self._proved(handle, Access(stored, self._scratch), new)
                self._proofs.keep(self._number, proven)
            ways = {name: self._way(name, proven[name], handle) for name in self._datasets}
            general = any(isinstance(way, H5pyWay) for way in ways.values())
            if not general:
                handle.close()  # HDF5 keeps much of a file in memory
            undo.pop_all()
            return _Open(stored, self._scratch, handle if general else None, ways)

    def _way(self, name: str, proved: FastWay | None, handle: Handle) -> _Way:
        if proved is not None:
            return proved
        dataset = self._datasets[name]
        with damage_reported(self._path):
            if dataset.axis:
                return TurnedWay(handle, dataset.path, dataset.axis, dataset.storage_rows)
            if dataset.elements is None:
                return GeneralWay(handle, dataset.path)
            return ObjectWay(handle, dataset.path, dataset.row_bytes)

    def _check_told(self, handle: Handle, names: Sequence[str]) -> None:
        """What a manifest says is not used before the file itself has said so."""
        with damage_reported(self._path):
            paths = dict.fromkeys(self._datasets[name].path for name in names)
            told = {path: self._description.described(path) for path in paths}
            check_told(self._path.name, handle.file, told, self._description.manifest)

    def _handle(self, undo: ExitStack) -> Handle:
        if self._description.manifest:
            # It may know size and time; from now on the file is known by all that tells it apart.
            status = status_of(self._place)
            description = self._description
            check_same(self._path.name, description.identity, description.manifest, status)
            self._identity = self._proofs.pin(self._number, identity_of(status))
        kinds = {each.path: (each.stored_shape, each.dtype) for each in self._datasets.values()}
        handle = Handle(self._place, self._identity, kinds)
        undo.callback(handle.close)
        return handle

    def _proved(self, handle: Handle, access: Access, names: Sequence[str]) -> Proven:
        with damage_reported(self._path):
            return {name: self._fast_way(name, handle, access) for name in names}

    def _fast_way(self, name: str, handle: Handle, access: Access) -> FastWay | None:
        """The way of the description, unless its bytes are not those that h5py gives."""
        dataset = self._datasets[name]
        opened = handle.dataset(dataset.path)
        try:
            indexes = [_index(each) for each in (opened, *handle.sources(dataset.path))]
            way = _described_way(dataset, opened, indexes[0])
        except CorruptError as error:
            raise CorruptError(f"{name} in {self._path.name} is damaged: {error}") from error
        if way is None:
            return None
        record = Record(opened) if dataset.dtype.names else None
        compared = record.compared if record else bytes
        if not agrees(opened, way.probes(access), compared):
            return None
        return ConvertedWay(way, record) if record and record.strings else way

    def way_of(self, name: str) -> Way:
        """How a dataset is read: as it was described, unless the proof of that failed."""
        fast = self._proofs.find(self._number).get(name)
        return "general" if fast is None else self._datasets[name].way

    def expect(self, name: str, runs: Sequence[Run]) -> None:
        """Has the system fetch runs of rows that will be read soon. Never fails.

        May wait for the disk to take so many requests. Does nothing where the rows are in memory.
        """
        with suppress(ClosedError):
            opened = self._enter()
            try:
                opened.stored.expect(opened.ways[name].ranges(runs))
            finally:
                self._leave()

    def in_memory(self, name: str, runs: Sequence[Run]) -> bool:
        """Whether these runs of rows would come at once, as far as a look at a few of them tells.

        Raises:
            PrefetchError: The file cannot be opened, or the source was closed.
        """
        opened = self._enter()
        try:
            return opened.stored.in_memory(opened.ways[name].ranges(runs))
        finally:
            self._leave()

    def ranges(self, name: str, runs: Sequence[Run]) -> list[Range]:
        """Where in the file the bytes of runs of rows lie; none where HDF5 alone knows.

        Raises:
            ClosedError: the source was closed.
        """
        opened = self._enter()
        try:
            return opened.ways[name].ranges(runs)
        finally:
            self._leave()

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
        if self._datasets[name].elements is not None:
            raise DatasetError(f"{name} has rows of variable length: ask for `objects`")
        places = Places(out)
        check_room(name, runs, places)
        self.fill(name, runs, places)

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
        if self._datasets[name].elements is None:
            raise DatasetError(f"{name} has rows of one size: `read` them")
        places = ObjectPlaces(out, most)
        check_room(name, runs, places)
        self.fill(name, runs, places)

    def fill(self, name: str, runs: Sequence[Run], places: Filled) -> None:
        """Reads runs of rows to the next of these places, which have room for them; see `read`."""
        begun, until = places.done, places.done + self._count(name, runs)
        opened = self._enter()
        try:
            way, left = opened.ways[name], runs
            while places.done < until:
                try:
                    way.read(opened.access, left, places)
                except (OSError, CorruptError) as error:
                    run = after(runs, places.done - begun)[0]
                    self._again(error, opened, name, run, places)
                    left = after(runs, places.done - begun)
            opened.stored.check_unchanged()
        finally:
            self._leave()

    def _count(self, name: str, runs: Sequence[Run]) -> int:
        """The rows of these runs, all of which there are."""
        rows, count = self._datasets[name].shape[0], 0
        for start, stop in runs:
            count += stop - start
            if not 0 <= start <= stop <= rows:
                raise RowsError(
                    f"rows {start} to {stop} of {name} in {self._path.name} were asked for; it has "
                    f"rows 0 to {rows}"
                )
        return count

    def _enter(self) -> _Open:
        """Opens the file, if it is not open, and keeps it so until `_leave`, whoever closes it."""
        if self._closed:
            raise ClosedError(f"{self._path.name} was closed: open a new source")
        return OPEN_FILES.enter(self, self._opened)

    def _leave(self) -> None:
        OPEN_FILES.leave(self)
        if self._closed:  # perhaps before it was entered
            OPEN_FILES.forget(self)

    def _again(self, cause: OSError, opened: _Open, name: str, run: Run, places: Filled) -> None:
        """After `cause`: reads a run alone, more than once if that may help; or tells its rows.

        What of it is there already is not read again.
        """
        begun = places.done

        def read() -> None:
            opened.ways[name].read(opened.access, after([run], places.done - begun), places)

        where = {"file": self._path.name, "dataset": name, "rows": list(run)}
        try:
            if isinstance(cause, CorruptError):
                read()  # the damage may be in a run that was read together with this one
            else:
                self._retry.again(cause, read, where)
        except CorruptError as error:
            opened.stored.check_unchanged()
            raise CorruptError(f"{self._where(name, run)} are damaged: {error}") from error
        except PrefetchError:
            raise
        except OSError as error:
            opened.stored.check_unchanged()
            raise ReadError(f"reading {self._where(name, run)} failed: {error}") from error
        finally:
            del cause  # it may hold this frame, and so open files until the next collection

    def _where(self, name: str, run: Run) -> str:
        return f"rows {run[0]} to {run[1]} of {name} in {self._path.name}"

    def close(self) -> None:
        """Closes the file, or leaves that to the last `read` under way. Never waits for one."""
        self._closed = True
        OPEN_FILES.forget(self)


def check_room(name: str, runs: Sequence[Run], places: Filled) -> None:
    """Raises `RowsError` where these runs of rows do not fill these places."""
    if places.count != (count := rows_in(runs)):
        raise RowsError(f"{count} rows of {name} do not fill room for {places.count}")


def _described_way(
    dataset: Dataset, opened: h5py.Dataset, index: NDArray[np.int64] | None
) -> FastWay | None:
    axis = dataset.axis
    if dataset.way == "contiguous" and axis:
        size = opened.dtype.itemsize
        return TurnedContiguousWay(opened.id.get_offset(), opened.shape, size, axis)
    if dataset.way == "contiguous":
        return ContiguousWay(opened.id.get_offset(), dataset.rows, dataset.row_bytes)
    if dataset.way == "storage chunks" and index is not None:
        return StorageChunkWay(opened, index, axis)
    return None
