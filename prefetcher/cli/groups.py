"""Groups of a file that are alike, such as demonstrations: shown as the pattern that names them."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import replace

from prefetcher.hdf5.dataset import Dataset
from prefetcher.hdf5.patterns import is_pattern, pattern_of

_NUMBER = re.compile(r"\d+")


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
    return dataset.dtype, dataset.elements, dataset.row_shape, dataset.way, own
