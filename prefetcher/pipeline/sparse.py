"""The lane of sparse rows: sparse in chunks, dense in batches.

A chunk holds the elements of its rows, in the order of reading, and each row once as the lane of
windows does. A batch is filled with zeros, and then with the elements of its samples.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from prefetcher.errors import CorruptError
from prefetcher.hdf5.dataset import Csr
from prefetcher.hdf5.elements import Between, Elements
from prefetcher.hdf5.places import Wanted
from prefetcher.order.chunk import ChunkPlan, Part
from prefetcher.order.plan import Plan
from prefetcher.order.runs import Run
from prefetcher.pipeline.buffers import Meter, Pool
from prefetcher.pipeline.lane import Arrays, Buffers, Bytes, Hold, Lane, Need, RowSource
from prefetcher.pipeline.windows import Layout, Numbers, laid_out, most_rows, reach

_AT_ONCE = 1 << 20  # samples that are looked at together, so that little memory is taken
_LONG_ROW = 200  # elements: from here on a slice for each row is faster than one call for all


class SparseLane(Lane["Laid"]):
    """Sparse rows.

    Args:
        need: The group, its views, and where the elements of its rows lie.
        plan: The order.
        chunks: Chunks that are in memory at once.
        batches: Batches that are outside of chunks at once.
        meter: Books what is allocated.
    """

    def __init__(self, need: Need, plan: Plan, chunks: int, batches: int, meter: Meter) -> None:
        if need.dataset.csr is None or need.elements is None:
            raise TypeError(f"{need.dataset.name} has no sparse rows")
        self.csr: Csr = need.dataset.csr
        self.elements: Elements = need.elements
        self.columns = need.dataset.row_shape[0]
        self._rows = need.rows
        self._spans = [view.span for view in need.views]
        self._element_bytes = sum(part.row_bytes for part in need.dataset.parts)
        self._most, self._alone = (
            self.elements.once(
                (samples, plan.largest_batch, plan.block_size, id(plan.samples)),
                partial(most_elements, plan, need, self.elements, samples),
            )
            for samples in (plan.largest_chunk, plan.largest_batch)
        )
        self.sample_bytes = need.dataset.row_bytes
        most = plan.largest_batch
        self.batches = [Buffers(view, need.dataset, most, batches, meter) for view in need.views]
        self._chunks = Pool(self._most * self._element_bytes, chunks, meter)

    def lay(self, chunk: ChunkPlan) -> Laid:
        """The rows of a chunk, each once, and where their elements lie."""
        layout = laid_out(chunk, self._rows, self._spans)
        rows = np.concatenate([np.arange(start, stop) for start, stop in layout.runs])
        return Laid(layout, rows, self.elements.of(rows))

    def expect(self, laid: Laid, source: RowSource) -> None:
        """Has the system fetch the elements of a chunk."""
        runs = _runs(laid.found.begin, laid.found.stop)
        source.expect(self.csr.data.name, runs)
        source.expect(self.csr.indices.name, runs)

    def hold(self, chunk: ChunkPlan, laid: Laid, *, whole: bool) -> Hold:
        """Takes the memory of all elements."""
        return _Held(self, chunk, laid, whole=whole)

    def room(self, count: int, *, whole: bool) -> Bytes:
        """Memory for so many elements of a chunk, or of a batch on its own."""
        nbytes = count * self._element_bytes
        return self._chunks.take()[:nbytes] if whole else np.empty(nbytes, np.uint8)

    def most_bytes(self, chunks: int, batches: int) -> int:
        """The elements of chunks and of a batch on its own, dense batches, and what is known."""
        dense = sum(each.nbytes for each in self.batches)
        held = (chunks * self._most + self._alone) * self._element_bytes
        return held + (batches + 1) * dense + self.elements.nbytes

    def drop(self) -> None:
        """Lets the free buffers go."""
        self._chunks.drop()
        for each in self.batches:
            each.pool.drop()


class Laid(NamedTuple):
    """The rows of a chunk, and their elements.

    Attributes:
        layout: Which rows.
        rows: The same one by one, in the order of reading.
        found: Where their elements lie.
    """

    layout: Layout
    rows: Numbers
    found: Between


class _Held:
    """The elements of a chunk; batches are made dense out of them."""

    def __init__(self, lane: SparseLane, chunk: ChunkPlan, laid: Laid, *, whole: bool) -> None:
        self._lane = lane
        self._chunk = chunk
        self._layout, self._rows, self._found = laid
        counts = self._found.stop - self._found.begin
        self._ends = np.cumsum(counts)
        self._starts = self._ends - counts
        self._fill_arrays(lane.room(int(self._ends[-1]), whole=whole))
        self._ascending = True

    def _fill_arrays(self, memory: Bytes) -> None:
        """Cuts the memory in two. What is wider comes first, so that both are aligned."""
        data, indices = self._lane.csr.data, self._lane.csr.indices
        wide, narrow = sorted((data, indices), key=lambda part: -part.row_bytes)
        cut = int(self._ends[-1]) * wide.row_bytes
        arrays = {
            wide.name: memory[:cut].view(wide.dtype),
            narrow.name: memory[cut:].view(narrow.dtype),
        }
        self._data, self._indices = arrays[data.name], arrays[indices.name]

    def wanted(self, part: Part) -> Sequence[Wanted]:
        start, stop, some = self._layout.parts[part.start]
        if not some:
            return ()
        runs = _runs(self._found.begin[start:stop], self._found.stop[start:stop])
        if not runs:
            return ()
        first, last = self._bounds(start, stop)
        csr = self._lane.csr
        return [
            Wanted(
                dataset.name,
                runs,
                [array[first:last].view(np.uint8).reshape(last - first, dataset.row_bytes)],
            )
            for dataset, array in ((csr.data, self._data), (csr.indices, self._indices))
        ]

    def complete(self, part: Part, source: RowSource) -> None:
        """Looks at the columns that were read."""
        del source
        start, stop, some = self._layout.parts[part.start]
        if not some:
            return
        first, last = self._bounds(start, stop)
        if first < last:
            self._check(first, last, self._starts[start:stop] - first)

    def _bounds(self, start: int, stop: int) -> tuple[int, int]:
        """The first element of some rows that are held, and one past the last."""
        return int(self._starts[start]), int(self._ends[stop - 1])

    def _check(self, first: int, last: int, starts: Numbers) -> None:
        """Damage must never put an element into another row, or beyond the memory of a batch."""
        indices = self._indices[first:last]
        # A negative number is a large one without its sign.
        unsigned = indices.view(indices.dtype.str.replace("i", "u"))
        if int(unsigned.max()) >= self._lane.columns:
            at = int(np.argmax(unsigned >= self._lane.columns))
            row = int(self._rows[np.searchsorted(self._ends, first + at, side="right")])
            raise CorruptError(
                f"{self._lane.elements.where(row)} are damaged: {self._lane.csr.indices.name} "
                f"holds {indices[at]}, and there are columns 0 to {self._lane.columns - 1}; copy "
                "or write the file again"
            )
        falls = indices[1:] <= indices[:-1]
        inner = starts[(starts > 0) & (starts < len(indices))]
        falls[inner - 1] = False
        if falls.any():
            self._ascending = False  # a column may come twice in a row

    def batch(self, index: int) -> Arrays:
        slots = self._chunk.slots(index)
        return {each.view: self._dense(each, slots) for each in self._lane.batches}

    def _dense(self, batches: Buffers, slots: NDArray[np.int64]) -> NDArray[Any]:
        memory, held = batches.take(len(slots)), self._held(batches, slots)
        memory.fill(0)
        out: NDArray[Any] = batches.typed(memory)
        starts, ends = self._starts[held], self._ends[held]
        flat = out.reshape(-1)
        if not self._ascending:
            self._add(flat, starts, ends)
        elif int((ends - starts).sum()) < _LONG_ROW * len(held):
            self._scatter(flat, starts, ends)
        else:
            self._scatter_long(flat, starts, ends)
        return out

    def _held(self, batches: Buffers, slots: NDArray[np.int64]) -> Numbers:
        """Which of the rows that are held each row of the samples is."""
        layout, span = self._layout, batches.view.span
        begin: Numbers = layout.at[slots] + span.ahead
        if span.length is None:
            return begin
        low, high = layout.low[slots, None], layout.high[slots, None]
        held: Numbers = np.clip(begin[:, None] + np.arange(span.rows), low, high - 1)
        return held.reshape(-1)

    def _scatter(self, out: NDArray[Any], starts: Numbers, ends: Numbers) -> None:
        """All rows at once: few calls for many short rows."""
        counts = ends - starts
        upto = np.cumsum(counts)
        at = np.repeat(starts - (upto - counts), counts)
        at += np.arange(len(at))
        places = np.repeat(np.arange(0, len(out), self._lane.columns), counts)
        places += self._indices[at]
        out[places] = self._data[at]

    def _scatter_long(self, out: NDArray[Any], starts: Numbers, ends: Numbers) -> None:
        """Row by row: no element is copied on its way."""
        columns = self._lane.columns
        pairs = list(zip(starts.tolist(), ends.tolist(), strict=True))
        places = np.concatenate([self._indices[start:end] for start, end in pairs], dtype=np.int64)
        places += np.repeat(np.arange(0, len(out), columns), ends - starts)
        out[places] = np.concatenate([self._data[start:end] for start, end in pairs])

    def _add(self, out: NDArray[Any], starts: Numbers, ends: Numbers) -> None:
        """Rows whose columns may come twice."""
        columns = self._lane.columns
        for row, (start, end) in enumerate(zip(starts.tolist(), ends.tolist(), strict=True)):
            own = out[row * columns : (row + 1) * columns]
            np.add.at(own, self._indices[start:end], self._data[start:end].astype(out.dtype))


def most_elements(plan: Plan, need: Need, elements: Elements, samples: int) -> int:
    """The most elements that so many samples hold: those of a chunk, or of a batch.

    Those of the samples that have most of them; for windows, which share rows, no more than so
    many of the largest rows.
    """
    spans = [view.span for view in need.views]
    begin, end = reach(spans)
    most: Numbers = np.zeros(0, np.int64)
    for start in range(0, len(plan.samples), _AT_ONCE):
        numbers = np.asarray(plan.samples[start : start + _AT_ONCE], np.int64)
        low, high = need.rows.bounds(numbers)
        stands = need.rows.rows(numbers)
        first = np.clip(stands + begin, low, high - 1)
        last = np.clip(stands + end, low + 1, high)
        counts = elements.of(last - 1).stop - elements.of(first).begin
        most = _largest(np.concatenate([most, counts]), samples)
    if end - begin == 1:
        return int(most.sum())
    rows = min(most_rows(plan, spans, need.files), samples * (end - begin))
    return min(int(most.sum()), rows * elements.longest)


def _largest(counts: Numbers, number: int) -> Numbers:
    """The largest ones."""
    if number < len(counts):
        counts = np.partition(counts, len(counts) - number)[len(counts) - number :]
    return counts


def _runs(begin: Numbers, stop: Numbers) -> Sequence[Run]:
    """Elements that lie side by side, as runs."""
    some = stop > begin
    begin, stop = begin[some], stop[some]
    if not len(begin):
        return []
    breaks = np.flatnonzero(begin[1:] != stop[:-1]) + 1
    firsts, lasts = begin[np.append(0, breaks)], stop[np.append(breaks, len(stop)) - 1]
    return list(zip(firsts.tolist(), lasts.tolist(), strict=True))
