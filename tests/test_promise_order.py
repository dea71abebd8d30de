"""Promises 2 to 7: tickets, file order, replay, passes, the same order always, batches that stay.

Here the sequence is asked directly, in every order Keras might ask in and more.
"""

from __future__ import annotations

import itertools
import random
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import MakeSamples
from helpers.files import STORAGES
from helpers.sequences import BATCH, frozen, ids, passes, small
from helpers.waiting import Task
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

N = 90
STEPS = 23
"""Batches in a pass of N samples."""

THREADS = [(1, 1), (2, 1), (2, 2), (4, 3)]
DEPTHS = [(1, 1), (2, 16), (4, 2)]


def augment(x: Any, y: Any, *, rng: np.random.Generator) -> tuple[Any, Any]:
    """A transform whose result shows which random numbers it was given."""
    return rng.normal(size=x.shape) + x, y


def two_passes(file: Any, **how: Any) -> list[list[tuple[str, tuple[int, ...], bytes]]]:
    with small(file, **how) as sequence:
        return [frozen(batch) for _ in range(2) for batch in sequence]


# promise 6: the same order


@pytest.mark.usefixtures("row_way")
@pytest.mark.parametrize("transform", [None, augment], ids=["rows", "augmented"])
@pytest.mark.parametrize("shuffle", [True, False])
def test_threads_and_queues_do_not_change_a_byte(
    samples: MakeSamples, shuffle: bool, transform: Any
) -> None:
    def run(threads: tuple[int, int], depths: tuple[int, int]) -> Any:
        counts = {"readers": threads[0], "batchers": threads[1]}
        queues = {"chunk_queue": depths[0], "batch_queue": depths[1]}
        return two_passes(samples(N), shuffle=shuffle, transform=transform, **counts, **queues)

    expected = run(THREADS[0], DEPTHS[0])
    assert len(expected) == 2 * STEPS
    for threads, depths in itertools.product(THREADS, DEPTHS):
        assert run(threads, depths) == expected, f"{threads} threads, queues of {depths}"


@pytest.mark.usefixtures("row_way")
@pytest.mark.parametrize("readers", [1, 3])
@pytest.mark.parametrize("shuffle", [True, False])
def test_storage_does_not_change_a_byte(samples: MakeSamples, shuffle: bool, readers: int) -> None:
    """Given the same blocks: a block size that is drawn from the storage may differ."""
    how: dict[str, Any] = {"shuffle": shuffle, "readers": readers, "block_size": 8}
    ways = {s: passes(samples(N, s), 2, **how) for s in STORAGES}
    for storage, order in ways.items():
        flat = [sorted(itertools.chain(*one)) for one in order]
        assert flat == [list(range(N))] * 2, storage
    chunked = [ways[s] for s in STORAGES if s != "contiguous"]
    assert all(order == chunked[0] for order in chunked)


def test_one_seed_one_order(samples: MakeSamples) -> None:
    first = passes(samples(N), 3, seed=7)
    assert passes(samples(N), 3, seed=7) == first
    assert passes(samples(N), 3, seed=8) != first


def test_every_pass_another_order(samples: MakeSamples) -> None:
    orders = passes(samples(N), 4)
    assert all(a != b for a, b in itertools.combinations(orders, 2))
    for order in orders:
        assert sorted(itertools.chain(*order)) == list(range(N))


def test_shuffling_reaches_across_chunks_and_within_blocks(samples: MakeSamples) -> None:
    """Neither chunks of neighbours in random order, nor file order within a batch, is a shuffle."""
    order = passes(samples(96), 1, block_size=2)[0]
    chunks = [sorted(itertools.chain(*order[i : i + 4])) for i in range(0, 24, 4)]
    assert all(chunk[-1] - chunk[0] > 16 for chunk in chunks)
    assert any(batch != sorted(batch) for batch in order)


