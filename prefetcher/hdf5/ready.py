"""A file that is open for reading, and the way in which each of its datasets is read.

A way is proved once: at the first opening, or when its dataset is first asked for. What was proved
stays when the file is closed, so to open it again costs little; that it is still the same is
checked.
"""

from __future__ import annotations

import threading
from collections.abc import Collection, Sequence
from contextlib import ExitStack
from typing import Any, Protocol, cast

import h5py
import numpy as np
from numpy.typing import NDArray

from prefetcher.errors import CorruptError
from prefetcher.hdf5.access import Access
from prefetcher.hdf5.contiguous import ContiguousWay
from prefetcher.hdf5.dataset import Dataset
from prefetcher.hdf5.describe import FileDescription
from prefetcher.hdf5.faults import damage_reported
from prefetcher.hdf5.general import GeneralWay
from prefetcher.hdf5.handle import Handle
from prefetcher.hdf5.index import walk_index
from prefetcher.hdf5.objects import ObjectWay
from prefetcher.hdf5.opening import status_of
from prefetcher.hdf5.places import Places
from prefetcher.hdf5.proof import FastWay, Proofs, Proven, agrees
from prefetcher.hdf5.records import Record
from prefetcher.hdf5.scratch import Scratch
from prefetcher.hdf5.storage_chunks import StorageChunkWay
from prefetcher.hdf5.told import check_same, check_told
from prefetcher.hdf5.turning import TurnedContiguousWay, TurnedWay
from prefetcher.order.runs import Run
from prefetcher.storage.local import LocalBytes
from prefetcher.storage.protocol import Range, check_identity, identity_of

HANDLE_BYTES = 300_000
"""What HDF5 keeps in memory of a file that it has open: measured over 2,000 small files."""


class ReadWay(Protocol):
    """What every way of reading offers."""

    @property
    def scratch_bytes(self) -> int:
        """The most memory, in bytes, that one reading thread needs for it."""

    def ranges(self, runs: Sequence[Run]) -> list[Range]:
        """Where in the file the bytes of these runs of rows lie."""

    def read(self, access: Access, runs: Sequence[Run], places: Any) -> None:
        """Reads runs of rows: those of one size to `Places`, others to `ObjectPlaces`."""


class OpenFile:
    """What is open of a file: its bytes, and h5py's handle where a dataset still needs it."""

    __slots__ = ("access", "descriptors", "handle", "lock", "nbytes", "stored", "ways")

    def __init__(
        self,
        stored: LocalBytes,
        scratch: Scratch,
        handle: Handle | None,
        ways: dict[str, ReadWay],
    ) -> None:
        self.stored = stored
        self.access = Access(stored, scratch)
        self.ways = ways
        self.handle = handle
        self.lock = threading.Lock()  # held while a dataset is proved
        self.descriptors = self.nbytes = 0
        self.count()

    def count(self) -> None:
        """Notes what it takes, once it is known whether the handle stays."""
        files = 0 if self.handle is None else 1 + self.handle.files
        self.descriptors, self.nbytes = 1 + files, HANDLE_BYTES * files

    def close(self) -> None:
        """Closes all of it."""
        self.stored.close()
        if self.handle is not None:
            self.handle.close()


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


