"""What patterns of names stand for in the files of a data set: the same groups for each of them."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import NamedTuple

from prefetcher.errors import DatasetError, NoDatasetError
from prefetcher.hdf5.describe import FileDescription
from prefetcher.hdf5.patterns import Match, is_pattern
from prefetcher.messages.suggestions import listed


class Places(NamedTuple):
    """Where the dataset of each shard is.

    Attributes:
        files: The file of each, by its number.
        paths: Its path within that file.
    """

    files: Sequence[int]
    paths: Sequence[str]


class Groups:
    """The groups that patterns stand for in each file.

    Args:
        files: The files, for their names.
    """

    def __init__(self, files: Sequence[FileDescription]) -> None:
        self._files = files
        self._only: list[frozenset[str]] | None = None
        self._paths: dict[str, list[dict[Match, str]]] = {}  # of each pattern, in each file
        self._places: dict[str, Places] = {}

    def __contains__(self, name: str) -> bool:
        """Whether a name that was looked up stands for groups."""
        return name in self._paths

    def __bool__(self) -> bool:
        """Whether any name that was looked up stands for groups."""
        return bool(self._paths)

    def only(self, names: Sequence[Collection[str]]) -> None:
        """Leaves out all groups but those of these own names in each file. Before any look-up."""
        self._only = list(map(frozenset, names))

    def look_up(self, files: Sequence[FileDescription], names: Collection[str]) -> None:
        """Looks in each file for what those of the names that are patterns stand for.

        Raises:
            NoDatasetError: A group that `only` names is nowhere.
            FileError: A file cannot be used, or is no longer the same.
            ReadError: The system could not read one.
        """
        patterns = sorted(filter(is_pattern, names))
        if not patterns:
            return
        found = [file.matching(patterns) for file in files]
        for pattern in patterns:
            in_files = [of_file.get(pattern, {}) for of_file in found]
            if self._only is not None and any(in_files):
                in_files = self._only_named(pattern, in_files, self._only)
            if any(in_files):
                self._paths[pattern] = in_files

    def paths_in(self, number: int, names: Collection[str]) -> set[str]:
        """What those of the names that are patterns stand for in one file."""
        return {
            path
            for pattern in self._paths.keys() & names
            for path in self._paths[pattern][number].values()
        }

    def places(self, pattern: str) -> Places:
        """Where the datasets of a pattern are: in natural order within each file.

        Raises:
            DatasetError: It stands for other groups than the first pattern.
        """
        if pattern not in self._places:
            found = [
                (number, paths[match])
                for number, paths in enumerate(self._paths[pattern])
                for match in self._matches(number, pattern)
            ]
            numbers, paths = zip(*found, strict=True) if found else ((), ())
            self._places[pattern] = Places(numbers, paths)
        return self._places[pattern]

    def matches(self) -> list[Match] | None:
        """What the wildcards stand for in each shard; None where nothing was a pattern."""
        first = next(iter(self._paths.values()), None)
        return None if first is None else [match for paths in first for match in paths]

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
                f"in {name_of(self._files)}"
            )
        return [
            {match: path for match, path in paths.items() if of_file[match] & only}
            for paths, of_file, only in zip(in_files, own_names, groups, strict=True)
        ]

    def _matches(self, number: int, name: str) -> list[Match]:
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


def name_of(files: Sequence[FileDescription]) -> str:
    """The first file's name, and how many more there are."""
    first = files[0].path.name
    return first if len(files) == 1 else f"{first} and {len(files) - 1} more"


def _own_names(pattern: str, paths: Mapping[Match, str]) -> dict[Match, set[str]]:
    """The own names of the groups that the wildcards of each path stand for."""
    wild = [at for at, part in enumerate(pattern.split("/")) if is_pattern(part)]
    return {match: {path.split("/")[at] for at in wild} for match, path in paths.items()}
