"""What is chosen, for capacities that tests make up."""

from __future__ import annotations

from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prefetcher.config import Workers
from prefetcher.errors import SettingsError
from prefetcher.tuning.choose import SPARE, Capacities, Choice, Setup, choose

MUCH = 1 << 40
BATCH_SIZE = 10
CHUNK_BYTES, BATCH_BYTES, READER_BYTES = 1000, 10, 50


def memory(setup: Setup) -> int:
    return (
        setup.chunk_queue * CHUNK_BYTES
        + (setup.batch_queue + setup.workers.batchers) * BATCH_BYTES
        + setup.workers.readers * READER_BYTES
    )


def able(
    *read: float,
    batch: tuple[float, ...] = (1e6,),
    uneven: tuple[float, ...] = (1.0,),
    batches: int = 100,
) -> Capacities:
    return Capacities(
        dict(enumerate(read, 1)), dict(enumerate(batch, 1)), uneven, BATCH_SIZE, batches
    )


def chosen(demand: float, capacities: Capacities, limit: int = MUCH) -> Choice:
    return choose(demand, capacities, memory, limit)


@pytest.mark.parametrize(
    ("demand", "readers"), [(100, 1), (833, 1), (834, 2), (1600, 2), (1700, 3)]
)
def test_as_few_readers_as_serve_the_demand_with_a_fifth_more(demand: float, readers: int) -> None:
    choice = chosen(demand, able(1000, 2000, 3000))
    assert choice.setup.workers == (readers, 1)
    assert choice.limit is None
    assert choice.reaches == 1000 * readers


def test_as_few_batchers_too() -> None:
    assert chosen(900, able(9000, batch=(1000, 1900, 2700))).setup.workers == (1, 2)


def test_a_demand_that_cannot_be_met_says_what_can_and_what_limits() -> None:
    choice = chosen(3000, able(1000, 1900, 1910))
    assert (choice.limit, choice.reaches) == ("readers", 1900)
    assert choice.setup.workers.readers == 2, "the third brings nothing"
    assert "3,600 are wanted, and more gain nothing" in choice.reasons[0]
    choice = chosen(3000, able(9000, batch=(1000,)))
    assert (choice.limit, choice.reaches) == ("batchers", 1000)
    assert "there are no CPUs for more" in choice.reasons[1]


def test_depths_need_no_more_memory_than_they_must() -> None:
    # A chunk takes up to 0.6 s to read, a batch 0.1 s to train, and 4 + 2 batches are under way.
    leisurely = chosen(100, able(2000))
    assert (leisurely.setup.chunk_queue, leisurely.setup.batch_queue) == (1, 4)
    # Now a chunk is read in five sixths of the time that its training takes.
    assert chosen(1000, able(1200)).setup.chunk_queue == 2


def test_uneven_reading_needs_deeper_queues() -> None:
    even = chosen(800, able(1000))
    uneven = chosen(800, able(1000, uneven=(0.4, 0.4, 0.4, 2.8)))
    assert uneven.limit is None
    assert memory(uneven.setup) > memory(even.setup)


def test_what_no_queue_evens_out_is_said() -> None:
    choice = chosen(830, able(1000, uneven=(0.01,) * 50 + (51.0,)))
    assert choice.limit == "uneven reading"
    assert choice.reaches < 1000


def test_memory_limits_the_depths_and_is_named() -> None:
    assert chosen(800, able(1000)).setup.chunk_queue == 2
    short = chosen(800, able(1000), limit=1999)
    assert short.limit == "memory"
    assert short.setup.chunk_queue == 1
    assert short.memory_bytes <= 1999
    assert short.reaches < 1000


def test_what_was_tried_and_stalled_is_followed_by_something_larger() -> None:
    first = chosen(800, able(1000))
    second = choose(800, able(1000), memory, MUCH, above=first.memory_bytes)
    assert second.memory_bytes > first.memory_bytes
    assert second.limit is None
    none_larger = choose(800, able(1000), memory, MUCH, above=MUCH)
    assert none_larger == first


def test_memory_may_cost_a_reader() -> None:
    choice = chosen(1500, able(1000, 2000), limit=CHUNK_BYTES + 2 * BATCH_BYTES + 85)
    assert choice.limit == "memory"
    assert choice.setup.workers == (1, 1)


def test_less_than_the_smallest_queues_is_refused() -> None:
    with pytest.raises(SettingsError, match="make the chunks smaller"):
        chosen(1, able(1000), limit=CHUNK_BYTES)


rates = st.floats(1, 1e6)


@given(
    rates,
    st.lists(rates, min_size=1, max_size=3),
    st.lists(rates, min_size=1, max_size=2),
    st.lists(st.floats(0.1, 5), min_size=1, max_size=3),
    st.integers(CHUNK_BYTES + 200, 6000),
)
def test_whatever_was_measured_the_choice_keeps_its_word(
    demand: float, read: list[float], batch: list[float], uneven: list[float], limit: int
) -> None:
    capacities = able(*read, batch=tuple(batch), uneven=tuple(uneven), batches=3)
    choice = chosen(demand, capacities, limit)
    workers = choice.setup.workers
    assert memory(choice.setup) == choice.memory_bytes <= limit
    if choice.limit is None:
        assert capacities.of(workers) >= SPARE * demand
        for fewer in product(range(1, workers.readers + 1), range(1, workers.batchers + 1)):
            if fewer != workers:
                assert capacities.of(Workers(*fewer)) < SPARE * demand
