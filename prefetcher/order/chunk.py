"""How a chunk is read: its rows, cut into parts for several readers. Pure."""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import pairwise
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from prefetcher.order.permutation import inverse
from prefetcher.order.runs import Run, runs_from

MOST_READERS = 8
"""Readers among whom a chunk's reading is cut; more would gain nothing."""

_PARTS = 2 * MOST_READERS  # pieces of a chunk's reading: enough for all to end together


class Part(NamedTuple):
    """A piece of a chunk's reading that one reader does: reading indices `start` to `stop`."""

    start: int
    stop: int
    runs: list[Run]
    """The file rows that these reading indices stand for."""


class Edges(NamedTuple):
    """Where the reading of a chunk may be cut.

    Attributes:
        align: Rows in a storage chunk.
        pieces: Of several files: where the pieces begin that they are read in; None for a grid of
            storage chunks.
    """

    align: int
    pieces: NDArray[np.int64] | None = None

    def between(self, rows: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Whether an edge lies between each of some ascending rows and the next."""
        if self.pieces is None:
            numbers = rows // self.align
        else:
            numbers = np.searchsorted(self.pieces, rows, side="right")
        between: NDArray[np.bool_] = numbers[1:] != numbers[:-1]
        return between


@dataclass(frozen=True, slots=True, eq=False)
class ChunkPlan:
    """One chunk: what to read, and where each row goes.

    Attributes:
        number: The chunk's number, counted over all passes.
        rows: File row of each sample in reading order, int64 (size,). What leads comes first; it
            and what follows are ascending.
        order: Reading index of the sample in each slot, int64 (size,).
        batch_size: Slots in a batch: the first so many are the chunk's first batch.
        parts: Pieces that may be read side by side, in reading order. None ends inside a storage
            chunk that it could have kept whole.
        leading: What a leading batch needs are the reading indices below this; 0 if none leads.
    """

    number: int
    rows: NDArray[np.int64]
    order: NDArray[np.int64]
    batch_size: int
    parts: tuple[Part, ...]
    leading: int = 0

    @property
    def in_order(self) -> bool:
        """Whether the samples are read in the order in which they are handed out."""
        return bool((self.order[1:] > self.order[:-1]).all())

    def slots(self, index: int) -> NDArray[np.int64]:
        """Reading indices of the samples of one of the chunk's batches."""
        return self.order[index * self.batch_size : (index + 1) * self.batch_size]


def chunk_plan(number: int, given: NDArray[np.int64], batch_size: int, edges: Edges) -> ChunkPlan:
    """The chunk whose batches get the rows `given`, one after another.

    Args:
        number: The chunk's number, counted over all passes.
        given: File row of the sample in each slot, int64 (size,).
        batch_size: Slots in a batch.
        edges: Where the reading may be cut.
    """
    turn = np.argsort(given, kind="stable")
    rows = given[turn]
    return ChunkPlan(number, rows, inverse(turn), batch_size, parts_of(rows, edges))


def led(chunk: ChunkPlan, lead: int, edges: Edges, *, is_last: bool) -> ChunkPlan:
    """The same chunk, with the storage chunks that batch `lead` is drawn from read first.

    Args:
        chunk: A chunk.
        lead: Index of the batch that a run begins with.
        edges: Where the reading may be cut.
        is_last: That batch is the chunk's last, so that no other storage chunk is read.
    """
    storage_chunks = chunk.rows // edges.align
    first = np.isin(storage_chunks, storage_chunks[chunk.slots(lead)])
    turn = np.argsort(~first, kind="stable")
    rows, leading = chunk.rows[turn], int(np.count_nonzero(first))
    order = inverse(turn)[chunk.order]
    ahead = replace(chunk, rows=rows, order=order, parts=parts_of(rows[:leading], edges))
    if is_last:
        return ahead
    rest = parts_of(rows[leading:], edges, leading) if leading < len(rows) else ()
    return replace(ahead, parts=ahead.parts + rest, leading=leading)


def parts_of(rows: NDArray[np.int64], cut_at: Edges, at: int = 0) -> tuple[Part, ...]:
    """Cuts the reading of these rows into pieces; `at` is the first one's reading index.

    The cuts are at edges of storage chunks or files, and of runs if there are enough.
    """
    breaks = np.diff(rows) != 1
    edges = cut_at.between(rows)
    between_runs = edges & breaks
    enough = np.count_nonzero(between_runs) >= _PARTS
    ends = np.flatnonzero(between_runs if enough else edges) + 1
    nearest = np.searchsorted(ends, np.arange(1, _PARTS) * len(rows) // _PARTS)
    cuts = np.unique(ends[nearest[nearest < len(ends)]])
    breaks[cuts - 1] = True
    starts = np.append(0, np.flatnonzero(breaks) + 1)
    runs = runs_from(rows, starts)
    bounds = [0, *cuts.tolist(), len(rows)]
    of_runs = np.searchsorted(starts, bounds).tolist()
    return tuple(
        Part(at + start, at + stop, runs[first:last])
        for (start, stop), (first, last) in zip(pairwise(bounds), pairwise(of_runs), strict=True)
    )
