"""Several files as one: the rows of each dataset follow each other in the order of the files.

One file is the case of a single shard; nothing above this module knows how many there are.
"""

from __future__ import annotations

import glob
import os
import threading
from bisect import bisect_right
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, replace
from functools import partial
from itertools import accumulate, groupby
from operator import itemgetter
from pathlib import Path

from prefetcher.columns.ragged import shown
from prefetcher.config import File, Files
from prefetcher.errors import DatasetError, FileMissingError, PrefetchError, SettingsError
from prefetcher.hdf5.describe import Dataset, FileDescription, describe
from prefetcher.hdf5.manifest import is_manifest, read_manifest
from prefetcher.hdf5.objects import Objects
from prefetcher.hdf5.places import Places, Rows
from prefetcher.hdf5.source import Source
from prefetcher.order.plan import Run
from prefetcher.storage.protocol import Range


@dataclass(frozen=True, slots=True)
class Shards:
    """The files of one data set as they were when they were described.

    Attributes:
        files: At least one, in the order of their rows.
    """

    files: tuple[FileDescription, ...]

    @property
    def name(self) -> str:
        """The first file's name, and how many more there are."""
        first = self.files[0].path.name
        return first if len(self.files) == 1 else f"{first} and {len(self.files) - 1} more"

    @property
    def size(self) -> int:
        """Bytes of all files together."""
        return sum(file.size for file in self.files)

    def including(self, names: Collection[str]) -> Shards:
        """The same with these looked up once and for all, whatever links lead to them.

        Raises:
            PrefetchError: As `dataset`.
        """
        return Shards(tuple(file.including(names) for file in self.files))

    def dataset(self, name: str) -> Dataset:
        """The dataset of that name with the rows of all files.

        Raises:
            NoDatasetError: A file has none of that name.
            DatasetError: It cannot be cut into batches, or its rows differ between the files.
            FileError: As `FileDescription.dataset`.
        """
        first, *others = (file.dataset(name) for file in self.files)
        for file, other in zip(self.files[1:], others, strict=True):
            if _kind(other) != _kind(first):
                raise DatasetError(
                    f"{name} has rows of {shown(other.dtype)} {other.row_shape} in "
                    f"{file.path.name}, but of {shown(first.dtype)} {first.row_shape} in "
                    f"{self.files[0].path.name}: files of one data set need rows of one kind"
                )
        parts = [first, *others]
        return replace(
            first,
            shape=(sum(part.rows for part in parts), *first.row_shape),
            stored_bytes=sum(part.stored_bytes for part in parts),
            heap_bytes=sum(part.heap_bytes for part in parts),
        )


def _kind(dataset: Dataset) -> tuple[object, ...]:
    """What rows of all files must have in common."""
    return dataset.dtype, dataset.elements, dataset.row_shape


def describe_all(files: Files, *, allow_external: bool = False, retries: int = 3) -> Shards:
    """Describes one file, those a pattern matches (sorted) or a manifest names, or a list of these.

    The arguments are those of `describe`.

    Raises:
        FileError: A file is missing or cannot be used, or a pattern matches none.
        ReadError: The system could not read a file, also not after the retries.
        SettingsError: The list is empty.
    """
    listed = [files] if isinstance(files, str | os.PathLike) else list(files)
    paths = [path for file in listed for path in _matching(file)]
    if not paths:
        raise SettingsError(f"file={files!r}: name one file at least")
    look = partial(describe, allow_external=allow_external, retries=retries)
    return Shards(tuple(map(look, paths)))


def _matching(file: File) -> list[Path]:
    if is_manifest(file):
        return list(read_manifest(file).paths)
    if Path(file).exists() or not glob.has_magic(str(file)):
        return [Path(file)]
    found = sorted(glob.glob(str(file), recursive=True))  # noqa: PTH207 - also absolute patterns
    if not found:
        raise FileMissingError(f"no file matches {str(file)!r}")
    return [Path(path) for path in found]


class ShardedSource:
    """Rows out of all files. `read` may be called from any number of threads at once.

    A file is opened when a row of it is first wanted, and stays open until `close`. The arguments
    are those of `Source`.
    """

    def __init__(
        self,
        shards: Shards,
        names: Sequence[str],
        *,
        retries: int = 3,
        stopping: threading.Event | None = None,
        on_retry: Callable[[Mapping[str, object]], None] | None = None,
    ) -> None:
        self._names = tuple(dict.fromkeys(shards.dataset(name).name for name in names))
        self._files = shards.files
        self._ends = {
            name: list(accumulate(file.dataset(name).rows for file in self._files))
            for name in self._names
        }
        self._open = partial(
            Source, names=self._names, retries=retries, stopping=stopping, on_retry=on_retry
        )
        self._lock = threading.Lock()
        self._sources: dict[int, Source] = {}
        self._undo = ExitStack()

    def expect(self, name: str, runs: Sequence[Run]) -> None:
        """Has the system fetch runs of rows that will be read soon. Never fails."""
        for number, own in self._by_file(name, runs):
            with suppress(PrefetchError, OSError):  # reading says what is wrong with a file
                self._source(number).expect(name, own)

    def ranges(self, name: str, runs: Sequence[Run]) -> list[Range]:
        """Where in its file the bytes of runs of rows lie; none where HDF5 alone knows."""
        by_file = self._by_file(name, runs)
        return [
            place for number, own in by_file for place in self._source(number).ranges(name, own)
        ]

    def read(self, name: str, runs: Sequence[Run], out: Sequence[Rows]) -> None:
        """Reads runs of rows of `name`, counted over all files, into `out`.

        The same as `prefetcher.hdf5.source.Source.read`, and it raises the same.
        """
        if len(self._files) == 1:
            self._source(0).read(name, runs, out)
            return
        places = Places(out)
        for number, own in self._by_file(name, runs):
            count = sum(last - first for first, last in own)
            self._source(number).read(name, own, places.ahead(count))
            places.done += count

    def objects(
        self, name: str, runs: Sequence[Run], out: Objects, most: int | None = None
    ) -> None:
        """Reads runs of rows of variable length, counted over all files, into `out`.

        The same as `prefetcher.hdf5.source.Source.objects`, and it raises the same.
        """
        done = 0
        for number, own in self._by_file(name, runs):
            count = sum(last - first for first, last in own)
            self._source(number).objects(name, own, out[done : done + count], most)
            done += count

    def close(self) -> None:
        """Closes every file. The caller makes sure that nobody reads."""
        self._undo.close()

    def _by_file(self, name: str, runs: Sequence[Run]) -> Iterator[tuple[int, Sequence[Run]]]:
        """Yields (file, runs of its own rows) in the order of `runs`."""
        if len(self._files) == 1:
            yield 0, runs
            return
        stretches = (stretch for run in runs for stretch in self._stretches(name, *run))
        for number, of_file in groupby(stretches, key=itemgetter(0)):
            yield number, [(first, last) for _, first, last in of_file]

    def _stretches(self, name: str, start: int, stop: int) -> Iterator[tuple[int, int, int]]:
        """Yields (file, its first row, its last row + 1)."""
        ends = self._ends[name]
        at = start
        while at < stop:
            number = bisect_right(ends, at)
            offset = ends[number - 1] if number else 0
            last = min(stop, ends[number])
            yield number, at - offset, last - offset
            at = last

    def _source(self, number: int) -> Source:
        source = self._sources.get(number)
        if source is not None:
            return source
        with self._lock:
            if number not in self._sources:
                source = self._open(self._files[number])
                self._undo.callback(source.close)
                self._sources[number] = source
            return self._sources[number]
