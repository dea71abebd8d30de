"""The plan: a pure function of (seed, pass, position) that gives every sample once."""

from __future__ import annotations

import tracemalloc
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from prefetcher.order.plan import Place, Plan, runs_of
from prefetcher.order.sizes import default_block_size

FROZEN_ORDER = [6, 34, 13, 26, 24, 21, 4, 36, 25, 20, 5, 27, 7, 35, 12, 37]


def pass_rows(plan: Plan, pass_number: int = 0) -> NDArray[np.int64]:
    """File rows in the order in which a pass hands them out."""
    numbers = range(pass_number * plan.num_chunks, (pass_number + 1) * plan.num_chunks)
    chunks = [plan.chunk(number) for number in numbers]
    return np.concatenate([chunk.rows[chunk.order] for chunk in chunks])[: plan.num_samples]


@st.composite
def plans(draw: st.DrawFn) -> Plan:
    batch_size = draw(st.integers(1, 9))
    chunk_size = batch_size * draw(st.integers(1, 8))
    start, n = draw(st.integers(0, 20)), draw(st.integers(1, 300))
    samples: range | NDArray[np.int64] = range(start, start + n)
    if draw(st.booleans()):
        samples = np.array(draw(st.permutations(list(samples))))
    return Plan(
        samples,
        batch_size,
        chunk_size,
        block_size=draw(st.integers(1, chunk_size)),
        seed=draw(st.integers(0, 2**64 - 1)),
        shuffle=draw(st.booleans()),
        align=draw(st.integers(1, 12)),
    )


@given(plans(), st.integers(0, 5))
def test_a_pass_holds_every_sample_once(plan: Plan, pass_number: int) -> None:
    assert sorted(pass_rows(plan, pass_number)) == sorted(plan.samples)


@given(plans())
def test_file_order_keeps_the_order_of_the_rows(plan: Plan) -> None:
    if not plan.shuffle:
        assert pass_rows(plan).tolist() == list(plan.samples)


@given(plans(), st.integers(0, 1000))
def test_places_and_ordinals_and_chunks_agree(plan: Plan, ordinal: int) -> None:
    place = plan.place(ordinal)
    number, index = plan.chunk_of(ordinal)
    assert plan.ordinal(place) == ordinal
    assert index < plan.batches_in(number)
    start = index * plan.batch_size
    assert len(plan.chunk(number).order[start : start + plan.batch_size]) == plan.batch_rows(
        place.position
    )


@given(plans(), st.integers(0, 3))
def test_parts_cover_a_chunk_and_do_not_cut_storage_chunks(plan: Plan, number: int) -> None:
    chunk = plan.chunk(number)
    assert [0, *(part.stop for part in chunk.parts)] == [
        *(part.start for part in chunk.parts),
        len(chunk.rows),
    ]
    for part in chunk.parts[:-1]:
        assert chunk.rows[part.stop - 1] // plan.align != chunk.rows[part.stop] // plan.align


@given(plans(), st.integers(0, 3))
def test_the_runs_of_a_part_are_its_rows(plan: Plan, number: int) -> None:
    chunk = plan.chunk(number)
    for part in chunk.parts:
        assert part.runs == runs_of(chunk.rows[part.start : part.stop])


@given(plans(), st.integers(0, 1000))
def test_the_storage_chunks_of_a_batch_that_leads_are_read_first(plan: Plan, ordinal: int) -> None:
    number, lead = plan.chunk_of(ordinal)
    led, usual = plan.chunk(number, lead), plan.chunk(number)
    for index in range(plan.batches_in(number)):
        assert led.rows[led.slots(index)].tolist() == usual.rows[usual.slots(index)].tolist()
    is_last = lead + 1 == plan.batches_in(number)
    needed = led.parts[-1].stop if is_last else led.leading
    storage_chunks = led.rows // plan.align
    assert set(storage_chunks[:needed]) == set(storage_chunks[led.slots(lead)])
    assert set(storage_chunks[:needed]).isdisjoint(storage_chunks[needed:])
    assert led.slots(lead).max() < needed
    assert needed in {part.stop for part in led.parts}
    assert [0, *(part.stop for part in led.parts)] == [
        *(part.start for part in led.parts),
        needed if is_last else len(led.rows),
    ]
    for part in led.parts:
        assert part.runs == runs_of(led.rows[part.start : part.stop])


def test_parts_leave_runs_whole_where_there_are_many() -> None:
    plan = Plan(range(12_800), 32, 3200, 21)
    chunk = plan.chunk(1)
    assert [run for part in chunk.parts for run in part.runs] == runs_of(chunk.rows)
    assert len(chunk.parts) == 16
    assert max(part.stop - part.start for part in chunk.parts) < 2 * 3200 // 16


def test_one_run_is_cut_for_the_readers_nevertheless() -> None:
    parts = Plan(range(3200), 32, 3200, 21, shuffle=False).chunk(0).parts
    assert [part.runs for part in parts] == [[(at, at + 200)] for at in range(0, 3200, 200)]


