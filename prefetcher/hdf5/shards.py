"""Several files as one: the rows of each dataset follow each other in the order of the files.

A shard is a file, or one of the groups of a file that the pattern of a name stands for. One file is
the case of a single shard; nothing above this module knows how many there are.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import replace

from prefetcher.config import Files, normal_path
from prefetcher.errors import DatasetError, SettingsError
from prefetcher.hdf5.dataset import Dataset
from prefetcher.hdf5.describe import FileDescription
from prefetcher.hdf5.groups import Groups, Place, name_of
from prefetcher.hdf5.joining import joined
from prefetcher.hdf5.opened import MOST_BYTES
from prefetcher.hdf5.paths import identified
from prefetcher.hdf5.patterns import is_pattern
from prefetcher.hdf5.proof import MOST_PROVED, PROVED_BYTES, Proofs
from prefetcher.hdf5.source import HANDLE_BYTES

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

    def only(self, groups: str | Sequence[str]) -> None:
        """Leaves out all groups but these, before anything is looked up.

        Args:
            groups: The name of a dataset that names those of its file, or the groups' own names.

        Raises:
            PrefetchError: As `dataset`, where it cannot be read.
        """
        self._groups.only(
            [file.texts(groups) if isinstance(groups, str) else groups for file in self._files]
        )

    @property
    def has_patterns(self) -> bool:
        """Whether a name that was looked up stands for several groups."""
        return bool(self._groups)

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
            if wanted in self._groups or not is_pattern(wanted):
                self._check_alike(wanted)
            self._parts[wanted] = tuple(self._found(wanted))
        return self._parts[wanted]

    def is_pattern(self, name: str) -> bool:
        """Whether a name stands for datasets of several groups."""
        self.look_up([name])
        return normal_path(name) in self._groups

    def places(self, name: str) -> Sequence[Place]:
        """The file and the path of the dataset of that name in each shard."""
        wanted = normal_path(name)
        if self.is_pattern(wanted):
            return self._groups.places(wanted)
        return [(number, wanted) for number in range(len(self._files))]

    def where(self, shard: int, name: str) -> str:
        """A shard for messages: the file, and the path of a dataset if there are several groups."""
        if not self.is_pattern(name):
            return self._files[shard].path.name
        number, path = self.places(name)[shard]
        return f"{path} in {self._files[number].path.name}"

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
        if patterns := sorted(name for name in strides if name in self._groups):
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
        wanted = normal_path(name)
        if wanted not in self._whole:
            parts, files = self.parts(wanted), [number for number, _ in self.places(wanted)]
            self._whole[wanted] = joined(
                wanted, parts, files, lambda shard: self.where(shard, wanted)
            )
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
            for number, path in self.places(name):
                part = self._files[number].dataset(path)
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


def describe_all(
    files: Files, *, allow_external: bool = False, retries: int = 3, swmr: bool = False
) -> Shards:
    """The files that `prefetcher.hdf5.paths.identified` finds, as one.

    They are not opened: `Shards` describes what is asked for. Arguments and errors are its own.
    """
    return Shards(identified(files, allow_external=allow_external, retries=retries, swmr=swmr))
