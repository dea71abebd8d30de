"""Rows of some datasets of one file, each dataset in the way that fits it.

The file is opened when it is read, and may be closed between two reads: `opened` says when. What
was proved of it stays, so to open it again costs little; that it is still the same is checked.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import suppress
from functools import partial
from typing import NamedTuple, Protocol

from prefetcher.errors import (
    ClosedError,
    CorruptError,
    DatasetError,
    PrefetchError,
    ReadError,
    RowsError,
)
from prefetcher.hdf5.describe import FileDescription
from prefetcher.hdf5.objects import ObjectPlaces, Objects
from prefetcher.hdf5.opened import OPEN_FILES
from prefetcher.hdf5.places import Places, Rows, after, rows_in
from prefetcher.hdf5.proof import Proofs
from prefetcher.hdf5.ready import Opener, OpenFile, ReadWay
from prefetcher.hdf5.scratch import Scratch
from prefetcher.hdf5.ways import Way
from prefetcher.order.runs import Run
from prefetcher.storage.protocol import Range
from prefetcher.storage.retry import Retry


class Filled(Protocol):
    """What is filled row by row."""

    @property
    def count(self) -> int:
        """Rows that there is room for."""

    @property
    def done(self) -> int:
        """Rows that are there."""


class Reading(NamedTuple):
    """Runs of rows of one dataset, and the places for them."""

    name: str
    runs: Sequence[Run]
    places: Filled


class Source:
    """Rows of some datasets of one file. `read` may be called from any number of threads at once.

    Args:
        description: The file as `describe` found it.
        names: The datasets that will be read, each proved at once.
        later: Others that may be read, each proved when it is first read. What is raised here
            because of a dataset is then raised there.
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

    # There may be many thousands.
    __slots__ = (
        "__weakref__", "_closed", "_datasets", "_file", "_name", "_retry", "scratch_bytes",
    )  # fmt: skip

    def __init__(
        self,
        description: FileDescription,
        names: Sequence[str],
        *,
        later: Collection[str] = (),
        retries: int = 3,
        stopping: threading.Event | None = None,
        on_retry: Callable[[Mapping[str, object]], None] | None = None,
        proofs: Proofs | None = None,
        number: int = 0,
        scratch: Scratch | None = None,
    ) -> None:
        self._name = description.path.name
        self._retry = Retry(retries, stopping or threading.Event(), on_retry)
        known = Proofs() if proofs is None else proofs
        self._file = Opener(description, names, later, known, number, scratch or Scratch())
        self._datasets = self._file.datasets
        self._closed = False
        opened = self._enter()
        self.scratch_bytes = max((way.scratch_bytes for way in opened.ways.values()), default=0)
        """The most memory, in bytes, that a reading thread holds beside the caller's arrays, for
        what is proved at once."""
        self._leave()

    def _opened(self) -> OpenFile:
        return self._retry.opening(self._name, self._file.open)

    def way_of(self, name: str) -> Way:
        """How a dataset is read: as it was described, unless the proof of that failed."""
        fast = self._file.proven.get(name)
        return "general" if fast is None else self._datasets[name].way

    def expect(self, name: str, runs: Sequence[Run]) -> None:
        """Has the system fetch runs of rows that will be read soon. Never fails.

        May wait for the disk to take so many requests. Does nothing where the rows are in memory.
        """
        with suppress(ClosedError):
            opened = self._enter()
            try:
                opened.stored.expect(self._way(opened, name).ranges(runs))
            finally:
                self._leave()

    def in_memory(self, name: str, runs: Sequence[Run]) -> bool:
        """Whether these runs of rows would come at once, as far as a look at a few of them tells.

        Raises:
            PrefetchError: The file cannot be opened, or the source was closed.
        """
        opened = self._enter()
        try:
            return opened.stored.in_memory(self._way(opened, name).ranges(runs))
        finally:
            self._leave()

    def ranges(self, name: str, runs: Sequence[Run]) -> list[Range]:
        """Where in the file the bytes of runs of rows lie; none where HDF5 alone knows.

        Raises:
            ClosedError: the source was closed.
        """
        opened = self._enter()
        try:
            return self._way(opened, name).ranges(runs)
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
        self.visit([Reading(name, runs, places)])

    def visit(self, readings: Sequence[Reading]) -> None:
        """Fills all of these in one visit: the file is opened and checked once; see `fill`."""
        opened = self._enter()
        try:
            for name, runs, places in readings:
                self._fill(opened, name, runs, places)
            opened.stored.check_unchanged()
        finally:
            self._leave()

    def _fill(self, opened: OpenFile, name: str, runs: Sequence[Run], places: Filled) -> None:
        begun, until = places.done, places.done + self._count(name, runs)
        way, left = self._way(opened, name), runs
        while places.done < until:
            try:
                way.read(opened.access, left, places)
            except (OSError, CorruptError) as error:
                run = after(runs, places.done - begun)[0]
                self._again(error, opened, name, run, places)
                left = after(runs, places.done - begun)

    def _way(self, opened: OpenFile, name: str) -> ReadWay:
        way = opened.ways.get(name)
        if way is None:
            way = self._retry.opening(self._name, partial(self._file.way, opened, name))
            if self._file.is_without_hdf5():
                OPEN_FILES.forget(self)  # when nobody uses it; it is opened without h5py then
        return way

    def _count(self, name: str, runs: Sequence[Run]) -> int:
        """The rows of these runs, all of which there are."""
        rows, count = self._datasets[name].shape[0], 0
        for start, stop in runs:
            count += stop - start
            if not 0 <= start <= stop <= rows:
                raise RowsError(
                    f"rows {start} to {stop} of {name} in {self._name} were asked for; it has "
                    f"rows 0 to {rows}"
                )
        return count

    def _enter(self) -> OpenFile:
        """Opens the file, if it is not open, and keeps it so until `_leave`, whoever closes it."""
        if self._closed:
            raise ClosedError(f"{self._name} was closed: open a new source")
        return OPEN_FILES.enter(self, self._opened)

    def _leave(self) -> None:
        OPEN_FILES.leave(self)
        if self._closed:  # perhaps before it was entered
            OPEN_FILES.forget(self)

    def _again(self, cause: OSError, opened: OpenFile, name: str, run: Run, places: Filled) -> None:
        """After `cause`: reads a run alone, more than once if that may help; or tells its rows.

        What of it is there already is not read again.
        """
        begun = places.done

        def read() -> None:
            self._way(opened, name).read(opened.access, after([run], places.done - begun), places)

        where = {"file": self._name, "dataset": name, "rows": list(run)}
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
        return f"rows {run[0]} to {run[1]} of {name} in {self._name}"

    def close(self) -> None:
        """Closes the file, or leaves that to the last `read` under way. Never waits for one."""
        self._closed = True
        OPEN_FILES.forget(self)


def check_room(name: str, runs: Sequence[Run], places: Filled) -> None:
    """Raises `RowsError` where these runs of rows do not fill these places."""
    if places.count != (count := rows_in(runs)):
        raise RowsError(f"{count} rows of {name} do not fill room for {places.count}")
