"""Several files as one: the rows of each dataset follow each other in the order of the files.

A shard is a file, or one of the groups of a file that the pattern of a name stands for. One file is
the case of a single shard; nothing above this module knows how many there are.
"""

from __future__ import annotations

import glob
import os
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import replace
from functools import partial
from itertools import count
from pathlib import Path

from prefetcher.columns.ragged import shown
from prefetcher.config import File, Files, normal_path
from prefetcher.errors import DatasetError, FileMissingError, NoDatasetError, SettingsError
from prefetcher.hdf5.dataset import Csr, Dataset
from prefetcher.hdf5.describe import FileDescription, identify
from prefetcher.hdf5.manifest import is_manifest, read_manifest
from prefetcher.hdf5.opened import MOST_BYTES
from prefetcher.hdf5.patterns import Match, is_pattern
from prefetcher.hdf5.proof import MOST_PROVED, PROVED_BYTES, Proofs
from prefetcher.hdf5.source import HANDLE_BYTES
from prefetcher.messages.suggestions import listed

FILE_BYTES = 1000
"""Of the description of a file and what reads it, roughly; datasets that are alike are shared."""


class Shards:
    """The files of one data set as they were when they were described.

    A dataset is described when it is first asked for, in all files. `look_up` does so for several
    at once, so that each file is opened once. Used by one thread while it still looks things up.

    Args:
        files: At least one, in the order of their rows.

    Attributes:
        proofs: What was proved of the files, for whoever reads them next.
    """

    def __init__(self, files: Sequence[FileDescription]) -> None:
        self._files = tuple(files)
        self.proofs = Proofs()
        self._looked_up: set[str] = set()
        self._only: list[frozenset[str]] | None = None
        self._memory: dict[tuple[tuple[str, ...], int], int] = {}
        self._parts: dict[str, tuple[Dataset, ...]] = {}
        self._paths: dict[str, list[dict[Match, str]]] = {}  # of each pattern, in each file
        self._places: dict[str, list[tuple[int, str]]] = {}
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
        first = self.files[0].path.name
        return first if len(self.files) == 1 else f"{first} and {len(self.files) - 1} more"

    @property
    def size(self) -> int:
        """Bytes of all files together."""
        return sum(file.size for file in self.files)

    def look_up(self, names: Iterable[str]) -> None:
        """Describes these in every file, as far as they are there, whatever links lead to them.

        Raises:
            FileError: A file cannot be used, or changed meanwhile.
            ReadError: The system could not read one.
        """
        wanted = set(map(normal_path, names)) - self._looked_up
        if wanted:
            self._looked_up |= wanted
            plain = wanted - self._find_patterns(sorted(filter(is_pattern, wanted)))
            self._files = tuple(
                [
                    self._knowing(file, plain.union(self._paths_in(number, wanted)))
                    for number, file in enumerate(self._files)
                ]
            )

    def only(self, groups: str | Sequence[str]) -> None:
        """Leaves out all groups but these, before anything is looked up.

        Args:
            groups: The name of a dataset that names those of its file, or the groups' own names.

        Raises:
            PrefetchError: As `dataset`, where it cannot be read.
        """
        named = [file.texts(groups) if isinstance(groups, str) else groups for file in self._files]
        self._only = list(map(frozenset, named))

    @property
    def has_patterns(self) -> bool:
        """Whether a name that was looked up stands for several groups."""
        return bool(self._paths)

    def including(self, names: Collection[str]) -> Shards:
        """The same with these looked up once and for all.

        Raises:
            PrefetchError: As `dataset`.
        """
        self.look_up(names)
        for name in names:
            self.dataset(name)
        return self

    def parts(self, name: str) -> tuple[Dataset, ...]:
        """The dataset of that name in each file. Raises as `dataset`."""
        wanted = normal_path(name)
        if wanted not in self._parts:
            self.look_up([wanted])
            if wanted in self._paths or not is_pattern(wanted):
                self._check_alike(wanted)
            self._parts[wanted] = tuple(self._checked(wanted))
        return self._parts[wanted]

    def is_pattern(self, name: str) -> bool:
        """Whether a name stands for datasets of several groups."""
        self.look_up([name])
        return normal_path(name) in self._paths

    def places(self, name: str) -> Sequence[tuple[int, str]]:
        """The file and the path of the dataset of that name in each shard."""
        wanted = normal_path(name)
        if not self.is_pattern(wanted):
            return [(number, wanted) for number in range(len(self._files))]
        if wanted not in self._places:
            self._places[wanted] = [
                (number, paths[match])
                for number, paths in enumerate(self._paths[wanted])
                for match in self._groups(number, wanted)
            ]
        return self._places[wanted]

    def where(self, shard: int, name: str) -> str:
        """A shard for messages: the file, and the path of a dataset if there are several groups."""
        if not self.is_pattern(name):
            return self._files[shard].path.name
        number, path = self.places(name)[shard]
        return f"{path} in {self._files[number].path.name}"

    def _find_patterns(self, patterns: Sequence[str]) -> set[str]:
        """Looks up what these stand for in each file; gives those that stand for anything."""
        if not patterns:
            return set()
        found = [file.matching(patterns) for file in self._files]
        for pattern in patterns:
            in_files = [of_file.get(pattern, {}) for of_file in found]
            if self._only is not None and any(in_files):
                in_files = self._only_named(pattern, in_files, self._only)
            if any(in_files):
                self._paths[pattern] = in_files
        return set(self._paths)

    def _only_named(
        self,
        pattern: str,
        in_files: Sequence[Mapping[Match, str]],
        groups: Sequence[frozenset[str]],
    ) -> list[dict[Match, str]]:
        """Those paths whose groups are named. Each name must be there, in one file at least."""
        own_names = [_own_names(pattern, paths) for paths in in_files]
        there = {name for of_file in own_names for names in of_file.values() for name in names}
        if gone := frozenset.union(*groups) - there:
            raise NoDatasetError(
                f"groups= names {listed(sorted(gone))}, and {pattern} stands for none of that name "
                f"in {self.name}"
            )
        return [
            {match: path for match, path in paths.items() if of_file[match] & only}
            for paths, of_file, only in zip(in_files, own_names, groups, strict=True)
        ]

    def _paths_in(self, number: int, names: Collection[str]) -> set[str]:
        return {
            path
            for pattern in self._paths.keys() & names
            for path in self._paths[pattern][number].values()
        }

    def _groups(self, number: int, name: str) -> list[Match]:
        """What the wildcards stand for in a file, the same for every pattern.

        Raises:
            DatasetError: It is not the same.
        """
        first = next(iter(self._paths))
        expected, found = self._paths[first][number], self._paths[name][number]
        if odd := expected.keys() ^ found.keys():
            missing = (first, name) if next(iter(odd)) in found else (name, first)
            path = (expected | found)[next(iter(odd))]
            raise DatasetError(
                f"{missing[1]} stands for {path} in {self._files[number].path.name}, and "
                f"{missing[0]} for nothing beside it ({len(odd)} such groups): patterns must match "
                "the same groups"
            )
        return list(expected)

    def _check_alike(self, name: str) -> None:
        """Patterns and plain names do not go together: a shard would be a group and a file."""
        others = {each for each in self._parts if (each in self._paths) != (name in self._paths)}
        if others:
            pattern, plain = sorted((name, min(others)), key=self._paths.__contains__)[::-1]
            raise DatasetError(
                f"{pattern} is a pattern of groups, and {plain} is one dataset of the file: name "
                "both by a pattern, or both without"
            )

    def _checked(self, name: str) -> Iterator[Dataset]:
        if name in self._paths:
            files = self._files
            for number, path in self.places(name):
                part = files[number].dataset(path)
                if part.csr is not None:
                    raise DatasetError(
                        f"{name} stands for groups of sparse rows ({path}), which no pattern may: "
                        "name one of them"
                    )
                yield part
            return
        last = None
        for file in self._files:
            found = file.described(name)
            if found is None or found is not last:
                found = last = file.dataset(name)
            yield found

    def level(self, strides: Mapping[str, int]) -> Shards:
        """The same with those rows of each file that all of these datasets have, as it may grow.

        Datasets that a file lacks, or that have no rows, are left as they are.

        Args:
            strides: For each dataset, how many rows of it one sample goes on by.

        Raises:
            FileError: As `look_up`, like `ReadError`.
            SettingsError: A name is a pattern of groups, of which there may be more at any time.
        """
        self.look_up(strides)
        if patterns := sorted(self._paths.keys() & strides):
            raise SettingsError(
                f"swmr=True: {patterns[0]} is a pattern of groups, and a file that is written may "
                "get more of them at any time: name one dataset, or leave swmr out"
            )
        return Shards([file.level(strides) for file in self.files])

    def dataset(self, name: str) -> Dataset:
        """The dataset of that name with the rows of all files.

        Raises:
            NoDatasetError: A file has none of that name.
            DatasetError: It cannot be cut into batches, or its rows differ between the files.
            FileError: As `FileDescription.dataset`.
        """
        found = self._whole.get(name)
        if found is None:
            found = self._whole[name] = self._together(name)
        return found

    def memory_bytes(self, names: Sequence[str], threads: int) -> int:
        """The most that is in memory of the files themselves: what is known of them, and open.

        Args:
            names: The datasets that are read.
            threads: Those that read at once, each one file.
        """
        key = (tuple(names), threads)
        if key not in self._memory:
            self._memory[key] = self._memory_bytes(list(map(self.parts, names)), threads)
        return self._memory[key]

    def _memory_bytes(self, parts: Sequence[Sequence[Dataset]], threads: int) -> int:
        files: list[tuple[Dataset, ...]] = list(zip(*parts, strict=True))
        kept = [sum(part.kept_bytes for part in of_file) for of_file in files]
        proved = PROVED_BYTES * len(kept) + sum(kept)
        general = ["general" in {part.way for part in of_file} for of_file in files]
        return (
            FILE_BYTES * len(kept)
            + min(proved, max(MOST_PROVED, (threads + 1) * max(kept)))
            + HANDLE_BYTES * min(sum(general), max(MOST_BYTES // HANDLE_BYTES, threads))
        )

    def _together(self, name: str) -> Dataset:
        return self._joined(name, self.parts(name))

    def _joined(self, name: str, parts: Sequence[Dataset]) -> Dataset:
        """What each shard has of a dataset, as one."""
        first = parts[0]
        for shard, other in enumerate(parts):
            if other is not first and _kind(other) != _kind(first):
                raise DatasetError(
                    f"{name} has rows of {shown(other.dtype)} {other.row_shape} in "
                    f"{self.where(shard, name)}, but of {shown(first.dtype)} {first.row_shape} in "
                    f"{self.where(0, name)}: files of one data set need rows of one kind"
                )
        return replace(
            first,
            name=name if name in self._paths else first.name,
            shape=(sum(part.shape[0] for part in parts), *first.row_shape),
            stored_bytes=sum(part.stored_bytes for part in parts),
            heap_bytes=self._heap_bytes(name, parts),
            csr=self._joined_csr([part.csr for part in parts]),
        )

    def _heap_bytes(self, name: str, parts: Sequence[Dataset]) -> int:
        """Of each file once, however many of its groups have a part."""
        numbers = (number for number, _ in self.places(name)) if name in self._paths else count()
        by_file = {number: part.heap_bytes for number, part in zip(numbers, parts, strict=False)}
        return sum(by_file.values())

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

    def _joined_csr(self, groups: Sequence[Csr | None]) -> Csr | None:
        found = [group for group in groups if group is not None]
        if len(found) < len(groups) or not found:
            return None
        data, indices, indptr = (
            self._joined(parts[0].name, parts)
            for parts in zip(*map(_datasets_of, found), strict=True)
        )
        return Csr(data, indices, indptr, found[0].said)


def _own_names(pattern: str, paths: Mapping[Match, str]) -> dict[Match, set[str]]:
    """The own names of the groups that the wildcards of each path stand for."""
    wild = [at for at, part in enumerate(pattern.split("/")) if is_pattern(part)]
    return {match: {path.split("/")[at] for at in wild} for match, path in paths.items()}


def _kind(dataset: Dataset) -> tuple[object, ...]:
    """What rows of all files must have in common."""
    return dataset.dtype, dataset.elements, dataset.row_shape


def _datasets_of(group: Csr) -> tuple[Dataset, Dataset, Dataset]:
    return group.data, group.indices, group.indptr


def describe_all(
    files: Files, *, allow_external: bool = False, retries: int = 3, swmr: bool = False
) -> Shards:
    """One file, those that a pattern matches (sorted) or a manifest names, or a list of these.

    They are not opened: `Shards` describes what is asked for. The arguments are those of
    `describe`.

    Raises:
        FileError: A file is missing or cannot be used, or a pattern matches none.
        ReadError: The system could not read a file, also not after the retries.
        SettingsError: The list is empty, or a manifest is named with `swmr`.
    """
    look = partial(identify, allow_external=allow_external, retries=retries, swmr=swmr)
    found: list[FileDescription] = []
    for file in listed_files(files):
        if is_manifest(file) and swmr:
            raise SettingsError(
                f"swmr=True: {Path(file).name} is a manifest, whose files no longer grow: leave "
                "swmr out, or name the files themselves"
            )
        if is_manifest(file):
            told = read_manifest(file).descriptions(allow_external=allow_external, retries=retries)
            found += [each if each.datasets else look(each.path) for each in told]
        else:
            found += map(look, _matching(file))
    return Shards(found)


def listed_files(files: Files) -> list[File]:
    """The files, patterns and manifests that were named, at least one.

    Raises:
        SettingsError: The list is empty.
    """
    listed: list[File] = [files] if isinstance(files, str | os.PathLike) else list(files)
    if not listed:
        raise SettingsError(f"file={files!r}: name one file at least")
    return listed


def paths_of(files: Files) -> list[Path]:
    """Where all of these files are. Raises as `describe_all`."""
    return [
        path
        for file in listed_files(files)
        for path in (read_manifest(file).paths if is_manifest(file) else _matching(file))
    ]


def _matching(file: File) -> list[Path]:
    if Path(file).exists() or not glob.has_magic(str(file)):
        return [Path(file)]
    found = sorted(glob.glob(str(file), recursive=True))  # noqa: PTH207 - also absolute patterns
    if not found:
        raise FileMissingError(f"no file matches {str(file)!r}")
    return [Path(path) for path in found]
