"""One value for each row of a dataset, all read at once: classes, or weights."""

from __future__ import annotations

import math
from collections.abc import Callable
from contextlib import closing
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from prefetcher.hdf5.dataset import Dataset
from prefetcher.hdf5.sharded import ShardedSource
from prefetcher.hdf5.shards import Shards

CLASS_KINDS = "biufSU"
"""Kinds of dtype that numpy can sort, so that their distinct values are classes."""

_BYTES_AT_ONCE = 64 << 20


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
