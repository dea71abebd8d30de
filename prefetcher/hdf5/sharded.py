"""Rows out of all files of a data set."""

from __future__ import annotations

import threading
from bisect import bisect_right
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from functools import partial
from itertools import accumulate

from prefetcher.errors import PrefetchError
from prefetcher.hdf5.objects import Objects
from prefetcher.hdf5.places import Places, Rows, Wanted
from prefetcher.hdf5.scratch import Scratch
from prefetcher.hdf5.shards import Shards
from prefetcher.hdf5.source import Reading, Source, check_room
from prefetcher.hdf5.widening import read_wider
from prefetcher.order.runs import Run
from prefetcher.storage.protocol import Range

ByShard = Sequence[tuple[int, Sequence[Run]]]
"""Shards by number, and runs of their own rows."""
_LOOKED_AT = 8  # files of a chunk, to know whether the system has them all in memory


class ShardedSource:
    """Rows out of all files. `read` may be called from any number of threads at once.

    A file is opened when a row of it is first wanted. It stays open until `close`, or until others
    are wanted that the process may not have open beside it. The arguments are those of `Source`.
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
        alike: dict[tuple[int, ...], tuple[int, ...]] = {}  # one object for equal ones
        self._ends = {
            name: alike.setdefault(ends, ends)
            for name in self._names
            for ends in [tuple(accumulate(part.rows for part in shards.parts(name)))]
        }
        self._places = {name: shards.places(name) for name in self._names}
        self._in_file: dict[int, dict[str, None]] = {}  # paths, where the shards are groups
        for places in self._places.values():
            if not isinstance(places.files, range):
                for number, path in zip(*places, strict=True):
                    self._in_file.setdefault(number, {})[path] = None
        # The dtypes where a shard has other ones than the data set: in the file, and as it is read.
        self._narrow = {
            (name, shard): (part.dtype, dtype)
            for name, dtype in ((name, shards.dataset(name).dtype) for name in self._names)
            for shard, part in enumerate(shards.parts(name))
            if part.dtype != dtype
        }
        # What was cut last, as datasets are read one after the other at the same rows.
        self._cut: tuple[object, object, ByShard] = (None, None, ())
        self._open = partial(
            Source,
            retries=retries,
            stopping=stopping,
            on_retry=on_retry,
            proofs=shards.proofs,
            scratch=Scratch(),
        )
        self._lock = threading.Lock()
        self._sources: dict[int, Source] = {}

    def expect(self, name: str, runs: Sequence[Run]) -> None:
        """Has the system fetch runs of rows that will be read soon. Never fails.

        Does nothing where a look into a few of the shards finds all in memory: to open every file
        for that would cost as much as to read it.
        """
        by_shard = self._by_shard(name, runs)
        if len(by_shard) > _LOOKED_AT and self._in_memory(name, by_shard):
            return
        for shard, own in by_shard:
            with suppress(PrefetchError, OSError):  # reading says what is wrong with a file
                self._source(name, shard).expect(self._path(name, shard), own)

    def _in_memory(self, name: str, by_shard: ByShard) -> bool:
        try:
            return all(
                self._source(name, shard).in_memory(self._path(name, shard), own)
                for shard, own in by_shard[:: -(-len(by_shard) // _LOOKED_AT)]
            )
        except (PrefetchError, OSError):  # not in memory, to say the least
            return False

    def ranges(self, name: str, runs: Sequence[Run]) -> list[Range]:
        """Where in its file the bytes of runs of rows lie; none where HDF5 alone knows."""
        return [
            place
            for shard, own in self._by_shard(name, runs)
            for place in self._source(name, shard).ranges(self._path(name, shard), own)
        ]

    def read(self, name: str, runs: Sequence[Run], out: Sequence[Rows]) -> None:
        """Reads runs of rows of `name`, counted over all shards, into `out`.

        The same as `prefetcher.hdf5.source.Source.read`, and it raises the same.
        """
        if len(self._ends[name]) == 1:
            self._source(name, 0).read(self._path(name, 0), runs, out)
            return
        places = Places(out)
        check_room(name, runs, places)
        for shard, own in self._by_shard(name, runs):
            source, path = self._source(name, shard), self._path(name, shard)
            if narrow := self._narrow.get((name, shard)):
                read_wider(source, path, own, places, narrow)
            else:
                source.fill(path, own, places)

    def read_all(self, wanted: Sequence[Wanted]) -> None:
        """Reads rows of several datasets, all that a file has of them in one visit.

        As `read` for each of them, which are read in the order of the files.
        """
        visits = self._visits(wanted) if len(wanted) > 1 else None
        if visits is None:
            for name, runs, out in wanted:
                self.read(name, runs, out)
            return
        for number in sorted(visits):
            self._sources[number].visit(visits[number])

    def _visits(self, wanted: Sequence[Wanted]) -> dict[int, list[Reading]] | None:
        """What is read of each file; None where runs go back to an earlier file.

        Nor is what has to be widened read so.
        """
        if self._narrow:
            return None
        visits: dict[int, list[Reading]] = {}
        for name, runs, out in wanted:
            places, last = Places(out), -1
            check_room(name, runs, places)
            for shard, own in self._by_shard(name, runs):
                number = self._places[name].files[shard]
                if number < last:
                    return None
                last = number
                if number not in visits:
                    visits[number] = []
                    self._source(name, shard)
                visits[number].append(Reading(self._path(name, shard), own, places))
        return visits

    def objects(
        self, name: str, runs: Sequence[Run], out: Objects, most: int | None = None
    ) -> None:
        """Reads runs of rows of variable length, counted over all files, into `out`.

        The same as `prefetcher.hdf5.source.Source.objects`, and it raises the same.
        """
        done = 0
        for shard, own in self._by_shard(name, runs):
            count = sum(last - first for first, last in own)
            rows = out[done : done + count]
            self._source(name, shard).objects(self._path(name, shard), own, rows, most)
            done += count

    def close(self) -> None:
        """Closes every file. The caller makes sure that nobody reads."""
        for source in self._sources.values():
            source.close()

    def _path(self, name: str, shard: int) -> str:
        """The path of a dataset within the file of a shard."""
        return self._places[name].paths[shard]

    def _paths_in(self, number: int) -> Iterator[str]:
        """Yields the paths of all that is read of a file."""
        yield from self._in_file.get(number, ())
        for files, paths in self._places.values():
            if isinstance(files, range) and number in files:
                yield paths[files.index(number)]

    def _by_shard(self, name: str, runs: Sequence[Run]) -> ByShard:
        """Gives (shard, runs of its own rows) in the order of `runs`."""
        if len(self._ends[name]) == 1:
            return [(0, runs)]
        ends = self._ends[name]
        of_runs, of_ends, found = self._cut
        if of_runs is not runs or of_ends is not ends:  # else another dataset had the same rows
            found = _by_shard(ends, runs)
            self._cut = runs, ends, found
        return found

    def _source(self, name: str, shard: int) -> Source:
        number = self._places[name].files[shard]
        source = self._sources.get(number)
        if source is not None:
            return source
        with self._lock:
            if number not in self._sources:
                # A file may have thousands of groups, of which few are read soon.
                later = self._in_file.get(number, {})
                names = [path for path in self._paths_in(number) if path not in later]
                file = self._files[number]
                self._sources[number] = self._open(file, names, later=later, number=number)
            return self._sources[number]


def _by_shard(ends: Sequence[int], runs: Sequence[Run]) -> ByShard:
    """Cuts runs at the ends of shards: (shard, runs of its own rows)."""
    found: list[tuple[int, list[Run]]] = []
    last = -1
    for at, stop in runs:
        number = bisect_right(ends, at)
        begin, first = (ends[number - 1] if number else 0), at
        while first < stop:
            end = ends[number]
            if first < end:  # else it has no rows
                if number != last:
                    found.append((number, []))
                    last = number
                until = min(stop, end)
                found[-1][1].append((first - begin, until - begin))
                first = until
            begin, number = end, number + 1
    return found
