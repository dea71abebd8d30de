"""One value for each row of a dataset, or of a field of it, all read at once: classes, weights."""

from __future__ import annotations

import math
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from prefetcher.columns.column import Stored, Value
from prefetcher.columns.fields import written_field
from prefetcher.columns.ragged import TEXT
from prefetcher.errors import NoDatasetError
from prefetcher.hdf5.dataset import Dataset
from prefetcher.hdf5.sharded import ShardedSource
from prefetcher.hdf5.shards import Shards

CLASS_KINDS = "biufSU"
"""Kinds of dtype that numpy can sort, so that their distinct values are classes."""

_BYTES_AT_ONCE = 64 << 20


@dataclass(frozen=True)
class Labels:
    """What a name stands for: a dataset, or a field of its records as in "events[label]".

    Attributes:
        dataset: With the rows of all files.
        value: What the label of a row is.
    """

    dataset: Dataset
    value: Value

    def __str__(self) -> str:
        return str(self.dataset)

    @property
    def is_text(self) -> bool:
        """Whether they are text of variable length."""
        return self.dataset.elements == TEXT

    @property
    def are_classes(self) -> bool:
        """Whether they are of a kind that has distinct values."""
        plain = self.dataset.csr is None and not self.dataset.dtype.hasobject
        return plain and self.value.dtype.kind in CLASS_KINDS

    @property
    def is_single(self) -> bool:
        """Whether a row has one."""
        return math.prod(self.value.shape) == 1


def labels_named(shards: Shards, parameter: str, name: str, split: str = "") -> Labels:
    """What the name that a parameter was given stands for, within a split.

    Raises:
        PrefetchError: There is no such dataset or field, or it cannot be used.
    """
    try:
        dataset = shards.dataset(shards.found_name(parameter, name, split))
    except NoDatasetError:
        field = written_field(name)
        if field is None:
            raise
        dataset = shards.dataset(shards.found_name(parameter, field.dataset, split))
        return Labels(dataset, field.value(Stored(dataset.dtype, dataset.row_shape)))
    return Labels(dataset, Value(dataset.dtype, dataset.row_shape, _as_they_are))


def values_of(
    shards: Shards,
    labels: Labels,
    dtype: DTypeLike,
    value: Callable[[NDArray[Any]], NDArray[Any]],
    *,
    retries: int = 3,
) -> NDArray[Any]:
    """What `value` makes of the labels of all rows, (rows,). As `each_row`."""
    make, name = labels.value.make, labels.dataset.name
    return each_row(shards, name, dtype, lambda rows: value(make(rows)), retries=retries)


def each_row(
    shards: Shards,
    name: str,
    dtype: DTypeLike,
    value: Callable[[NDArray[Any]], NDArray[Any]],
    *,
    retries: int = 3,
) -> NDArray[Any]:
    """What `value` makes of all rows of a dataset, (rows,).

    Args:
        shards: The files.
        name: The dataset.
        dtype: Of what comes out.
        value: Makes values (n,) of rows (n, ...), slab by slab.
        retries: Times a read is tried again after a passing I/O error.

    Raises:
        PrefetchError: The dataset cannot be used, or could not be read.
    """
    dataset = shards.dataset(name)
    at_once = max(1, _BYTES_AT_ONCE // max(dataset.row_bytes, 1))
    slab = np.empty((min(at_once, dataset.rows), dataset.row_bytes), np.uint8)
    values = np.empty(dataset.rows, dtype)
    with closing(ShardedSource(shards, [name], retries=retries)) as source:
        for start in range(0, dataset.rows, at_once):
            rows = slab[: dataset.rows - start]
            source.read(name, [(start, start + len(rows))], [rows])
            typed = rows.view(dataset.dtype).reshape(len(rows), *dataset.row_shape)
            values[start : start + len(rows)] = value(typed)
    return values


def each_text(shards: Shards, name: str, *, retries: int = 3) -> NDArray[np.bytes_]:
    """All rows of a dataset of text of variable length, (rows,)."""
    dataset = shards.dataset(name)
    texts = np.empty((dataset.rows, *dataset.row_shape), object)
    with closing(ShardedSource(shards, [name], retries=retries)) as source:
        source.objects(name, [(0, dataset.rows)], texts)
    return texts.reshape(-1).astype("S")


def has_single(dataset: Dataset) -> bool:
    """Whether its rows are of one value each, as (n,), (n, 1) or (n, 1, 1, 1) are."""
    return math.prod(dataset.row_shape) == 1


def single(rows: NDArray[Any]) -> NDArray[Any]:
    """Rows of one value each as (n,)."""
    return rows.reshape(len(rows))


def _as_they_are(rows: NDArray[Any]) -> NDArray[Any]:
    return rows
