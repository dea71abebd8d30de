"""What a reader does, on the calling thread."""

from __future__ import annotations

import pytest
from helpers.numbered import NumberedRows, dataset, lanes_of

from prefetcher.batch import Batch, Recipe
from prefetcher.clock import Clock
from prefetcher.errors import ReadError
from prefetcher.order.plan import Plan
from prefetcher.pipeline.buffers import Meter
from prefetcher.pipeline.channel import Channel, Closed
from prefetcher.pipeline.chunk import Chunk
from prefetcher.pipeline.workers import Shared, read_parts


@pytest.fixture
def shared() -> Shared:
    """A run from the first batch on, whose readers have yet to begin."""
    plan = Plan(range(1000), batch_size=8, chunk_size=160, block_size=20)
    return Shared(
        plan=plan,
        lanes=lanes_of([dataset("x", 2)], plan, 2, 8, Meter()),
        source=NumberedRows(),
        recipe=Recipe(("x",), {}),
        lead=Channel[Chunk](1),
        chunks=Channel[Chunk](2),
        batches=Channel[Batch](8),
        first=0,
        where="a.h5",
    )


def test_the_first_batch_comes_though_the_rest_of_its_chunk_failed_before(shared: Shared) -> None:
    """Another reader may fail while this one is about to begin with what the first batch needs."""
    chunk = shared.chunk(0, lead=0)
    leading = [part for part in chunk.plan.parts if chunk.leads(part)]
    rest = next(part for part in chunk.plan.parts if not chunk.leads(part))
    shared.fail(chunk, rest, ReadError("broken"))
    clock = Clock()
    read_parts(shared, [(chunk, part) for part in leading], clock)
    clock.end()
    assert shared.lead.ready == 1
    assert shared.lead.get(0) is chunk
    with pytest.raises(ReadError, match="broken"):
        shared.chunks.look(0)


def test_a_reader_of_a_failed_chunk_ends(shared: Shared) -> None:
    chunk = shared.chunk(1)
    shared.fail(chunk, chunk.plan.parts[0], ReadError("broken"))
    clock = Clock()
    read_parts(shared, [(chunk, part) for part in chunk.plan.parts], clock)
    clock.end()
    assert clock.samples == 0
    with pytest.raises(Closed):
        shared.chunks.reserve(1)
