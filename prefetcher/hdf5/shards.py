"""The files of one data set as one. Nothing above this module knows how many there are.

The files stand on top of each other, so that their rows follow each other: a `Stack`. Where the
user gave several such stacks a key each, as in ``{"x": "pcam_x.h5", "y": "pcam_y.h5"}``, the name
of a dataset begins with the key: "x:images". Row i of any stack belongs to row i of the others.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from itertools import accumulate

from prefetcher.arguments import Files, normal_path
from prefetcher.errors import NoDatasetError, SettingsError
from prefetcher.hdf5.dataset import Csr, Dataset
from prefetcher.hdf5.describe import FileDescription
from prefetcher.hdf5.groups import Places
from prefetcher.hdf5.paths import identified
from prefetcher.hdf5.proof import Proofs
from prefetcher.hdf5.stack import Stack
from prefetcher.hdf5.together import check_groups, level, only_groups
from prefetcher.messages.suggestions import listed

_ALONE = ""  # the key of files that were given none


class Shards:
    """The files of one data set as they were when they were described.

    A dataset is described when it is first asked for, in all files. `look_up` does so for several
    at once, so that each file is opened once. Used by one thread while it still looks things up.

    Names are full ones, with a key where files have some: `full_name` and `found_name` make them.

    Args:
        files: At least one, in the order of their rows; or such by their keys.

    Attributes:
        proofs: What was proved of the files, for whoever reads them next.
    """

    def __init__(
        self, files: Sequence[FileDescription] | Mapping[str, Sequence[FileDescription]]
    ) -> None:
        self._keyed = isinstance(files, Mapping)
        by_key = files if isinstance(files, Mapping) else {_ALONE: files}
        self._stacks = {key: Stack(of_key) for key, of_key in by_key.items()}
        ends = accumulate(len(of_key) for of_key in by_key.values())
        self._first = dict(zip(by_key, (0, *ends), strict=False))
        self.proofs = Proofs()
        self._whole: dict[str, Dataset] = {}

    @property
    def files(self) -> tuple[FileDescription, ...]:
        """The files, with what is known of them."""
        return sum((stack.files for stack in self._stacks.values()), ())

    @property
    def name(self) -> str:
        """The first file's name, and how many more there are; that of each key."""
        return listed([stack.name for stack in self._stacks.values()])

    @property
    def size(self) -> int:
        """Bytes of all files together."""
        return sum(file.size for file in self.files)

    @property
    def keys(self) -> list[str]:
        """The keys of the files, none where they were given none."""
        return list(self._stacks) if self._keyed else []

    def full_name(self, part: str, name: str, group: str = "") -> str:
        """What a name that the user wrote is called here: with a key, if files have any.

        Args:
            part: The parameter, which is the key where the name has none: "x".
            name: As it was written: "images", or "x:images".
            group: A group of the files that it is within.

        Raises:
            SettingsError: No key tells in which file it is.
        """
        key, own = self._written(name)
        if self._keyed and key is None and part not in self._stacks:
            raise SettingsError(
                f"{part}={name!r}: none of the keys of file= ({listed(self.keys)}) is {part!r}: "
                f"write one before the name, as in {f'{self.keys[0]}:{name}'!r}"
            )
        return self._full(part if key is None else key, own, group)

    def found_name(self, parameter: str, name: str, group: str = "") -> str:
        """The same for a name that may be in the files of any key: in those that have it.

        Raises:
            NoDatasetError: None has it.
            SettingsError: Those of several keys have it.
            PrefetchError: They could not be looked into.
        """
        key, own = self._written(name)
        if not self._keyed or key is not None:
            return self._full(key or _ALONE, own, group)
        path = normal_path(f"{group}/{own}")
        having = [key for key, stack in self._stacks.items() if stack.has(path)]
        if not having:
            raise NoDatasetError(f"no dataset {path!r} in {self.name}")
        if len(having) > 1:
            raise SettingsError(
                f"{parameter}={name!r} is in the files of {listed(having)}: write which, as in "
                f"{f'{having[-1]}:{name}'!r}"
            )
        return self._full(having[0], own, group)

    def files_of(self, name: str) -> tuple[FileDescription, ...]:
        """The files that a dataset is in."""
        return self._of(name)[1].files

    def key(self, name: str) -> str:
        """The key of the files that a dataset is in; "" where they were given none."""
        return self._of(name)[0]

    def path(self, name: str) -> str:
        """What a dataset is called within its files."""
        return self._of(name)[2]

    def look_up(self, names: Iterable[str]) -> None:
        """Describes these in every file, as far as they are there, whatever links lead to them.

        Raises:
            FileError: A file cannot be used, or changed meanwhile.
            ReadError: The system could not read one.
        """
        for stack, own in self._by_stack(names):
            stack.look_up(own)

    def only(self, groups: str | Sequence[str]) -> None:
        """Leaves out all groups but these, before anything is looked up.

        Args:
            groups: The name of a dataset that names those of its file, or the groups' own names.

        Raises:
            PrefetchError: As `dataset`, where it cannot be read.
            SettingsError: It cannot be told which groups of the other files these are.
        """
        key, own = self._written(groups) if isinstance(groups, str) else (None, groups)
        only_groups(self._stacks, key, own)

    @property
    def has_patterns(self) -> bool:
        """Whether a name that was looked up stands for several groups."""
        return any(stack.has_patterns for stack in self._stacks.values())

    def including(self, names: Collection[str]) -> Shards:
        """The same with these looked up once and for all.

        Raises:
            PrefetchError: As `dataset`.
        """
        self.look_up(names)
        for name in names:
            self.dataset(name)
        check_groups(self._stacks)
        return self

    def parts(self, name: str) -> tuple[Dataset, ...]:
        """The dataset of that name in each shard, by its path. Raises as `dataset`."""
        _, stack, own = self._of(name)
        return stack.parts(own)

    def is_pattern(self, name: str) -> bool:
        """Whether a name stands for datasets of several groups."""
        _, stack, own = self._of(name)
        return stack.is_pattern(own)

    def places(self, name: str) -> Places:
        """Where the dataset of that name is in each shard."""
        key, stack, own = self._of(name)
        numbers, paths = stack.places(own)
        first = self._first[key]
        if isinstance(numbers, range):
            return Places(range(first, first + len(numbers)), paths)
        return Places([first + number for number in numbers], paths)

    def where(self, shard: int, name: str) -> str:
        """A shard for messages: the file, and the path of a dataset if there are several groups."""
        _, stack, own = self._of(name)
        return stack.where(shard, own)

    def level(self, strides: Mapping[str, int]) -> Shards:
        """The same with those rows of each file that all of these datasets have, as it may grow.

        Datasets that a file lacks, or that have no rows, are left as they are.

        Args:
            strides: For each dataset, how many rows of it one sample goes on by.

        Raises:
            FileError: As `look_up`, like `ReadError`.
            SettingsError: A name is a pattern of groups, of which there may be more at any time; or
                the files of each key are not as many.
        """
        self.look_up(strides)
        of_key: dict[str, dict[str, int]] = {key: {} for key in self._stacks}
        for name, stride in strides.items():
            key, _, own = self._of(name)
            of_key[key][own] = stride
        levelled = level(self._stacks, of_key)
        return Shards(levelled if self._keyed else levelled[_ALONE])

    def dataset(self, name: str) -> Dataset:
        """The dataset of that name with the rows of all files.

        Raises:
            NoDatasetError: A file has none of that name.
            DatasetError: It cannot be cut into batches, or its rows differ between the files.
            FileError: As `FileDescription.dataset`.
        """
        if name not in self._whole:
            key, stack, own = self._of(name)
            self._whole[name] = _renamed(stack.dataset(own), partial(self._full, key))
        return self._whole[name]

    def memory_bytes(self, names: Sequence[str], threads: int) -> int:
        """The most that is in memory of the files themselves: what is known of them, and open.

        Args:
            names: The datasets that are read.
            threads: Those that read at once, each one file.
        """
        return sum(stack.memory_bytes(own, threads) for stack, own in self._by_stack(names))

    def _full(self, key: str, name: str, group: str = "") -> str:
        path = normal_path(f"{group}/{name}")
        return f"{key}:{path}" if self._keyed else path

    def _written(self, name: str) -> tuple[str | None, str]:
        """The key and the rest of a name; no key where it begins with none."""
        key, colon, own = name.partition(":")
        return (key, own) if self._keyed and colon and key in self._stacks else (None, name)

    def _of(self, name: str) -> tuple[str, Stack, str]:
        """The key of a full name, its files, and its path in them."""
        key, own = self._written(name)
        if self._keyed and key is None:
            raise SettingsError(
                f"{name!r} is in no file: write one of the keys of file= ({listed(self.keys)}) "
                f"before it, as in {f'{self.keys[0]}:{name}'!r}"
            )
        key = key or _ALONE
        return key, self._stacks[key], own

    def _by_stack(self, names: Iterable[str]) -> list[tuple[Stack, list[str]]]:
        """The names that are in each stack, as they are called there."""
        found: dict[str, list[str]] = {}
        for name in names:
            key, _, own = self._of(name)
            found.setdefault(key, []).append(own)
        return [(self._stacks[key], own) for key, own in found.items()]


def _renamed(dataset: Dataset, full: Callable[[str], str]) -> Dataset:
    """The same by its full name, like the parts of sparse rows."""
    csr = dataset.csr
    if csr is not None:
        data, indices, indptr = (
            _renamed(each, full) for each in (csr.data, csr.indices, csr.indptr)
        )
        csr = Csr(data, indices, indptr, csr.said)
    return replace(dataset, name=full(dataset.name), csr=csr)


def describe_all(
    files: Files | Mapping[str, Files],
    *,
    allow_external: bool = False,
    retries: int = 3,
    swmr: bool = False,
) -> Shards:
    """The files that `prefetcher.hdf5.paths.identified` finds, or those of each key, as one.

    They are not opened: `Shards` describes what is asked for. Arguments and errors are its own.
    """
    found = partial(identified, allow_external=allow_external, retries=retries, swmr=swmr)
    if isinstance(files, Mapping):
        return Shards({key: found(of_key) for key, of_key in files.items()})
    return Shards(found(files))