class Opener:
    """Opens one file, and knows the ways of its datasets.

    Args:
        description: The file as `describe` found it.
        names: Datasets that are proved when the file is first opened.
        later: Others, each proved when it is first asked for.
        proofs: What was proved of the files of a data set.
        number: This file's number among them.
        scratch: Memory to work in.

    Attributes:
        datasets: All of these.
    """

    __slots__ = (
        "_description", "_identity", "_later", "_number", "_path", "_place", "_proofs", "_scratch",
        "datasets",
    )  # fmt: skip

    def __init__(
        self,
        description: FileDescription,
        names: Sequence[str],
        later: Collection[str],
        proofs: Proofs,
        number: int,
        scratch: Scratch,
    ) -> None:
        self._path = description.path
        # It may be opened again when the process is in another folder.
        self._place = description.path.absolute()
        self._description = description
        self._later = later
        self.datasets = {name: description.dataset(name) for name in (*names, *later)}
        if not later:
            self.datasets = proofs.alike(self.datasets)
        self._scratch = scratch
        self._proofs, self._number = proofs, number
        self._identity = proofs.pinned(number) or description.identity

    @property
    def proven(self) -> Proven:
        """What was proved of the file so far."""
        return self._proofs.find(self._number)

    def open(self) -> OpenFile:
        """Opens the file, and proves what has to be proved at once.

        Raises:
            FileError: It cannot be used, or is not the one that was described.
            CorruptError: A dataset is damaged, so that HDF5 may crash over it.
            OSError: The system could not read it.
        """
        proven = self.proven
        if self.is_without_hdf5():
            stored = LocalBytes(self._place, self._identity)
            return OpenFile(stored, self._scratch, None, cast("dict[str, ReadWay]", proven))
        with ExitStack() as undo:
            if proven:  # it was open before
                check_identity(self._path.name, status_of(self._place), self._identity)
            # h5py goes first: what it says of a file that cannot be used is plainer.
            handle = self._handle(undo)
            stored = LocalBytes(self._place, self._identity)
            undo.callback(stored.close)
            opened = OpenFile(stored, self._scratch, handle, {})
            names = [name for name in self.datasets if name not in self._later]
            self._prove(opened, [name for name in names if name not in proven])
            for name in names:
                opened.ways[name] = self._way(opened, name)
            if self.is_without_hdf5():
                handle.close()  # HDF5 keeps much of a file in memory
                opened.handle = None
            opened.count()
            undo.pop_all()
            return opened

    def way(self, opened: OpenFile, name: str) -> ReadWay:
        """The way of a dataset, proved if it was not. Raises as `open`."""
        with opened.lock:
            way = opened.ways.get(name)
            if way is None:
                if name not in self.proven:
                    self._prove(opened, [name])
                way = opened.ways[name] = self._way(opened, name)
            return way

    def is_without_hdf5(self) -> bool:
        """Whether all datasets are proved, and none of them is read through h5py."""
        proven = self.proven
        if len(proven) < len(self.datasets):  # soon said where a file has thousands
            return False
        return all(proven.get(name) is not None for name in self.datasets)

    def _way(self, opened: OpenFile, name: str) -> ReadWay:
        proved, handle = self.proven[name], opened.handle
        if proved is not None:
            return proved
        if handle is None:
            raise RuntimeError(f"{name} is read through h5py, which has the file not open")
        dataset = self.datasets[name]
        with damage_reported(self._path):
            if dataset.axis:
                return TurnedWay(handle, dataset.path, dataset.axis, dataset.storage_rows)
            if dataset.elements is None:
                return GeneralWay(handle, dataset.path)
            return ObjectWay(handle, dataset.path, dataset.row_bytes)

    def _handle(self, undo: ExitStack) -> Handle:
        if self._description.manifest:
            # It may know size and time; from now on the file is known by all that tells it apart.
            status = status_of(self._place)
            description = self._description
            check_same(self._path.name, description.identity, description.manifest, status)
            self._identity = self._proofs.pin(self._number, identity_of(status))
        kinds = {each.path: (each.stored_shape, each.dtype) for each in self.datasets.values()}
        handle = Handle(self._place, self._identity, kinds)
        undo.callback(handle.close)
        return handle

    def _prove(self, opened: OpenFile, names: Sequence[str]) -> None:
        if not names:
            return
        handle = opened.handle
        if handle is None:
            raise RuntimeError(f"{names[0]} is not proved, and h5py has the file not open")
        with damage_reported(self._path), handle.lock:
            if self._description.manifest:
                # What it says is not used before the file itself has said so.
                paths = dict.fromkeys(self.datasets[name].path for name in names)
                told = {path: self._description.described(path) for path in paths}
                check_told(self._path.name, handle.file, told, self._description.manifest)
            opened.stored.check_unchanged()
            try:
                proven = {name: self._fast_way(name, handle, opened.access) for name in names}
            except OSError:  # what HDF5 has in memory now is not to be used
                handle.drop()
                raise
        self._proofs.keep(self._number, proven)

    def _fast_way(self, name: str, handle: Handle, access: Access) -> FastWay | None:
        """The way of the description, unless its bytes are not those that h5py gives."""
        dataset = self.datasets[name]
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


def _index(dataset: h5py.Dataset) -> NDArray[np.int64] | None:
    """Its index, whoever reads it: HDF5 itself may crash over one that is damaged."""
    return walk_index(dataset) if dataset.chunks and dataset.size else None


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