@given(st.lists(st.integers(0, 30), min_size=1))
def test_runs_are_the_stretches_that_rise_by_one(rows: list[int]) -> None:
    runs = runs_of(np.array(rows))
    assert [row for start, stop in runs for row in range(start, stop)] == rows
    assert all(stop != start for (_, stop), (start, _) in pairwise(runs))


def test_the_order_depends_on_seed_and_pass_and_on_nothing_else() -> None:
    plan = Plan(range(1000), 8, 80, 5, seed=7)
    again = Plan(range(1000), 8, 80, 5, seed=7)
    other = Plan(range(1000), 8, 80, 5, seed=8)
    assert pass_rows(plan).tolist() == pass_rows(again).tolist()
    assert pass_rows(plan).tolist() != pass_rows(other).tolist()
    assert pass_rows(plan, 0).tolist() != pass_rows(plan, 1).tolist()


def test_the_order_is_the_same_in_every_version() -> None:
    """Resuming a training must find the order it was started with: never change these numbers."""
    plan = Plan(range(40), 4, 16, 2, seed=3)
    assert pass_rows(plan)[:16].tolist() == FROZEN_ORDER


def test_drop_remainder_leaves_out_other_samples_in_each_pass() -> None:
    plan = Plan(range(103), 10, 20, 2, drop_remainder=True)
    dropped = [set(range(103)) - set(pass_rows(plan, number).tolist()) for number in range(8)]
    assert plan.num_batches == 10
    assert all(len(rows) == 3 for rows in dropped)
    assert len(set(map(frozenset, dropped))) > 1


def test_blocks_start_at_the_edges_of_storage_chunks() -> None:
    plan = Plan(range(13, 13 + 640), 8, 64, 16, align=16)
    for number in range(plan.num_chunks - 1):
        chunk = plan.chunk(number)
        assert all(start % 16 == 0 for start, _ in runs_of(chunk.rows))


def test_neighbours_drawn_from_all_over_the_file() -> None:
    """Every block is as likely to come first as any other: chi-square over 2,000 seeds."""
    blocks, seeds = 20, 2000
    first = [
        int(Plan(range(blocks * 4), 4, 8, 4, seed=seed).chunk(0).rows[0]) // 4
        for seed in range(seeds)
    ]
    # rows are sorted within a chunk, so look at the smaller of two blocks: P(i) ~ 2(19-i)/(20*19)
    expected = np.array([2 * (blocks - 1 - i) / (blocks * (blocks - 1)) for i in range(blocks - 1)])
    counts = np.bincount(first, minlength=blocks)
    chi_square = float(((counts[:-1] - expected * seeds) ** 2 / (expected * seeds)).sum())
    assert counts[-1] == 0
    assert chi_square < 42.3  # 18 degrees of freedom: exceeded once in 1,000 trials


def test_a_place_in_a_billion_rows_is_found_at_once_and_in_little_memory() -> None:
    tracemalloc.start()
    plan = Plan(range(10**9), 32, 3200, 50)
    number, index = plan.chunk_of(10**7)
    rows = plan.chunk(number).rows
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert plan.place(10**7) == Place(0, 10**7)
    assert (number, index) == (100_000, 0)
    assert len(rows) == 3200
    assert peak < 10e6


def test_every_batch_has_a_sample_of_every_block_where_there_are_as_many() -> None:
    """A plain permutation leaves that to chance: it takes two of one block and none of another."""
    plan = Plan(range(64 * 50), 8, 8 * 50, block_size=50)
    for number in range(plan.num_chunks):
        chunk = plan.chunk(number)
        for index in range(plan.batches_in(number)):
            assert len(set(chunk.rows[chunk.slots(index)] // 50)) == 8


def entropy(labels: NDArray[np.int64]) -> float:
    """Mean entropy in bits of the label distribution of batches of 32."""
    counts = np.apply_along_axis(np.bincount, 1, labels.reshape(-1, 32), minlength=10) / 32
    logs = np.log2(counts, where=counts > 0, out=np.zeros_like(counts))
    return float(-(counts * logs).sum(axis=1).mean())


@pytest.mark.parametrize(
    ("block_size", "least", "most"),
    [
        pytest.param(default_block_size(3200, 49_152, 1), 0.99, 1.02, id="default"),
        pytest.param(default_block_size(3200, 4, 1), 0.99, 1.02, id="default-small-rows"),
        pytest.param(100, 0.99, 1.02, id="a-block-for-every-slot"),
        pytest.param(1, 0.99, 1.01, id="full"),
        pytest.param(3200, 0.0, 0.001, id="one-run-per-chunk"),
    ],
)
def test_label_entropy_on_a_set_sorted_by_class(block_size: int, least: float, most: float) -> None:
    labels = np.repeat(np.arange(10), 32_000)
    plan = Plan(range(320_000), 32, 3200, block_size)
    full = entropy(np.random.default_rng(0).permutation(labels))
    assert least <= entropy(labels[pass_rows(plan)]) / full <= most
