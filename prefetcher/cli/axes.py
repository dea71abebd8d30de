"""Which datasets of a file have their samples along the last axis, as MATLAB's matrices have."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence

from prefetcher.columns.axis import Axis
from prefetcher.columns.column import Column
from prefetcher.hdf5.axes import turned
from prefetcher.hdf5.dataset import Dataset

_TARGETS = ("y", "label", "target", "class", "angle")
"""In names of vectors with a value for each sample, not for each feature."""


def along_last(datasets: Sequence[Dataset], *, matlab: bool) -> tuple[Dataset, ...]:
    """The same datasets, those turned whose samples lie along the last axis.

    The heaviest dataset of a group tells how many samples there are: by its first axis, if another
    dataset has as many rows; else by its last, if a vector has as many values.

    Args:
        datasets: Those of a file.
        matlab: Whether MATLAB wrote it, so that any such vector is believed. Of other files only
            one that is called like a target, as it may have a value for each feature.
    """
    groups: dict[str, list[Dataset]] = {}
    for each in datasets:
        if _is_plain(each):
            groups.setdefault(each.name.rpartition("/")[0], []).append(each)
    axes = {name for group in groups.values() for name in _along_last(group, matlab=matlab)}
    return tuple(
        turned(each, Axis(each.name).dataset, -1) if each.name in axes else each
        for each in datasets
    )


def columns_of(datasets: Iterable[Dataset]) -> dict[str, Column]:
    """The columns of those that were turned."""
    return {each.name: Axis(each.path) for each in datasets if each.turned}


def axes_of(datasets: Iterable[Dataset]) -> Mapping[str, int]:
    """The same for `convert`, by path."""
    return {each.path: -1 for each in datasets if each.turned}


def lines(datasets: Iterable[Dataset], *, matlab: bool) -> Iterator[str]:
    """What is told of them."""
    names = [each.path for each in datasets if each.turned]
    why = ", as MATLAB's axes stand in HDF5 in reverse order" if matlab else ""
    if names:
        yield f"Samples lie along the last axis of {', '.join(names)}{why}."
    elif matlab:
        yield (
            "MATLAB wrote it: its axes stand here in reverse order. Where samples lie along the "
            "last one, write prefetcher.Axis(name, -1) for the name."
        )


def _is_plain(dataset: Dataset) -> bool:
    if dataset.refused or dataset.missing_filter or not dataset.rows or dataset.csr is not None:
        return False
    return dataset.dtype.kind in "biuf"


def _along_last(group: Sequence[Dataset], *, matlab: bool) -> list[str]:
    """The names of those in a group whose samples lie along the last axis."""
    heaviest = max(group, key=lambda each: each.dtype.itemsize * math.prod(each.shape))
    others = [each for each in group if each is not heaviest]
    count = heaviest.rows
    if count == 1 or not any(each.rows == count for each in others):
        vectors = [each for each in others if _is_vector(each, count)]
        if vectors and count > 1:
            return [each.name for each in _ending_with(others, count)]
        return _with_last_axis(heaviest, others, matlab=matlab)
    return [each.name for each in others if count > 1 and _is_vector(each, count)]


def _with_last_axis(heaviest: Dataset, others: Sequence[Dataset], *, matlab: bool) -> list[str]:
    count = heaviest.shape[-1]
    if len(heaviest.shape) < 2 or count < 2:
        return []
    vectors = [each for each in others if _is_vector(each, count)]
    columns = [each for each in others if each.rows == count and (matlab or _is_target(each))]
    if not vectors and not columns:
        return []
    return [heaviest.name, *(each.name for each in _ending_with(others, count))]


def _ending_with(group: Sequence[Dataset], count: int) -> list[Dataset]:
    """Those with so many samples along their last axis, and along no first."""
    return [
        each
        for each in group
        if len(each.shape) > 1 and each.shape[-1] == count and each.rows != count
    ]


def _is_vector(dataset: Dataset, count: int) -> bool:
    """Whether it is a vector as MATLAB writes one: a single row."""
    return len(dataset.shape) == 2 and dataset.shape == (1, count)


def _is_target(dataset: Dataset) -> bool:
    name = dataset.name.rpartition("/")[2].lower()
    return any(name == word or (len(word) > 1 and word in name) for word in _TARGETS)
