"""A chunk in memory: how rows get from the file to their places in batches.

There are two ways to shuffle, and a column takes the cheaper one:

- large rows are *placed*: the reader puts each row straight into its batch's own buffer. One
  copy in all, and who keeps a batch keeps no more than that batch.
- small rows are *gathered*: the reader fills one buffer in reading order, and the batcher takes
  a batch's rows out of it. A second copy, but one call for 32 rows instead of 32.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from prefetcher.hdf5.describe import Dataset
from prefetcher.order.plan import ChunkPlan, Part, Plan, Run, runs_of
from prefetcher.pipeline.buffers import Meter, Pool

Bytes = NDArray[np.uint8]

_WORDS = {1: np.uint8, 2: np.uint16, 4: np.uint32, 8: np.uint64}
_PLACED_ROW_BYTES = 6 << 10  # measured: below this, a second copy costs less than a call per row


class RowSource(Protocol):
    """What a chunk is read from. Any number of threads at once."""

    def expect(self, name: str, runs: Sequence[Run]) -> None:
        """Has the system fetch what will be read soon. Never fails."""

    def read(self, name: str, runs: Sequence[Run], out: Sequence[Bytes]) -> None:
        """Reads runs of rows into `out`, arrays (k, row_bytes) that follow each other."""


@dataclass(frozen=True)
class Column:
    """One dataset's share of the buffers.

    Attributes:
        dataset: Name, dtype and row shape.
        batches: Blocks of one batch each.
        chunks: Blocks of one chunk each, for gathered columns only.
    """

    dataset: Dataset
    batches: Pool
    chunks: Pool | None

    @cached_property
    def row_bytes(self) -> int:
        """Bytes of one row."""
        return self.dataset.row_bytes

    def batch(self, rows: int) -> Bytes:
        """A fresh batch buffer (rows, row_bytes)."""
        return self._cut(self.batches.take(), rows)

    def batch_rows(self, rows: int) -> tuple[Bytes, list[Bytes]]:
        """A fresh batch buffer, and its rows (1, row_bytes) for as long as that is held."""
        block, places = self.batches.take_rows(self.row_bytes)
        return self._cut(block, rows), places[:rows]

    def _cut(self, block: Bytes, rows: int) -> Bytes:
        return block[: rows * self.row_bytes].reshape(rows, self.row_bytes)

    def typed(self, batch: Bytes) -> NDArray[Any]:
        """The same memory with the dataset's dtype and shape (rows, ...)."""
        return batch.view(self.dataset.dtype).reshape(len(batch), *self.dataset.row_shape)

    def drop(self) -> None:
        """Lets the free buffers go."""
        self.batches.drop()
        if self.chunks is not None:
            self.chunks.drop()


def is_placed(dataset: Dataset) -> bool:
    """Whether this dataset's rows go straight to their batches."""
    return dataset.row_bytes >= _PLACED_ROW_BYTES