def test_keras_seeds_are_not_ours(samples: MakeSamples) -> None:
    """A global seed that a user sets elsewhere must not change the order."""
    random.seed(1)
    np.random.seed(1)  # noqa: NPY002
    first = passes(samples(N), 1)
    random.seed(2)
    np.random.seed(2)  # noqa: NPY002
    assert passes(samples(N), 1) == first


# promises 2 and 5: tickets and passes


@pytest.mark.parametrize("seed", range(3))
def test_indices_are_tickets(samples: MakeSamples, seed: int) -> None:
    """Whatever the order of asking, the batches come in the order of the plan."""
    expected = passes(samples(N), 2)
    indices = list(range(STEPS))
    with small(samples(N)) as sequence:
        for one_pass in expected:
            random.Random(seed).shuffle(indices)
            assert [ids(sequence[i]) for i in indices] == one_pass


def test_asking_again_draws_the_same_batch(samples: MakeSamples) -> None:
    with small(samples(N)) as sequence:
        for i in range(STEPS - 1):  # after the last, a request belongs to the next pass
            assert frozen(sequence[i]) == frozen(sequence[i])
            assert frozen(sequence[i // 2]) == frozen(sequence[i // 2])


def test_asking_again_disturbs_nobody(samples: MakeSamples) -> None:
    expected = passes(samples(N), 1)[0]
    with small(samples(N)) as sequence:
        for i in range(STEPS):
            assert ids(sequence[i]) == expected[i]
            if i < STEPS - 1:
                assert ids(sequence[0]) == expected[0]
                assert ids(sequence[i]) == expected[i]


def test_replays_get_the_same_random_numbers(samples: MakeSamples) -> None:
    with small(samples(N), transform=augment, batchers=2) as sequence:
        first = [frozen(sequence[i]) for i in range(12)]
        assert [frozen(sequence[i]) for i in range(12)] == first


def test_random_numbers_differ_by_position_and_pass(samples: MakeSamples) -> None:
    noise = set()
    with small(samples(16), transform=augment, shuffle=False) as sequence:
        for _ in range(3):
            for x, y in sequence:
                noise.add((x - y).tobytes())
    assert len(noise) == 3 * 4


@cache
def many_passes(file: Path, shuffle: bool) -> list[list[list[int]]]:
    return passes(file, 41, shuffle=shuffle)


def goes_on_with_a_loop(since: list[int], index: int) -> bool:
    """After 0, 1, 2, ... up to the index before; or up to this one, if two loops take turns."""
    runs = [(asked, len(list(times))) for asked, times in itertools.groupby(since)]
    loop = [asked for asked, _ in runs]
    if loop[-index:] == list(range(index)):
        return index >= 4
    turns = loop[-index - 1 :] == list(range(index + 1)) and runs[-2:-1] and runs[-2][1] > 1
    return index >= 4 and bool(turns)


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(asked=st.lists(st.integers(0, 5), max_size=40), shuffle=st.booleans())
@example(asked=[0, 1, 2, 3, 4, 5, 5, 5, 0], shuffle=True)
@example(asked=[0, 0, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5, 0], shuffle=True)
@example(asked=[5, 0, 1, 2, 3, 4, 5, 0], shuffle=True)
@example(asked=[4, 5, 0, 1, 2, 3, 4, 5, 3], shuffle=True)
def test_any_requests_at_all(samples: MakeSamples, asked: list[int], shuffle: bool) -> None:
    """Against a model of tickets in a few lines, over several passes of 6 batches."""
    expected = many_passes(samples(22), shuffle)
    tickets: dict[int, int] = {}
    number = 0
    with small(samples(22), shuffle=shuffle) as sequence:
        since: list[int] = []
        for index in asked:
            if len(tickets) == 6 and not goes_on_with_a_loop(since, index):
                tickets, number, since = {}, number + 1, []
            since.append(index)
            position = tickets.setdefault(index, len(tickets))
            found = ids(sequence[index])
            assert found == expected[number][position if shuffle else index]


def test_a_broken_iteration_is_made_good(samples: MakeSamples) -> None:
    """The iteration after a `break` gets the whole pass, and the one after that the next."""
    expected = passes(samples(N), 2)
    with small(samples(N)) as sequence:
        for _ in itertools.islice(sequence, 9):
            pass
        seen = [ids(batch) for batch in sequence]
        assert sorted(itertools.chain(*seen)) == list(range(N))
        assert [ids(batch) for batch in sequence] == expected[1]


@pytest.mark.parametrize("breaks", [[1], [5, 9], [22, 1, 23, 3]])
def test_broken_iterations_never_cost_a_sample(samples: MakeSamples, breaks: list[int]) -> None:
    with small(samples(N)) as sequence:
        for steps in breaks:
            for _ in itertools.islice(sequence, steps):
                pass
            whole = sorted(itertools.chain(*(ids(batch) for batch in sequence)))
            assert whole == list(range(N))


def test_an_index_beyond_the_end(samples: MakeSamples) -> None:
    with small(samples(N)) as sequence, pytest.raises(IndexError, match=str(STEPS)):
        sequence[STEPS]


def test_many_threads_ask_at_once(samples: MakeSamples) -> None:
    """As Keras does with `workers`: each index once, from 4 threads, is each sample once."""
    with small(samples(N), readers=2, batchers=2) as sequence:

        def every_fourth(first: int) -> list[int]:
            return [i for index in range(first, STEPS, 4) for i in ids(sequence[index])]

        for number in range(3):
            shares = [Task(partial(every_fourth, first)) for first in range(4)]
            seen = itertools.chain(*(share.result() for share in shares))
            assert sorted(seen) == list(range(N)), f"pass {number}"


# promise 3: file order


@pytest.mark.parametrize("seed", range(3))
def test_file_order_in_any_order_of_asking(samples: MakeSamples, seed: int) -> None:
    indices = random.Random(seed).choices(range(STEPS), k=60)
    with small(samples(N), shuffle=False) as sequence:
        for i in indices:
            assert ids(sequence[i]) == list(range(i * BATCH, min((i + 1) * BATCH, N)))


@pytest.mark.usefixtures("row_way")
def test_rows_keep_the_order_they_were_given_in(samples: MakeSamples) -> None:
    rows = np.array([70, 3, 4, 5, 6, 89, 0, 41, 42, 43, 20])
    order = passes(samples(N), 1, shuffle=False, rows=rows)[0]
    assert list(itertools.chain(*order)) == rows.tolist()


# promise 7: batches that stay


@pytest.mark.usefixtures("row_way")
@pytest.mark.parametrize("storage", ["contiguous", "gzip"])
def test_a_batch_never_changes(samples: MakeSamples, storage: str) -> None:
    """A caller who keeps everything, over two passes and after closing."""
    how: dict[str, Any] = {"readers": 2, "batchers": 2, "chunk_queue": 1, "batch_queue": 1}
    with small(samples(N, storage), **how) as sequence:
        kept = [batch for _ in range(2) for batch in sequence]
        at_once = two_passes(samples(N, storage))
        assert [frozen(batch) for batch in kept] == at_once
    assert [frozen(batch) for batch in kept] == at_once


@pytest.mark.usefixtures("row_way")
def test_a_part_of_a_batch_never_changes(samples: MakeSamples) -> None:
    """A view of one row keeps the row, though the batch itself is gone."""
    with small(samples(N), shuffle=False, chunk_queue=1, batch_queue=1) as sequence:
        rows = [sequence[i][0][1] for i in range(STEPS)]
        for _ in sequence:
            pass
    assert [int(row[0]) for row in rows] == [i * BATCH + 1 for i in range(STEPS)]


@pytest.mark.usefixtures("row_way")
def test_what_the_caller_writes_reaches_nobody(samples: MakeSamples) -> None:
    """Batches are the caller's own: either writable and never seen again, or not writable."""
    with small(samples(N), shuffle=False, chunk_queue=1, batch_queue=1) as sequence:
        for _ in range(3):
            for i, (x, _y) in enumerate(sequence):
                assert x[0, 0] == i * BATCH
                if x.flags.writeable:
                    x[:] = -1
