"""The plan: a pure function of (seed, pass, position) that gives every sample once."""

from __future__ import annotations

import math
import tracemalloc
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from prefetcher.order.plan import Place, Plan
from prefetcher.order.runs import runs_of
from prefetcher.order.sizes import default_block_size

FROZEN_DRAWS = [9, 33, 36, 29, 32, 23, 37, 28, 32, 19, 37, 38, 11, 19, 23, 28]
FROZEN_ROWS = [66, 30, 117, 84, 24, 39, 72, 78, 27, 36, 75, 87, 69, 33, 114, 81]
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
    step = draw(st.sampled_from([1, 1, 1, 2, 3, 7]))
    samples: range | NDArray[np.int64] = range(start, start + n * step, step)
    named = draw(st.sampled_from(["range", "backwards", "mixed", "mask", "copies"]))
    if named == "backwards":
        samples = samples[::-1]
    elif named != "range":
        rng = np.random.default_rng(draw(st.integers(0, 99)))
        samples = {
            "mixed": rng.permutation(samples),
            "mask": np.flatnonzero(rng.random(2 * n) < rng.random()),
            "copies": rng.integers(start, start + n, size=n),
        }[named]
        samples = samples if len(samples) else np.array([start])
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


@pytest.mark.parametrize(
    "samples",
    [
        pytest.param(np.flatnonzero(np.random.default_rng(0).random(50_000) < 0.8), id="mask"),
        pytest.param(np.random.default_rng(0).permutation(50_000)[:25_000], id="unsorted half"),
        pytest.param(range(0, 50_000, 2), id="every second"),
        pytest.param(range(7, 50_000, 3), id="every third"),
        pytest.param(range(49_999, 0, -5), id="every fifth, backwards"),
        pytest.param(np.flatnonzero(np.random.default_rng(0).random(50_000) < 0.01), id="1 %"),
        pytest.param(np.repeat(np.arange(0, 50_000, 10), 5), id="copies"),
    ],
)
@pytest.mark.parametrize("align", [32, 100])
def test_part_of_the_rows_needs_each_storage_chunk_about_once(
    samples: range | NDArray[np.int64], align: int
) -> None:
    plan = Plan(samples, 32, 3200, 1, align=align)
    block_size = default_block_size(3200, 4000, plan.samples_in_storage_chunk)
    unit = math.lcm(32, plan.even_samples)
    plan = replace(plan, block_size=block_size, chunk_size=3200 // unit * unit or 3200)
    touched = len(set((np.asarray(samples) // align).tolist()))
    for number in range(2):
        numbers = range(number * plan.num_chunks, (number + 1) * plan.num_chunks)
        chunks = [plan.chunk(chunk).rows // align for chunk in numbers]
        assert sum(len(np.unique(chunk)) for chunk in chunks) <= touched + plan.num_chunks


def test_rows_in_any_order_are_read_in_ascending_order() -> None:
    """Also with shuffle=False: each storage chunk of a chunk is then decoded once."""
    rows = np.random.default_rng(0).permutation(640)
    plan = Plan(rows, 32, 320, 32, shuffle=False, align=32)
    chunk = plan.chunk(0)
    assert (np.diff(chunk.rows) > 0).all()
    assert chunk.rows[chunk.order].tolist() == rows[:320].tolist()


def test_the_order_of_rows_does_not_matter_where_they_are_shuffled() -> None:
    rows = np.flatnonzero(np.random.default_rng(0).random(900) < 0.4)
    mixed = np.random.default_rng(1).permutation(rows)
    plans = [Plan(each, 8, 64, 16, align=16) for each in (rows, mixed)]
    assert pass_rows(plans[0]).tolist() == pass_rows(plans[1]).tolist()


def copies_in(plan: Plan, passes: int = 1) -> list[int]:
    """How often each row comes in each batch that has it."""
    found = []
    for number in range(plan.num_chunks * passes):
        chunk = plan.chunk(number)
        for index in range(plan.batches_in(number)):
            found += np.unique(chunk.rows[chunk.slots(index)], return_counts=True)[1].tolist()
    return found


@given(
    st.integers(1, 12),
    st.integers(1, 10),
    st.integers(0, 60),
    st.integers(1, 12),
    st.integers(0, 9),
)
def test_copies_of_a_row_lie_in_different_batches(
    copies: int, batch_size: int, more: int, align: int, seed: int
) -> None:
    """As far as they can: one chunk that has as many batches as a row has copies."""
    rows = np.repeat(np.arange(batch_size + more), copies)
    np.random.default_rng(seed).shuffle(rows)
    chunk_size = -(-len(rows) // batch_size) * batch_size
    plan = Plan(rows, batch_size, chunk_size, align * copies, seed=seed, align=align)
    assert plan.num_batches >= copies
    assert max(copies_in(plan)) == 1


def weighted(n: int, weights: NDArray[np.float64], **settings: Any) -> Plan:
    chosen = {"batch_size": 32, "chunk_size": 3200, "block_size": 48, "align": 16} | settings
    return Plan(range(n), weights=weights, **chosen)


@given(plans(), st.integers(0, 3), st.integers(0, 99))
def test_a_weighted_pass_is_n_draws_each_once(plan: Plan, pass_number: int, key: int) -> None:
    weights = np.random.default_rng(key).choice([0.0, 0.1, 1.0, 9.0], size=len(plan.samples))
    weights[0] = 1.0
    plan = replace(plan, shuffle=True, weights=weights)
    drawn = pass_rows(plan, pass_number)
    assert len(drawn) == len(plan.samples)
    shares = np.zeros(int(np.max(plan.samples)) + 1)
    np.add.at(shares, np.asarray(plan.samples), weights / weights.sum() * len(weights))
    repeats = np.bincount(np.asarray(plan.samples), minlength=len(shares))
    off = abs(np.bincount(drawn, minlength=len(shares)) - shares)
    assert (off < 2 * np.maximum(repeats, 1)).all()
    assert pass_rows(replace(plan), pass_number).tolist() == drawn.tolist()


@given(plans(), st.integers(0, 1000), st.integers(0, 99))
def test_a_weighted_pass_can_begin_anywhere(plan: Plan, ordinal: int, key: int) -> None:
    weights = np.random.default_rng(key).exponential(size=len(plan.samples))
    plan = replace(plan, shuffle=True, weights=weights)
    number, lead = plan.chunk_of(ordinal)
    led, usual = replace(plan).chunk(number, lead), plan.chunk(number)
    for index in range(plan.batches_in(number)):
        assert led.rows[led.slots(index)].tolist() == usual.rows[usual.slots(index)].tolist()


RARE = 0.01


@pytest.mark.parametrize("align", [1, 16, 400])
@pytest.mark.parametrize("is_sorted", [True, False])
@pytest.mark.parametrize("batch_size", [32, 256])
def test_a_rare_class_comes_as_often_in_every_batch(
    align: int, is_sorted: bool, batch_size: int
) -> None:
    """Classes of 1 % and 99 %, balanced: no batch beyond what chance allows once in a million."""
    n = 40_000
    rare = np.zeros(n, np.bool_)
    rare[: int(RARE * n)] = True
    if not is_sorted:
        rare = np.random.default_rng(0).permutation(rare)
    weights = np.where(rare, 0.5 / rare.sum(), 0.5 / (~rare).sum())
    block_size = max(align, 48 // align * align)
    chunk_size = max(3200, 64 * block_size) // batch_size * batch_size
    plan = weighted(n, weights, align=align, block_size=block_size, batch_size=batch_size,
                    chunk_size=chunk_size, drop_remainder=True)  # fmt: skip
    batches = rare[pass_rows(plan)].reshape(-1, batch_size).sum(axis=1)
    mean, variance = batch_size / 2, batch_size / 4
    assert abs(batches - mean).max() <= 5 * np.sqrt(variance)
    assert batches.mean() == pytest.approx(mean, rel=0.015)
    assert batches.var() <= variance * (1 + 5 * np.sqrt(2 / len(batches)))
    shared = sum(count * (count - 1) // 2 for count in copies_in(plan))
    # In a batch of draws by chance, each pair of draws is alike with sum(p**2).
    chance = plan.num_batches * batch_size * (batch_size - 1) / 2 * (weights**2).sum()
    assert shared <= chance * 1.05


def test_weights_of_a_file_with_storage_chunks_decode_two_passes_at_most() -> None:
    n = 32_000
    rare = np.random.default_rng(0).random(n) < RARE
    for chosen in (rare, np.sort(rare)):
        plan = weighted(n, np.where(chosen, 99.0, 1.0), align=32, block_size=32, chunk_size=3200)
        chunks = [plan.chunk(number).rows // 32 for number in range(plan.num_chunks)]
        assert sum(len(np.unique(chunk)) for chunk in chunks) <= 2 * n / 32


def test_equal_weights_are_a_pass_without_weights() -> None:
    plan = weighted(1000, np.full(1000, 0.3), batch_size=8, chunk_size=160)
    assert sorted(pass_rows(plan)) == list(range(1000))


def test_a_weighted_pass_is_the_same_in_every_version() -> None:
    """Resuming a training must find the draws it was started with: never change these numbers."""
    plan = Plan(range(40), 4, 16, 2, seed=3, weights=np.arange(40.0))
    assert pass_rows(plan)[:16].tolist() == FROZEN_DRAWS


def test_part_of_the_rows_comes_in_the_same_order_in_every_version() -> None:
    plan = Plan(np.arange(0, 120, 3), 4, 16, 4, seed=3, align=8)
    assert pass_rows(plan)[:16].tolist() == FROZEN_ROWS


def test_parts_leave_runs_whole_where_there_are_many() -> None:
    plan = Plan(range(12_800), 32, 3200, 21)
    chunk = plan.chunk(1)
    assert [run for part in chunk.parts for run in part.runs] == runs_of(chunk.rows)
    assert len(chunk.parts) == 16
    assert max(part.stop - part.start for part in chunk.parts) < 2 * 3200 // 16


def test_one_run_is_cut_for_the_readers_nevertheless() -> None:
    parts = Plan(range(3200), 32, 3200, 21, shuffle=False).chunk(0).parts
    assert [part.runs for part in parts] == [[(at, at + 200)] for at in range(0, 3200, 200)]


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


SMALL = np.cumsum([37, 43] * 100)
"""The ends of 200 files of about 40 rows."""


def test_a_chunk_over_small_files_has_each_in_one_part() -> None:
    plan = Plan(range(8000), 32, 3200, 40, seed=1, files=SMALL)
    assert sorted(pass_rows(plan).tolist()) == list(range(8000))
    visits = 0
    for number in range(plan.num_chunks):
        chunk = plan.chunk(number)
        parts_of_file: dict[int, set[int]] = {}
        for at, part in enumerate(chunk.parts):
            rows = chunk.rows[part.start : part.stop]
            for file in np.searchsorted(SMALL, rows, side="right").tolist():
                parts_of_file.setdefault(file, set()).add(at)
        assert all(len(parts) == 1 for parts in parts_of_file.values())
        visits += len(parts_of_file)
    assert visits <= len(SMALL) + plan.num_chunks  # each end of a chunk may cut one


def test_files_in_order_are_not_cut_by_parts_either() -> None:
    plan = Plan(range(8000), 32, 3200, 40, shuffle=False, files=SMALL)
    parts = plan.chunk(0).parts
    assert len(parts) > 8
    assert {part.start for part in parts[1:]} <= set(SMALL.tolist())


def test_storage_chunks_are_those_of_each_file() -> None:
    """The rows of the files before it move its storage chunks off any common grid."""
    files = np.cumsum([101, 203, 407])
    plan = Plan(range(711), 9, 99, 20, seed=2, align=20, files=files)
    starts = np.concatenate([[0], files[:-1]])
    decoded = 0
    for number in range(plan.num_chunks):
        rows = plan.chunk(number).rows
        of_file = np.searchsorted(files, rows, side="right")
        storage_chunks = (rows - starts[of_file]) // 20
        decoded += len(set(zip(of_file.tolist(), storage_chunks.tolist(), strict=True)))
    whole = sum(-(-count // 20) for count in (101, 203, 407))
    assert decoded <= whole + plan.num_chunks  # each end of a chunk cuts one