def columns(
    datasets: Sequence[Dataset], plan: Plan, chunks: int, batches: int, meter: Meter
) -> tuple[Column, ...]:
    """The buffers of a pipeline that has at most this many chunks and loose batches at once."""

    def column(dataset: Dataset) -> Column:
        batch_bytes = plan.largest_batch * dataset.row_bytes
        if is_placed(dataset):
            keep = chunks * (plan.largest_chunk // plan.largest_batch) + batches
            return Column(dataset, Pool(batch_bytes, keep, meter), None)
        chunk_bytes = plan.largest_chunk * dataset.row_bytes
        return Column(dataset, Pool(batch_bytes, batches, meter), Pool(chunk_bytes, chunks, meter))

    return tuple(column(dataset) for dataset in datasets)


def bytes_needed(datasets: Sequence[Dataset], plan: Plan, chunks: int, batches: int) -> int:
    """The most that `columns` of the same arguments hold while callers let their batches go."""
    row_bytes = sum(dataset.row_bytes for dataset in datasets)
    return (chunks * plan.largest_chunk + batches * plan.largest_batch) * row_bytes


class Done(NamedTuple):
    """What became complete: all that the leading batch needs, or the whole chunk."""

    lead: bool
    chunk: bool


class Chunk:
    """One chunk while it is read by readers and emptied by batchers.

    A part is written by one reader, a batch is taken by one batcher, and no batch is taken before
    all parts are done that it is drawn from: so every row has one owner at a time.

    Args:
        plan: Which rows, and where each goes.
        columns: The buffers that it takes its memory from.
        wanted: Batches that will be taken out of it.
    """

    def __init__(self, plan: ChunkPlan, columns: Sequence[Column], wanted: int) -> None:
        self.plan = plan
        self._columns = columns
        self._lock = threading.Lock()
        self._wanted = wanted
        self._leading_left = plan.leading
        self._left = plan.parts[-1].stop
        self._holds: dict[str, _Gathered | _Placed] | None = None

    @property
    def number(self) -> int:
        """The chunk's number, counted over all passes."""
        return self.plan.number

    def expect(self, source: RowSource) -> None:
        """Has the system fetch all of it, before the first part is read."""
        runs = [run for part in self.plan.parts for run in part.runs]
        for column in self._columns:
            source.expect(column.dataset.name, runs)

    def read(self, part: Part, source: RowSource) -> Done:
        """Reads one part of every column, and tells what is complete with it."""
        self._fill(part, source)  # on its own, so that no name here holds memory that it counts out
        samples, leads = part.stop - part.start, self.leads(part)
        with self._lock:
            self._left -= samples
            self._leading_left -= samples if leads else 0
            return Done(lead=leads and not self._leading_left, chunk=not self._left)

    def _fill(self, part: Part, source: RowSource) -> None:
        for name, hold in self._allocated().items():
            source.read(name, part.runs, hold.destinations(part.start, part.stop))

    def leads(self, part: Part) -> bool:
        """Whether the leading batch may need this part."""
        return part.start < self.plan.leading

    def batch(self, index: int) -> dict[str, NDArray[Any]]:
        """The arrays of one batch, by dataset. Each batch may be asked for once, then `taken`."""
        return {
            name: hold.column.typed(hold.batch(index)) for name, hold in self._allocated().items()
        }

    def taken(self) -> bool:
        """One more batch is out. Whether it was the last, which gives the memory back.

        It does so whoever has the chunk: the reader that handed it on may not have let go of it.
        """
        with self._lock:
            self._wanted -= 1
            if not self._wanted:
                self._holds = None
            return not self._wanted

    def _allocated(self) -> Mapping[str, _Gathered | _Placed]:
        """The buffers; taken by whoever comes first, so that a planned chunk holds no memory."""
        with self._lock:
            if self._holds is None:
                self._holds = {column.dataset.name: self._hold(column) for column in self._columns}
            return self._holds

    def _hold(self, column: Column) -> _Gathered | _Placed:
        if column.chunks is not None:
            return _Gathered(column, column.chunks, self.plan)
        return _Placed(column, self.plan)


class _Gathered:
    """A column in reading order; batches are taken out of it."""

    def __init__(self, column: Column, chunks: Pool, chunk: ChunkPlan) -> None:
        self.column = column
        self._chunk = chunk
        rows, row_bytes = len(chunk.rows), column.row_bytes
        self._rows = chunks.take()[: rows * row_bytes].reshape(rows, row_bytes)

    def destinations(self, start: int, stop: int) -> list[Bytes]:
        return [self._rows[start:stop]]

    def batch(self, index: int) -> Bytes:
        slots = self._chunk.slots(index)
        out = self.column.batch(len(slots))
        row_bytes = self.column.row_bytes
        if row_bytes in _WORDS:
            # np.take lets the GIL go for a microsecond's work, and then waits long to have it back.
            word = _WORDS[row_bytes]
            out.view(word)[:, 0] = self._rows.view(word)[:, 0][slots]
            return out
        return np.take(self._rows, slots, axis=0, out=out, mode="clip")


class _Placed:
    """A column as its batch buffers, whose rows are written to their places at once."""

    def __init__(self, column: Column, chunk: ChunkPlan) -> None:
        self.column = column
        rows, batch_size = len(chunk.rows), chunk.batch_size
        taken = [
            column.batch_rows(min(batch_size, rows - start)) for start in range(0, rows, batch_size)
        ]
        self._batches = {index: batch for index, (batch, _) in enumerate(taken)}
        self._batch_size = batch_size
        self._in_order = chunk.in_order
        if not self._in_order:
            places = [place for _, of_batch in taken for place in of_batch]
            slots = np.empty(rows, np.int64)
            slots[chunk.order] = np.arange(rows)
            self._places = [places[slot] for slot in slots.tolist()]

    def destinations(self, start: int, stop: int) -> list[Bytes]:
        if self._in_order:
            return list(self._stretches(start, stop))
        return self._places[start:stop]

    def batch(self, index: int) -> Bytes:
        if index not in self._batches:
            raise RuntimeError(f"batch {index} of this chunk was taken before")
        return self._batches.pop(index)

    def _stretches(self, slot: int, stop: int) -> Iterator[Bytes]:
        """Rows that lie side by side in one batch, as one array."""
        while slot < stop:
            batch, row = divmod(slot, self._batch_size)
            count = min(self._batch_size - row, stop - slot)
            yield self._batches[batch][row : row + count]
            slot += count


def read_batch(
    chunk: ChunkPlan, index: int, columns: Sequence[Column], source: RowSource
) -> dict[str, NDArray[Any]]:
    """Reads one batch of a chunk on its own, each run of neighbouring rows at once."""
    slots = chunk.slots(index)
    turn = np.argsort(slots)
    runs = runs_of(chunk.rows[slots[turn]])
    arrays = {}
    for column in columns:
        out = column.batch(len(slots))
        source.read(column.dataset.name, runs, [out[row : row + 1] for row in turn.tolist()])
        arrays[column.dataset.name] = column.typed(out)
    return arrays
