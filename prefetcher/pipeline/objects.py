"""The lane of rows of variable length, which are Python objects.

They are held as the windows' rows are: each once, in the order of reading. A batch takes them by
index, and copies nothing.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from prefetcher.columns.column import Span
from prefetcher.hdf5.places import Wanted
from prefetcher.order.chunk import ChunkPlan, Part
from prefetcher.order.plan import Plan
from prefetcher.pipeline.lane import Arrays, Hold, Lane, Need, RowSource
from prefetcher.pipeline.windows import Layout, laid_out, most_rows


class ObjectLane(Lane[Layout]):
    """Rows of variable length, one or several of them for each sample.

    Args:
        need: The dataset and its views.
        plan: The order.
    """

    def __init__(self, need: Need, plan: Plan) -> None:
        self.need = need
        self.spans = [view.span for view in need.views]
        self._most = most_rows(plan, self.spans, need.files)
        self._batch_rows = plan.largest_batch * sum(span.rows for span in self.spans)
        self.sample_bytes = self._most * need.row_bytes // plan.largest_chunk

    def lay(self, chunk: ChunkPlan) -> Layout:
        """The rows of a chunk, each once."""
        return laid_out(chunk, self.need.rows, self.spans)

    def expect(self, laid: Layout, source: RowSource) -> None:
        """Nothing: HDF5 alone knows where they lie."""

    def hold(self, chunk: ChunkPlan, laid: Layout, *, whole: bool) -> Hold:
        """Takes no memory yet but for references."""
        del whole
        return _Objects(self, chunk, laid)

    def most_bytes(self, chunks: int, batches: int) -> int:
        """For rows that are as long as the file's average, or as what is needed of each."""
        return (chunks * self._most + (batches + 1) * self._batch_rows) * self.need.row_bytes

    def drop(self) -> None:
        """There are no buffers."""


class _Objects:
    def __init__(self, lane: ObjectLane, chunk: ChunkPlan, layout: Layout) -> None:
        self._need = lane.need
        self._chunk = chunk
        self._layout = layout
        self._rows = np.empty((layout.count, *lane.need.dataset.row_shape), object)

    def wanted(self, part: Part) -> Sequence[Wanted]:
        """None of one size."""
        del part
        return ()

    def complete(self, part: Part, source: RowSource) -> None:
        start, stop, runs = self._layout.parts[part.start]
        if runs:
            rows, need = self._rows[start:stop], self._need
            source.objects(need.dataset.name, runs, rows, need.most)

    def batch(self, index: int) -> Arrays:
        slots = self._chunk.slots(index)
        return {view: self._rows[self._at(view.span, slots)] for view in self._need.views}

    def _at(self, span: Span, slots: NDArray[np.int64]) -> NDArray[np.int64]:
        """Where the rows of samples lie, shape (samples,), or (samples, length) of windows."""
        begin = self._layout.at[slots] + span.ahead
        if span.length is None:
            return begin
        wanted = begin[:, None] + np.arange(span.length)
        low, high = (each[slots][:, None] for each in (self._layout.low, self._layout.high))
        inside: NDArray[np.int64] = np.clip(wanted, low, high - 1)
        return inside
