"""A chunk puts every row in its place, large rows and small ones, shuffled or not."""

from __future__ import annotations

from typing import Any

import pytest
from helpers.numbered import NumberedRows, dataset, lanes_of
from hypothesis import given
from hypothesis import strategies as st

from prefetcher.order.plan import Plan
from prefetcher.pipeline.buffers import Meter
from prefetcher.pipeline.chunk import Chunk, read_batch
from prefetcher.pipeline.lanes import is_placed

SMALL, LARGE = 2, 1000
"""Elements of a row: 16 bytes are gathered, 8000 are placed."""


DATASETS = [dataset("small", SMALL), dataset("large", LARGE)]


@pytest.mark.parametrize("samples", [1, 5, 8, 9, 17, 100])
def test_buffers_are_counted_for_the_samples_that_there_are(samples: int) -> None:
    """And hold no more, however large a chunk or a batch might be."""
    plan = Plan(range(samples), batch_size=8, chunk_size=32, block_size=4)
    meter = Meter()
    made = lanes_of(DATASETS, plan, 2, 3, meter)
    chunks = [Chunk(plan.chunk(number), made, 4) for number in range(2)]
    for chunk in chunks:
        chunk._allocated()
    loose = [lane.batches.pool.take() for lane in made for _ in range(3)]  # type: ignore[attr-defined]
    counted = sum(lane.most_bytes(2, 3) for lane in made)
    assert meter.now <= counted
    whole = min(samples, 8)
    assert counted <= (2 * min(32, -(-samples // whole) * whole) + 4 * whole) * 8 * (SMALL + LARGE)
    del chunks, loose


def test_the_two_widths_go_the_two_ways() -> None:
    assert [is_placed(each) for each in DATASETS] == [False, True]


@given(
    st.integers(1, 60), st.integers(1, 7), st.integers(1, 4), st.booleans(), st.integers(0, 2**32)
)
def test_every_batch_holds_the_rows_of_its_plan(
    n: int, batch_size: int, batches: int, shuffle: bool, seed: int
) -> None:
    plan = Plan(range(5, 5 + n), batch_size, batch_size * batches, 1, seed, shuffle)
    used = lanes_of(DATASETS, plan, chunks=2, batches=4, meter=Meter())
    for number in range(plan.num_chunks):
        chunk = Chunk(plan.chunk(number), used, plan.batches_in(number))
        done = [chunk.read(part, NumberedRows()) for part in chunk.plan.parts]
        assert [each.chunk for each in done] == [False] * (len(done) - 1) + [True]
        assert not any(each.lead for each in done)
        for index in range(plan.batches_in(number)):
            alone = read_batch(chunk.plan, index, used, NumberedRows())
            expected = chunk.plan.rows[chunk.plan.slots(index)]
            for view, array in chunk.batch(index).items():
                assert (array == expected[:, None]).all()
                assert (alone[view] == array).all()


@pytest.mark.parametrize("shuffle", [True, False])
@pytest.mark.parametrize("lead", [0, 5, 18])
def test_a_batch_that_leads_is_there_when_its_parts_are_whichever_is_done_last(
    shuffle: bool, lead: int
) -> None:
    plan = Plan(range(1000), 8, 160, 20, shuffle=shuffle, align=4)
    planned = plan.chunk(1, lead)
    used = lanes_of(DATASETS, plan, 2, 4, Meter())
    for last in (part for part in planned.parts if part.start < planned.leading):
        chunk = Chunk(planned, used, plan.batches_in(1) - lead)
        for part in planned.parts:
            if chunk.leads(part) and part is not last:
                assert chunk.read(part, NumberedRows()) == (False, False)
        assert chunk.read(last, NumberedRows()) == (True, False)
        expected = planned.rows[planned.slots(lead)]
        for array in chunk.batch(lead).values():
            assert (array == expected[:, None]).all()
        rest = [part for part in planned.parts if not chunk.leads(part)]
        done = [chunk.read(part, NumberedRows()) for part in rest]
        assert done == [(False, False)] * (len(rest) - 1) + [(False, True)]


@pytest.mark.parametrize(("shuffle", "most"), [(True, 40), (False, 16)])
def test_neighbouring_rows_are_read_together(shuffle: bool, most: int) -> None:
    plan = Plan(range(10_000), 8, 1600, 40, seed=1, shuffle=shuffle)
    chunk = Chunk(plan.chunk(1), lanes_of(DATASETS[1:], plan, 2, 4, Meter()), 4)
    source = NumberedRows()
    for part in chunk.plan.parts:
        chunk.read(part, source)
    assert sum(stop - start for start, stop in source.reads) == 1600
    assert len(source.reads) <= most


def test_all_of_a_chunk_is_expected_before_it_is_read() -> None:
    plan = Plan(range(1000), 8, 320, 40, seed=1)
    chunk = Chunk(plan.chunk(1), lanes_of(DATASETS, plan, 2, 4, Meter()), 4)
    source = NumberedRows()
    chunk.expect(source)
    for name in ("small", "large"):
        rows = [row for of, run in source.expected if of == name for row in range(*run)]
        assert rows == chunk.plan.rows.tolist()


def test_what_a_chunk_needs_is_laid_out_once_for_its_readers(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """By whoever comes first: who has the system fetch it, or who reads a part."""
    plan = Plan(range(1000), 8, 320, 40, seed=1)
    used = lanes_of(DATASETS, plan, 2, 4, Meter())
    laid: list[str] = []
    for lane in used:
        real = lane.lay

        def lay(chunk: Any, real: Any = real, lane: Any = lane) -> Any:
            laid.append(lane.name)
            return real(chunk)

        monkeypatch.setattr(lane, "lay", lay)
    for expects in (True, False):
        laid.clear()
        chunk = Chunk(plan.chunk(1), used, 4)
        if expects:
            chunk.expect(NumberedRows())
        for part in chunk.plan.parts:
            chunk.read(part, NumberedRows())
        chunk.batch(0)
        assert sorted(laid) == ["large", "small"]


def test_a_planned_chunk_holds_no_memory_and_a_full_one_what_was_promised() -> None:
    plan = Plan(range(1000), 8, 320, 40)
    meter = Meter()
    used = lanes_of(DATASETS, plan, chunks=2, batches=4, meter=meter)
    chunk = Chunk(plan.chunk(0), used, 40)
    assert meter.now == 0
    for part in chunk.plan.parts:
        chunk.read(part, NumberedRows())
    kept = [chunk.batch(index) for index in range(4)]
    assert meter.now == (320 + 4 * 8) * 8 * SMALL + 320 * 8 * LARGE
    del kept


def test_who_keeps_a_batch_keeps_no_more_than_that_batch() -> None:
    plan = Plan(range(320), 8, 320, 40)
    meter = Meter()
    used = lanes_of(DATASETS, plan, chunks=1, batches=1, meter=meter)
    chunk = Chunk(plan.chunk(0), used, 40)
    for part in chunk.plan.parts:
        chunk.read(part, NumberedRows())
    kept = chunk.batch(3)
    del chunk
    for lane in used:
        lane.drop()
    assert meter.now == sum(array.nbytes for array in kept.values())


def test_the_last_batch_gives_the_memory_back_whoever_still_has_the_chunk() -> None:
    """As the reader that handed it on, and was told to wait before it could let go of it."""
    plan = Plan(range(16), 8, 16, 1)
    meter = Meter()
    used = lanes_of(DATASETS, plan, 1, 1, meter)
    chunk = Chunk(plan.chunk(0), used, 2)
    for part in chunk.plan.parts:
        chunk.read(part, NumberedRows())
    last = []
    for index in range(2):
        chunk.batch(index)
        last.append(chunk.taken())
    assert last == [False, True]
    before = meter.allocations
    again = Chunk(plan.chunk(1), used, 2)
    again.read(again.plan.parts[0], NumberedRows())
    assert meter.allocations == before
    del chunk


def test_a_batch_can_be_taken_once() -> None:
    plan = Plan(range(16), 8, 16, 1)
    chunk = Chunk(plan.chunk(0), lanes_of(DATASETS, plan, 1, 1, Meter()), 2)
    for part in chunk.plan.parts:
        chunk.read(part, NumberedRows())
    chunk.batch(0)
    with pytest.raises(RuntimeError, match="taken before"):
        chunk.batch(0)
