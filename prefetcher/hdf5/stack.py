"""Files on top of each other: the rows of each dataset follow each other in the files' order.

A shard is a file, or one of the groups of a file that the pattern of a name stands for. One file is
the case of a single shard.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import replace
from functools import partial

from prefetcher.arguments import normal_path
from prefetcher.errors import DatasetError, SettingsError
from prefetcher.hdf5.dataset import Dataset
from prefetcher.hdf5.describe import FileDescription
from prefetcher.hdf5.groups import Groups, Places, name_of
from prefetcher.hdf5.joining import joined
from prefetcher.hdf5.opened import MOST_BYTES
from prefetcher.hdf5.patterns import Match, is_pattern
from prefetcher.hdf5.proof import MOST_PROVED, PROVED_BYTES
from prefetcher.hdf5.ready import HANDLE_BYTES

FILE_BYTES = 1000
"""Of the description of a file and what reads it, roughly; datasets that are alike are shared."""


class Stack:
    """Files with the same datasets, as they were when they were described.

    A dataset is described when it is first asked for, in all files. `look_up` does so for several
    at once, so that each file is opened once. Used by one thread while it still looks things up.

    Args:
        files: At least one, in the order of their rows.
    """

    def __init__(self, files: Sequence[FileDescription]) -> None:
        self._files = tuple(files)
        self._groups = Groups(self._files)
        self._looked_up: set[str] = set()
        self._memory: dict[tuple[tuple[str, ...], int], int] = {}
        self._parts: dict[str, tuple[Dataset, ...]] = {}
        self._whole: dict[str, Dataset] = {}
        self._alike: dict[tuple[Dataset, object], Dataset] = {}
        self._sets_alike: dict[tuple[int, ...], tuple[Dataset, ...]] = {}  # by their identity

    @property
    def files(self) -> tuple[FileDescription, ...]:
        """The files, with what is known of them."""
        return self._files

    @property
    def name(self) -> str:
        """The first file's name, and how many more there are."""
        return name_of(self._files)

    def look_up(self, names: Iterable[str]) -> None:
        """Describes these in every file, as far as they are there, whatever links lead to them.

        Raises:
            FileError: A file cannot be used, or changed meanwhile.
            ReadError: The system could not read one.
        """
        wanted = set(map(normal_path, names)) - self._looked_up
        if not wanted:
            return
        self._looked_up |= wanted
        self._groups.look_up(self._files, wanted)
        plain = {name for name in wanted if name not in self._groups}
        self._files = tuple(
            [
                self._knowing(file, plain | self._groups.paths_in(number, wanted))
                for number, file in enumerate(self._files)
            ]
        )

    def only(self, groups: Sequence[Sequence[str]]) -> None:
        """Leaves out all groups but those of these own names in each file. Before any look-up."""
        self._groups.only(groups)

    def texts(self, name: str) -> list[list[str]]:
        """What a small dataset of text holds in each file. Raises as `dataset`."""
        return [file.texts(name) for file in self._files]

    def has(self, name: str) -> bool:
        """Whether the first file has it, or any has groups of that pattern. Raises as `look_up`."""
        return self.is_pattern(name) or self._files[0].has_dataset(name)

    @property
    def has_patterns(self) -> bool:
        """Whether a name that was looked up stands for several groups."""
        return bool(self._groups)

    def parts(self, name: str) -> tuple[Dataset, ...]:
        """The dataset of that name in each file. Raises as `dataset`."""
        wanted = normal_path(name)
        if wanted not in self._parts:
            self.look_up([wanted])
            if wanted in self._groups or not is_pattern(wanted):
                self._check_alike(wanted)
            self._parts[wanted] = tuple(self._found(wanted))
        return self._parts[wanted]

    def is_pattern(self, name: str) -> bool:
        """Whether a name stands for datasets of several groups."""
        self.look_up([name])
        return normal_path(name) in self._groups

    def places(self, name: str) -> Places:
        """Where the dataset of that name is in each shard."""
        wanted = normal_path(name)
        if self.is_pattern(wanted):
            return self._groups.places(wanted)
        count = len(self._files)
        return Places(range(count), (wanted,) * count)

    def where(self, shard: int, name: str) -> str:
        """A shard for messages: the file, and the path of a dataset if there are several groups."""
        if not self.is_pattern(name):
            return self._files[shard].path.name
        files, paths = self.places(name)
        return f"{paths[shard]} in {self._files[files[shard]].path.name}"

    def refuse_patterns(self, names: Iterable[str]) -> None:
        """Refuses patterns in files that grow.

        Raises:
            SettingsError: A name is a pattern of groups, of which there may be more at any time.
        """
        if patterns := sorted(name for name in names if name in self._groups):
            raise SettingsError(
                f"swmr=True: {patterns[0]} is a pattern of groups, and a file that is written may "
                "get more of them at any time: name one dataset, or leave swmr out"
            )

    def group_names(self) -> list[Match] | None:
        """What the wildcards of patterns stand for in each shard; None where there are none."""
        return self._groups.matches()

    def dataset(self, name: str) -> Dataset:
        """The dataset of that name with the rows of all files.

        Raises:
            NoDatasetError: A file has none of that name.
            DatasetError: It cannot be cut into batches, or its rows differ between the files.
            FileError: As `FileDescription.dataset`.
        """
        wanted = normal_path(name)
        if wanted not in self._whole:
            where = partial(self.where, name=wanted)
            parts, files = self.parts(wanted), self.places(wanted).files
            self._whole[wanted] = joined(wanted, parts, files, where)
        return self._whole[wanted]

    def memory_bytes(self, names: Sequence[str], threads: int) -> int:
        """The most that is in memory of the files themselves: what is known of them, and open.

        Args:
            names: The datasets that are read.
            threads: Those that read at once, each one file.
        """
        key = (tuple(names), threads)
        if key not in self._memory:
            self._memory[key] = _memory_bytes(list(map(self.parts, names)), threads)
        return self._memory[key]

    def _check_alike(self, name: str) -> None:
        """Patterns and plain names do not go together: a shard would be a group and a file."""
        others = {each for each in self._parts if (each in self._groups) != (name in self._groups)}
        if others:
            pattern, plain = sorted((name, min(others)), key=self._groups.__contains__)[::-1]
            raise DatasetError(
                f"{pattern} is a pattern of groups, and {plain} is one dataset of the file: name "
                "both by a pattern, or both without"
            )

    def _found(self, name: str) -> Iterator[Dataset]:
        """Yields what is in each shard under that name, if it can be cut into batches."""
        if name in self._groups:
            for number, path in zip(*self.places(name), strict=True):
                yield self._files[number].dataset(path)
            return
        last = None
        for file in self._files:
            found = file.described(name)
            if found is None or found is not last:
                found = last = file.dataset(name)
            yield found

    def _knowing(self, file: FileDescription, names: AbstractSet[str]) -> FileDescription:
        """The same with these; and one object for all datasets that are alike, as most are."""
        if names <= {each.name for each in file.datasets}:
            return file
        file = file.including(sorted(names))
        # numpy calls dtypes of objects equal whose elements differ.
        datasets = tuple(
            self._alike.setdefault((each, each.elements), each) for each in file.datasets
        )
        alike = self._sets_alike.setdefault(tuple(map(id, datasets)), datasets)
        return replace(file, datasets=alike)


def _memory_bytes(parts: Sequence[Sequence[Dataset]], threads: int) -> int:
    files: list[tuple[Dataset, ...]] = list(zip(*parts, strict=True))
    kept = [sum(part.kept_bytes for part in of_file) for of_file in files]
    proved = PROVED_BYTES * len(kept) + sum(kept)
    general = ["general" in {part.way for part in of_file} for of_file in files]
    return (
        FILE_BYTES * len(kept)
        + min(proved, max(MOST_PROVED, (threads + 1) * max(kept)))
        + HANDLE_BYTES * min(sum(general), max(MOST_BYTES // HANDLE_BYTES, threads))
    )
