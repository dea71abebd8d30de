"""The lanes of a pipeline: for each dataset the cheapest way, and one for what is in memory."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from numpy.typing import NDArray

from prefetcher.columns.memory import InMemory
from prefetcher.hdf5.dataset import Dataset
from prefetcher.hdf5.places import Wanted
from prefetcher.order.chunk import ChunkPlan, Part
from prefetcher.order.plan import Plan
from prefetcher.pipeline.buffers import Meter
from prefetcher.pipeline.lane import Arrays, Hold, Lane, Need, RowSource
from prefetcher.pipeline.objects import ObjectLane
from prefetcher.pipeline.rows import GatheredLane, PlacedLane
from prefetcher.pipeline.sparse import SparseLane
from prefetcher.pipeline.windows import WindowLane

_PLACED_ROW_BYTES = 6 << 10  # measured: below this, a second copy costs less than a call per row


def lanes(
    needs: Sequence[Need],
    values: Mapping[InMemory, NDArray[Any]],
    plan: Plan,
    chunks: int,
    batches: int,
    meter: Meter,
) -> tuple[Lane[Any], ...]:
    """The lanes of a pipeline. They take no memory before it is used.

    Args:
        needs: What samples need of each dataset.
        values: What is in memory, by the number of the sample.
        plan: The order.
        chunks: Chunks that are in memory at once.
        batches: Batches that are outside of chunks at once.
        meter: Books what is allocated.
    """
    of_files = (_lane(need, plan, chunks, batches, meter) for need in needs)
    known = (MemoryLane(column, array, plan.largest_batch) for column, array in values.items())
    return (*of_files, *known)


def _lane(need: Need, plan: Plan, chunks: int, batches: int, meter: Meter) -> Lane[Any]:
    if need.dataset.elements is not None:  # objects have no buffers that are used again
        return ObjectLane(need, plan)
    return _kind(need)(need, plan, chunks, batches, meter)


def _kind(need: Need) -> type[GatheredLane | PlacedLane | WindowLane | SparseLane]:
    if need.elements is not None:
        return SparseLane
    if len(need.views) > 1 or need.views[0].span.length is not None:
        return WindowLane
    return PlacedLane if is_placed(need.dataset) else GatheredLane


def is_placed(dataset: Dataset) -> bool:
    """Whether this dataset's rows go straight to their batches."""
    return dataset.row_bytes >= _PLACED_ROW_BYTES


class MemoryLane(Lane[None]):
    """An array that is in memory already."""

    sample_bytes = 0

    def __init__(self, column: InMemory, values: NDArray[Any], largest_batch: int) -> None:
        self._column = column
        self._batch_bytes = largest_batch * values[:1].nbytes
        self._values = values

    def lay(self, chunk: ChunkPlan) -> None:
        """Nothing is read."""

    def expect(self, laid: None, source: RowSource) -> None:
        """Nothing is read."""

    def hold(self, chunk: ChunkPlan, laid: None, *, whole: bool) -> Hold:
        """Takes no memory."""
        del laid, whole
        return _Known(self._column, self._values, chunk)

    def most_bytes(self, chunks: int, batches: int) -> int:
        """The batches, which have no buffers that are used again."""
        del chunks
        return batches * self._batch_bytes

    def drop(self) -> None:
        """There are no buffers."""


class _Known:
    def __init__(self, column: InMemory, values: NDArray[Any], chunk: ChunkPlan) -> None:
        self._column, self._values, self._chunk = column, values, chunk

    def wanted(self, part: Part) -> Sequence[Wanted]:
        """Nothing is read."""
        del part
        return ()

    def complete(self, part: Part, source: RowSource) -> None:
        """Nothing is read."""

    def batch(self, index: int) -> Arrays:
        return {self._column: self._values[self._chunk.rows[self._chunk.slots(index)]]}
