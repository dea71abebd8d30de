"""Datasets without a file, whose every element is the number of its row."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from prefetcher.hdf5.describe import Dataset
from prefetcher.order.plan import Run


class NumberedRows:
    """Every element of row i is i."""

    def __init__(self) -> None:
        self.reads: list[Run] = []
        self.expected: list[tuple[str, Run]] = []

    def expect(self, name: str, runs: Sequence[Run]) -> None:
        self.expected += [(name, run) for run in runs]

    def read(self, name: str, runs: Sequence[Run], out: Sequence[NDArray[np.uint8]]) -> None:
        self.reads += runs
        rows = np.concatenate([np.arange(*run) for run in runs])
        assert sum(map(len, out)) == len(rows)
        for array in out:
            array.view(np.int64)[:], rows = rows[: len(array), None], rows[len(array) :]


def dataset(name: str, width: int) -> Dataset:
    return Dataset(
        name=name,
        shape=(10**6, width),
        dtype=np.dtype(np.int64),
        layout="contiguous",
        storage_chunk=None,
        filters=(),
        stored_bytes=0,
        way="contiguous",
        why="",
    )
