"""Lanes in which each sample is one row.

- Large rows are *placed*: the reader puts each row straight into its batch's own buffer. One
  copy in all, and who keeps a batch keeps no more than that batch.
- Small rows are *gathered*: the reader fills one buffer in reading order, and the batcher takes
  a batch's rows out of it. A second copy, but one call for 32 rows instead of 32.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from prefetcher.hdf5.places import Wanted
from prefetcher.order.chunk import ChunkPlan, Part
from prefetcher.order.plan import Plan
from prefetcher.order.runs import Run, runs_of
from prefetcher.pipeline.buffers import Meter, Pool
from prefetcher.pipeline.lane import Arrays, Buffers, Bytes, Hold, Lane, Need, RowSource

Runs = Mapping[int, list[Run]]
"""The runs of rows of each part of a chunk, by the index at which the part begins."""

_WORDS = {1: np.uint8, 2: np.uint16, 4: np.uint32, 8: np.uint64}


class _RowLane(Lane[Runs]):
    """Each sample is one row."""

    def __init__(self, need: Need, plan: Plan, keep: int, meter: Meter) -> None:
        (view,) = need.views
        self.name = need.dataset.name
        self._plan = plan
        self._rows = need.rows
        self._ahead = view.span.ahead
        self.sample_bytes = need.dataset.row_bytes
        self.batches = Buffers(view, need.dataset, plan.largest_batch, keep, meter)

    def lay(self, chunk: ChunkPlan) -> Runs:
        if self._rows.is_identity and not self._ahead:
            return {part.start: part.runs for part in chunk.parts}
        rows = self._rows.rows(chunk.rows) + self._ahead
        return {part.start: runs_of(rows[part.start : part.stop]) for part in chunk.parts}

    def expect(self, laid: Runs, source: RowSource) -> None:
        source.expect(self.name, [run for runs in laid.values() for run in runs])

    def most_bytes(self, chunks: int, batches: int) -> int:
        samples = chunks * self._plan.largest_chunk + (batches + 1) * self._plan.largest_batch
        return samples * self.sample_bytes

    def drop(self) -> None:
        self.batches.pool.drop()


class GatheredLane(_RowLane):
    """Small rows.

    Args:
        need: The dataset, of which one view is wanted.
        plan: The order.
        chunks: Chunks that are in memory at once.
        batches: Batches that are outside of chunks at once.
        meter: Books what is allocated.
    """

    def __init__(self, need: Need, plan: Plan, chunks: int, batches: int, meter: Meter) -> None:
        super().__init__(need, plan, batches, meter)
        self._chunks = Pool(plan.largest_chunk * self.sample_bytes, chunks, meter)

    def room(self, rows: int, *, whole: bool) -> Bytes:
        """Memory for the rows of a chunk, or of a batch on its own."""
        nbytes = rows * self.sample_bytes
        memory = self._chunks.take()[:nbytes] if whole else np.empty(nbytes, np.uint8)
        return memory.reshape(rows, self.sample_bytes)

    def hold(self, chunk: ChunkPlan, laid: Runs, *, whole: bool) -> Hold:
        """Takes the memory of all rows."""
        return _Gathered(self, chunk, laid, self.room(len(chunk.rows), whole=whole))

    def drop(self) -> None:
        """Lets the free buffers go."""
        super().drop()
        self._chunks.drop()


class _Held:
    """A chunk of rows: when they are read, nothing is left to do."""

    def complete(self, part: Part, source: RowSource) -> None:
        """As `Hold`."""


class _Gathered(_Held):
    """Rows in reading order; batches are taken out of them."""

    def __init__(self, lane: GatheredLane, chunk: ChunkPlan, runs: Runs, rows: Bytes) -> None:
        self._lane = lane
        self._chunk = chunk
        self._runs = runs
        self._rows = rows

    def wanted(self, part: Part) -> Sequence[Wanted]:
        rows = self._rows[part.start : part.stop]
        return [Wanted(self._lane.name, self._runs[part.start], [rows])]

    def batch(self, index: int) -> Arrays:
        slots, batches = self._chunk.slots(index), self._lane.batches
        out = batches.take(len(slots))
        if batches.value_bytes in _WORDS:
            # np.take lets the GIL go for a microsecond's work, and then waits long to have it back.
            word = _WORDS[batches.value_bytes]
            out.view(word)[:, 0] = self._rows.view(word)[:, 0][slots]
        else:
            np.take(self._rows, slots, axis=0, out=out, mode="clip")
        return {batches.view: batches.typed(out)}


class PlacedLane(_RowLane):
    """Large rows. The arguments are those of `GatheredLane`."""

    def __init__(self, need: Need, plan: Plan, chunks: int, batches: int, meter: Meter) -> None:
        of_chunks = chunks * (plan.largest_chunk // plan.largest_batch)
        super().__init__(need, plan, of_chunks + batches, meter)

    def hold(self, chunk: ChunkPlan, laid: Runs, *, whole: bool) -> Hold:
        """Takes the memory of all batches."""
        del whole  # a batch on its own is a chunk of one batch
        return _Placed(self, chunk, laid)

    def batch_rows(self, rows: int) -> tuple[Bytes, list[Bytes]]:
        """A fresh batch buffer, and its rows (1, row_bytes) for as long as that is held."""
        block, places = self.batches.pool.take_rows(self.sample_bytes)
        return self.batches.cut(block, rows), places[:rows]


class _Placed(_Held):
    """A chunk as its batch buffers, whose rows are written to their places at once."""

    def __init__(self, lane: PlacedLane, chunk: ChunkPlan, runs: Runs) -> None:
        self._lane = lane
        self._chunk = chunk
        self._runs = runs
        rows, batch_size = len(chunk.rows), chunk.batch_size
        taken = [
            lane.batch_rows(min(batch_size, rows - start)) for start in range(0, rows, batch_size)
        ]
        self._batches = {index: batch for index, (batch, _) in enumerate(taken)}
        self._in_order = chunk.in_order
        if not self._in_order:
            places = [place for _, of_batch in taken for place in of_batch]
            slots = np.empty(rows, np.int64)
            slots[chunk.order] = np.arange(rows)
            self._places = [places[slot] for slot in slots.tolist()]

    def wanted(self, part: Part) -> Sequence[Wanted]:
        return [Wanted(self._lane.name, self._runs[part.start], self._destinations(part))]

    def batch(self, index: int) -> Arrays:
        if index not in self._batches:
            raise RuntimeError(f"batch {index} of this chunk was taken before")
        batches = self._lane.batches
        return {batches.view: batches.typed(self._batches.pop(index))}

    def _destinations(self, part: Part) -> list[Bytes]:
        if self._in_order:
            return list(self._stretches(part.start, part.stop))
        return self._places[part.start : part.stop]

    def _stretches(self, slot: int, stop: int) -> Iterator[Bytes]:
        """Rows that lie side by side in one batch, as one array."""
        while slot < stop:
            batch, row = divmod(slot, self._chunk.batch_size)
            count = min(self._chunk.batch_size - row, stop - slot)
            yield self._batches[batch][row : row + count]
            slot += count
