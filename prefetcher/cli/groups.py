"""Several files, and groups of a file that are alike, shown as the one data set that they are."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

from prefetcher.hdf5.dataset import Dataset
from prefetcher.hdf5.patterns import is_pattern, pattern_of

_NUMBER = re.compile(r"\d+")


class Together(NamedTuple):
    """What several files have in common.

    Attributes:
        datasets: All that any of them has, with the rows of all; numbered groups by a pattern.
        usable: Those of them that are one data set: in every file, with rows of one kind.
    """

    datasets: tuple[Dataset, ...]
    usable: tuple[Dataset, ...]


@dataclass
class _Tally:
    """A dataset over several files."""

    first: Dataset
    rows: int = 0
    stored_bytes: int = 0
    files: int = 0
    is_alike: bool = True

    def add(self, other: Dataset) -> None:
        self.rows += other.rows
        self.stored_bytes += other.stored_bytes
        self.files += 1
        self.is_alike &= _kind_of_rows(other) == _kind_of_rows(self.first)

    @property
    def dataset(self) -> Dataset:
        if self.files == 1 or not self.is_alike or not self.first.shape:
            return self.first
        shape = (self.rows, *self.first.row_shape)
        return replace(self.first, shape=shape, stored_bytes=self.stored_bytes)


def together(files: Iterable[Sequence[Dataset]]) -> Together:
    """What is in these files, each taken as they are looked at, so that many take no memory.

    A pattern need not stand for as many groups in each file.
    """
    tallies: dict[str, _Tally] = {}
    count = 0
    for datasets in files:
        count += 1
        for dataset in datasets:
            tallies.setdefault(dataset.name, _Tally(dataset)).add(dataset)
    found = as_patterns([tally.dataset for tally in tallies.values() if tally.is_alike])
    odd = [tally.first for tally in tallies.values() if not tally.is_alike]
    usable = tuple(
        each for each in found if each.name not in tallies or tallies[each.name].files == count
    )
    return Together((*found, *odd), usable)


def as_patterns(datasets: Sequence[Dataset]) -> tuple[Dataset, ...]:
    """The same with one dataset, called by a pattern, for those of numbered groups that are alike.

    Alike are datasets of one name in groups whose names differ in numbers alone, with rows of one
    kind. A pattern that would stand for others as well is not used.
    """
    of_pattern: dict[str, list[Dataset]] = {}
    for dataset in datasets:
        of_pattern.setdefault(_pattern(dataset.name), []).append(dataset)
    return tuple(_shown(of_pattern, [dataset.name for dataset in datasets]))


def _pattern(name: str) -> str:
    group, slash, own = name.rpartition("/")
    return _NUMBER.sub("*", group) + slash + own


def _shown(of_pattern: dict[str, list[Dataset]], names: Sequence[str]) -> Iterator[Dataset]:
    for pattern, alike in of_pattern.items():
        if not is_pattern(pattern) or len(alike) < 2 or len(set(map(_kind, alike))) > 1:
            yield from alike
            continue
        matching = pattern_of(pattern)
        if sum(matching.fullmatch(name) is not None for name in names) > len(alike):
            yield from alike
            continue
        yield replace(
            alike[0],
            name=pattern,
            shape=(sum(each.rows for each in alike), *alike[0].row_shape),
            stored_bytes=sum(each.stored_bytes for each in alike),
        )


def _kind(dataset: Dataset) -> tuple[object, ...]:
    """What datasets have in common that are one; nothing is like what cannot be read."""
    own = dataset.name if dataset.refused or not dataset.shape or dataset.csr else ""
    return (*_kind_of_rows(dataset), dataset.way, own)


def _kind_of_rows(dataset: Dataset) -> tuple[object, ...]:
    return dataset.dtype, dataset.elements, dataset.row_shape
