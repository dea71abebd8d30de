"""Rows for training and rows for validation: drawn by a seed, alike in every class.

What comes out goes into `rows=` of two sequences. Each row is in exactly one part, and the same
seed gives the same rows on every machine, because the order is that of hashes of our own.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from prefetcher.arguments import KeyedFiles, Rows
from prefetcher.batch import flatten
from prefetcher.columns.memory import check_unmasked
from prefetcher.config import DEFAULT_X, Settings
from prefetcher.errors import DatasetError, RowsError, SettingsError
from prefetcher.hdf5.attributes import read_attributes
from prefetcher.hdf5.describe import describe
from prefetcher.hdf5.shards import Shards, describe_all
from prefetcher.labels import CLASS_KINDS, Labels, each_text, labels_named, single, values_of
from prefetcher.order.permutation import shuffled
from prefetcher.selection import samples_of

RowNumbers = NDArray[np.int64]

_KEY = 0x5350_4C49_54  # "SPLIT": another order than that of any pass


def split(
    file: KeyedFiles,
    val_size: float = 0.2,
    *,
    seed: int = 0,
    stratify: str | ArrayLike | None = None,
    rows: Rows = None,
    x: str | None = None,
    allow_external: bool = False,
    swmr: bool = False,
) -> tuple[RowNumbers, RowNumbers]:
    """Row numbers for training and for validation, to hand on as `rows=`.

        train, val = prefetcher.split("samples.h5", 0.2, seed=0, stratify="labels")

    With `stratify` each class is in both parts by the same share, to within one sample. Nothing is
    read but these labels. Takes 65 bytes of memory and half a microsecond for each row.

    Args:
        file: What `PrefetchSequence` takes: a path, a pattern, a manifest, or a list or dict.
        val_size: The validation's share of the rows, between 0 and 1, or their number. 0.2 by
            default, as is usual.
        seed: 0 to 2**64 - 1. The same seed gives the same rows on every machine.
        stratify: The classes: the name of a dataset of numbers or text, one for each row, or of a
            field as in "events[label]", or an array of them, as long as the file has rows. None
            draws from all rows alike.
        rows: Splits these rows only, as `PrefetchSequence` takes them; each counts once.
        x: A dataset whose rows are counted. It is needed where the datasets have different
            lengths, and neither `stratify` nor the file itself names one.
        allow_external: True follows links and storage outside the file.
        swmr: True splits the rows that are there of a file that is written in SWMR mode.

    Returns:
        (train, val): int64 arrays (n,), ascending.

    Raises:
        SettingsError: A setting cannot work.
        FileError: The file cannot be used.
        DatasetError: A dataset is missing, or they differ in length.
        RowsError: `rows` names rows that are not there, or too few to split.
        ReadError: The labels could not be read.
    """
    about = Settings(
        file, x or DEFAULT_X, None, seed=seed, allow_external=allow_external, swmr=swmr
    )
    subset, classes = _prepared(about, stratify, rows, x)
    val = dealt(classes, _count(val_size, len(subset)), about.seed)
    return subset[~val], subset[val]


def folds(
    file: KeyedFiles,
    k: int = 5,
    *,
    seed: int = 0,
    stratify: str | ArrayLike | None = None,
    rows: Rows = None,
    x: str | None = None,
    allow_external: bool = False,
    swmr: bool = False,
) -> list[tuple[RowNumbers, RowNumbers]]:
    """Row numbers for cross-validation: `k` pairs, in which every row validates once.

        for train, val in prefetcher.folds("samples.h5", 5, seed=0, stratify="labels"):
            ...

    Args:
        file: As in `split`.
        k: How many, from 2 to the number of rows. 5 by default, as in scikit-learn.
        seed: As in `split`.
        stratify: As in `split`; the folds have as many samples of each class, to within one.
        rows: As in `split`.
        x: As in `split`.
        allow_external: As in `split`.
        swmr: As in `split`.

    Returns:
        (train, val) for each fold: int64 arrays, ascending.

    Raises:
        PrefetchError: As `split`.
    """
    about = Settings(
        file, x or DEFAULT_X, None, seed=seed, allow_external=allow_external, swmr=swmr
    )
    subset, classes = _prepared(about, stratify, rows, x)
    if isinstance(k, bool) or not isinstance(k, int | np.integer) or not 2 <= k <= len(subset):
        raise SettingsError(f"k={k}: write a whole number from 2 to {len(subset)}, the rows")
    fold = folded(classes, int(k), about.seed)
    return [(subset[fold != number], subset[fold == number]) for number in range(k)]


def dealt(classes: NDArray[Any], count: int, seed: int) -> NDArray[np.bool_]:
    """Which `count` of the samples are drawn, from each class in proportion.

    The samples lie in a line, class after class, shuffled within each; drawn are those at which
    `count / n` of the way so far passes a whole number. So any stretch of the line has its share,
    to within one.
    """
    n = len(classes)
    line, phase = _line(classes, seed)
    steps = (np.arange(n + 1) * count + phase) // n
    drawn = np.zeros(n, np.bool_)
    drawn[line] = np.diff(steps) > 0
    return drawn


def folded(classes: NDArray[Any], k: int, seed: int) -> NDArray[np.int64]:
    """The fold of each sample: the line of `dealt`, dealt out like cards."""
    line, phase = _line(classes, seed)
    fold = np.empty(len(classes), np.int64)
    fold[line] = (np.arange(len(classes)) + phase) % k
    return fold


def _line(classes: NDArray[Any], seed: int) -> tuple[RowNumbers, int]:
    """Samples by class, shuffled within each; and where to begin, so that no class comes first."""
    order = shuffled(len(classes), seed, _KEY)
    return order[np.argsort(classes[order], kind="stable")], int(order[0])


def _prepared(
    about: Settings, stratify: str | ArrayLike | None, rows: Rows, x: str | None
) -> tuple[RowNumbers, NDArray[np.int64]]:
    """The rows to split, ascending, and the class of each."""
    shards = describe_all(about.file, allow_external=about.allow_external, swmr=about.swmr)
    if x is not None and not isinstance(x, str):
        raise SettingsError(f"x={x!r}: write the name of one dataset, whose rows are counted")
    x = x and shards.full_name("x", x)
    labels = labels_named(shards, "stratify", stratify) if isinstance(stratify, str) else None
    named = labels.dataset.name if labels else None
    if about.swmr and (names := [name for name in (x, named) if name]):
        shards = shards.including(names).level(dict.fromkeys(names, 1))
    length = _length(shards, x, named)
    subset = _ascending(np.asarray(samples_of(rows, length, shards.name), np.int64))
    if len(subset) < 2:
        raise RowsError(f"{len(subset)} row cannot be split: rows={rows!r} of {shards.name}")
    if stratify is None:
        return subset, np.zeros(len(subset), np.int64)
    of_all = (
        _labels(shards, f"stratify={stratify!r}", labels) if labels else _array(stratify, length)
    )
    return subset, np.unique(of_all[subset], return_inverse=True)[1]


def _ascending(rows: RowNumbers) -> RowNumbers:
    """Each row once. Not by numpy's `unique`, whose hash table is ten times slower here."""
    rows = np.sort(rows)
    return rows[np.diff(rows, prepend=-1) > 0]


