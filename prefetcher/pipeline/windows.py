"""The lane in which a sample is several rows, which it shares with its neighbours.

The rows that a chunk needs are laid out so that each is read and held once, in the order of
reading. A batch takes the windows of its samples out of them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from prefetcher.columns.column import Span
from prefetcher.columns.rowmap import RowMap
from prefetcher.hdf5.places import Wanted
from prefetcher.order.chunk import ChunkPlan, Part
from prefetcher.order.plan import Plan
from prefetcher.order.runs import Run
from prefetcher.pipeline.buffers import Meter, Pool
from prefetcher.pipeline.lane import Arrays, Buffers, Bytes, Hold, Lane, Need, RowSource

Numbers = NDArray[np.int64]


class WindowLane(Lane["Layout"]):
    """Windows, or several views of one dataset.

    Args:
        need: The dataset and its views.
        plan: The order.
        chunks: Chunks that are in memory at once.
        batches: Batches that are outside of chunks at once.
        meter: Books what is allocated.
    """

    def __init__(self, need: Need, plan: Plan, chunks: int, batches: int, meter: Meter) -> None:
        dataset, most = need.dataset, plan.largest_batch
        self.name = dataset.name
        self._row_bytes = dataset.row_bytes
        self._rows = need.rows
        self._spans = [view.span for view in need.views]
        self._most = most_rows(plan, self._spans, need.files)
        self.sample_bytes = self._most * self._row_bytes // plan.largest_chunk
        self.batches = [Buffers(view, dataset, most, batches, meter) for view in need.views]
        self._chunks = Pool(self._most * self._row_bytes, chunks, meter)

    def lay(self, chunk: ChunkPlan) -> Layout:
        """The rows of all windows, each once."""
        return laid_out(chunk, self._rows, self._spans)

    def expect(self, laid: Layout, source: RowSource) -> None:
        """Has the system fetch the rows of a chunk."""
        source.expect(self.name, laid.runs)

    def hold(self, chunk: ChunkPlan, laid: Layout, *, whole: bool) -> Hold:
        """Takes the memory of all rows."""
        nbytes = laid.count * self._row_bytes
        memory = self._chunks.take()[:nbytes] if whole else np.empty(nbytes, np.uint8)
        return _Windowed(self, chunk, laid, memory.reshape(laid.count, self._row_bytes))

    def most_bytes(self, chunks: int, batches: int) -> int:
        """The rows of chunks, and the windows of batches."""
        alone = sum(each.nbytes for each in self.batches)  # no more rows than its windows have
        return chunks * self._most * self._row_bytes + (batches + 1) * alone

    def drop(self) -> None:
        """Lets the free buffers go."""
        self._chunks.drop()
        for each in self.batches:
            each.pool.drop()


class _Windowed:
    """The rows of a chunk, each once; batches take the windows of their samples."""

    def __init__(self, lane: WindowLane, chunk: ChunkPlan, layout: Layout, rows: Bytes) -> None:
        self._lane = lane
        self._chunk = chunk
        self._layout = layout
        self._rows = rows

    def wanted(self, part: Part) -> Sequence[Wanted]:
        start, stop, runs = self._layout.parts[part.start]
        return [Wanted(self._lane.name, runs, [self._rows[start:stop]])] if runs else ()

    def complete(self, part: Part, source: RowSource) -> None:
        """Nothing is left to do."""

    def batch(self, index: int) -> Arrays:
        slots = self._chunk.slots(index)
        return {each.view: each.typed(self._cut(each, slots)) for each in self._lane.batches}

    def _cut(self, batches: Buffers, slots: NDArray[np.int64]) -> Bytes:
        out, span = batches.take(len(slots)), batches.view.span
        layout, rows = self._layout, self._rows
        begin = layout.at[slots] + span.ahead
        low, high = layout.low[slots], layout.high[slots]
        inside = (begin >= low) & (begin + span.rows <= high)
        # A slice for each sample: for long windows faster than one call with all the rows.
        whole = out.reshape(len(slots), span.rows, rows.shape[1])
        for at, (first, fits) in enumerate(zip(begin.tolist(), inside.tolist(), strict=True)):
            if fits:
                whole[at] = rows[first : first + span.rows]
            else:
                wanted = np.arange(first, first + span.rows)
                whole[at] = rows[np.clip(wanted, low[at], high[at] - 1)]
        return out


class Rows(NamedTuple):
    """The rows of one part of a chunk: where they are read to, and which they are."""

    start: int
    stop: int
    runs: list[Run]


@dataclass(frozen=True, slots=True)
class Layout:
    """The rows of a chunk whose samples share some.

    Attributes:
        count: Rows that are held.
        parts: Which of them each part reads, by the index at which it begins.
        at: Where each sample stands among the rows that are held, by reading index; outside of
            them where a window does not begin at the sample itself.
        low: The first row that a sample may use, by reading index.
        high: One past the last.
    """

    count: int
    parts: Mapping[int, Rows]
    at: Numbers
    low: Numbers
    high: Numbers

    @property
    def runs(self) -> list[Run]:
        """All that is read, in the order of reading."""
        return [run for rows in self.parts.values() for run in rows.runs]


def reach(spans: Sequence[Span]) -> tuple[int, int]:
    """The first row that a sample needs, and one past the last, from where it stands."""
    return min(span.ahead for span in spans), max(span.stop for span in spans)


def laid_out(chunk: ChunkPlan, rows: RowMap, spans: Sequence[Span]) -> Layout:
    """Lays out the rows that the samples of a chunk need.

    In the order of reading, each sample adds the rows that the one before it does not have. What
    leads begins anew, so that the leading batch waits for its own parts alone.
    """
    begin, end = reach(spans)
    stands = rows.rows(chunk.rows)
    low, high = rows.bounds(chunk.rows)
    first = np.clip(stands + begin, low, high - 1)
    last = np.clip(stands + end, low + 1, high)
    shared = np.empty_like(first)
    shared[0] = first[0]
    # At a padded end, a sample that stands before another may begin at the same row.
    onward = (first[1:] >= first[:-1]) & (last[1:] >= last[:-1])
    shared[1:] = np.where(onward, last[:-1], first[1:])
    if chunk.leading and chunk.leading < len(first):
        shared[chunk.leading] = first[chunk.leading]
    start = np.maximum(first, shared)
    ends = np.cumsum(last - start)
    at = ends - (last - stands)
    parts = {
        part.start: _rows(part, start, last, ends, int(ends[part.start - 1]) if part.start else 0)
        for part in chunk.parts
    }
    return Layout(int(ends[-1]), parts, at, at + (first - stands), at + (last - stands))


def _rows(part: Part, start: Numbers, last: Numbers, ends: Numbers, at: int) -> Rows:
    begin, stop = start[part.start : part.stop], last[part.start : part.stop]
    some = stop > begin
    begin, stop = begin[some], stop[some]
    breaks = np.flatnonzero(begin[1:] != stop[:-1]) + 1
    firsts = begin[np.append(0, breaks)] if len(begin) else begin
    lasts = stop[np.append(breaks, len(stop)) - 1] if len(stop) else stop
    runs = list(zip(firsts.tolist(), lasts.tolist(), strict=True))
    return Rows(at, int(ends[part.stop - 1]), runs)


def most_rows(plan: Plan, spans: Sequence[Span], files: int) -> int:
    """The most rows that a chunk of samples needs of a dataset.

    Neighbouring samples add a stride each, and one that begins a run adds all of its rows. Runs
    are the blocks of a chunk, those at the ends of a pass included. Each sample of a leading batch,
    each end of a file and each gap in the samples cuts one in two or three; so does sharing them.
    """
    begin, end = reach(spans)
    samples, width = plan.largest_chunk, end - begin
    stride = min(spans[0].stride, width)
    cuts = 2 * plan.largest_batch + files + _gaps(plan) + _cuts(plan)
    blocks = -(-samples // plan.block_size)
    if plan.files is not None:  # blocks are pieces, a quarter shorter at most but for a file's last
        blocks = -(-4 * samples // (3 * plan.block_size))
        cuts += len(plan.files) if len(plan.files) != files else 0
    runs = blocks + 2 + cuts
    return min(samples * width, samples * stride + runs * (width - stride))


def _cuts(plan: Plan) -> int:
    """Cuts that sharing a chunk makes: the ends of a share, or of its slots of each batch."""
    if plan.shard.count == 1:
        return 0
    return 2 if plan.shuffle else plan.batches_per_chunk


def _gaps(plan: Plan) -> int:
    """Samples that are not followed by their neighbour."""
    samples = plan.samples
    if plan.weights is not None or (isinstance(samples, range) and samples.step != 1):
        return len(samples)
    if isinstance(samples, range):
        return 0
    in_order = np.sort(samples) if plan.shuffle else samples
    return int(np.count_nonzero((np.diff(in_order) != 1) & (np.diff(in_order) != 0)))
