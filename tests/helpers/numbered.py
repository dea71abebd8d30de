"""Datasets without a file, whose every element is the number of its row."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from prefetcher.columns.column import Span, View
from prefetcher.columns.rowmap import RowMap
from prefetcher.hdf5.dataset import Dataset
from prefetcher.hdf5.places import Wanted
from prefetcher.order.plan import Plan
from prefetcher.order.runs import Run
from prefetcher.pipeline.buffers import Meter
from prefetcher.pipeline.lane import Lane, Need
from prefetcher.pipeline.lanes import lanes


class NumberedRows:
    """Every element of row i is i."""

    def __init__(self) -> None:
        self.reads: list[Run] = []
        self.expected: list[tuple[str, Run]] = []

    def expect(self, name: str, runs: Sequence[Run]) -> None:
        self.expected += [(name, run) for run in runs]

    def read_all(self, wanted: Sequence[Wanted]) -> None:
        for _, runs, out in wanted:
            self._read(runs, out)

    def _read(self, runs: Sequence[Run], out: Sequence[NDArray[np.uint8]]) -> None:
        self.reads += runs
        rows = np.concatenate([np.arange(*run) for run in runs])
        assert sum(map(len, out)) == len(rows)
        for array in out:
            array.view(np.int64)[:], rows = rows[: len(array), None], rows[len(array) :]

    def objects(
        self, name: str, runs: Sequence[Run], out: NDArray[np.object_], most: int | None = None
    ) -> None:
        """Row i has i % 7 elements, at most `most` of them."""
        self.reads += runs
        rows = [row for run in runs for row in range(*run)]
        assert len(out) == len(rows)
        for at, row in enumerate(rows):
            out[at] = np.full(row % 7, row)[:most]


ROWS = 10**6


def need(of: Dataset, *spans: Span) -> Need:
    """Samples that stand at the rows of their number, one row each if no span is given."""
    views = tuple(View(of.name, span) for span in spans or (Span(),))
    return Need(of, views, RowMap([ROWS], [ROWS], [0], views[0].span.stride))


def lanes_of(
    datasets: Sequence[Dataset], plan: Plan, chunks: int, batches: int, meter: Meter
) -> tuple[Lane[Any], ...]:
    """The lanes of datasets without columns."""
    return lanes([need(each) for each in datasets], {}, plan, chunks, batches, meter)


def dataset(name: str, width: int) -> Dataset:
    """One of a million rows of so many numbers."""
    return Dataset(
        name=name,
        shape=(ROWS, width),
        dtype=np.dtype(np.int64),
        layout="contiguous",
        storage_chunk=None,
        filters=(),
        stored_bytes=0,
        way="contiguous",
        why="",
    )