def _length(shards: Shards, x: str | None, stratify: str | None) -> int:
    """The rows that the datasets have."""
    part = "x" if not shards.keys or "x" in shards.keys else shards.keys[0]
    full_name = partial(shards.full_name, part)
    files = shards.files_of(full_name(DEFAULT_X))
    first = files[0]
    name = x or stratify
    if name is None:
        name = next(flatten(read_attributes(first.path, swmr=first.swmr).x), None)
        if name is None and first.has_dataset(DEFAULT_X):
            name = DEFAULT_X
        name = name and full_name(name)
    if name is not None:
        length = shards.dataset(name).rows
        if x and stratify and shards.dataset(stratify).rows != length:
            raise DatasetError(
                f"{stratify} has {shards.dataset(stratify).rows} rows and {x} {length} in "
                f"{shards.name}: classes are one for each row"
            )
        return length
    if len({tuple(file.groups()) for file in files}) > 1:
        raise DatasetError(
            f"the files of {shards.name} have different groups: name a dataset with x=, or a "
            "pattern as in x='data/demo_*/obs'"
        )
    datasets = describe(first.path, allow_external=first.allow_external, swmr=first.swmr).datasets
    lengths = {dataset.rows: dataset.name for dataset in datasets if dataset.rows}
    if len(lengths) != 1:
        raise DatasetError(
            f"the datasets of {shards.name} have {len(lengths)} different lengths: name one of "
            "them with x="
        )
    return shards.dataset(full_name(next(iter(lengths.values())))).rows


def _count(val_size: Any, rows: int) -> int:
    """How many of the rows validate."""
    if isinstance(val_size, int | np.integer) and not isinstance(val_size, bool):
        if 1 <= val_size < rows:
            return int(val_size)
    elif isinstance(val_size, float | np.floating) and 0 < val_size < 1:
        return min(max(1, round(float(val_size) * rows)), rows - 1)
    raise SettingsError(
        f"val_size={val_size!r}: write a share between 0 and 1, or a number of rows from 1 to "
        f"{rows - 1}"
    )


def _array(stratify: ArrayLike, length: int) -> NDArray[Any]:
    check_unmasked("stratify", stratify, "pass its filled(value) for a class of their own")
    labels = np.asarray(stratify)
    if labels.ndim > 1 and labels.size == len(labels):
        labels = labels.reshape(-1)
    if labels.ndim != 1:
        raise SettingsError(
            f"stratify has the shape {labels.shape}: pass one label for each row, such as "
            "onehot.argmax(1)"
        )
    if len(labels) != length:
        raise SettingsError(
            f"stratify has {len(labels)} labels for the {length} rows of the file: pass one for "
            "each, also with rows="
        )
    return _sortable("stratify", labels)


def _labels(shards: Shards, what: str, labels: Labels) -> NDArray[Any]:
    """The labels of all rows."""
    if not labels.is_single:
        raise SettingsError(
            f"{what} has rows of shape {labels.value.shape}: pass one label for each row, such as "
            "an array of class numbers"
        )
    if labels.is_text:
        return _sortable(what, each_text(shards, labels.dataset.name))
    if labels.dataset.elements is not None:
        raise SettingsError(f"{what} has rows of variable length: pass one label for each row")
    return _sortable(what, values_of(shards, labels, labels.value.dtype, single))


def _sortable(what: str, labels: NDArray[Any]) -> NDArray[Any]:
    if labels.dtype.kind not in CLASS_KINDS:
        raise SettingsError(f"{what} is {labels.dtype}: classes are numbers or text")
    return labels
