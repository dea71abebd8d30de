"""Where one time through a pass ends in plain indexing."""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator

import pytest

from prefetcher.indexing import Indexing
from prefetcher.iteration import Iteration

N = 9


def ask(indexing: Indexing, indices: Iterable[int]) -> Iterator[bool]:
    """Yields whether each request began another iteration."""
    for index in indices:
        begins = indexing.ends_before(index)
        if begins:
            indexing.begin(Iteration(0, range(N), "anybody", in_file_order=False))
        indexing.asks(index)
        assert indexing.iteration is not None
        indexing.iteration.place(index)
        yield begins


def begun_at(*indices: int) -> list[int]:
    """The requests, by number, that begin an iteration."""
    return [number for number, begins in enumerate(ask(Indexing(), indices)) if begins]


def shuffled(seed: int) -> list[int]:
    return random.Random(seed).sample(range(N), N)


LOOP = tuple(range(N))


def test_loops_follow_each_other() -> None:
    assert begun_at(*LOOP, *LOOP, *LOOP) == [0, N, 2 * N]
    assert begun_at(*shuffled(1), *shuffled(2), *LOOP, *shuffled(3)) == [0, N, 2 * N, 3 * N]
    assert begun_at(*reversed(LOOP), *reversed(LOOP)) == [0, N]


@pytest.mark.parametrize("seen", [(8,), (7,), (7, 8), (0,), (5, 8, 5, 2)], ids=str)
def test_a_loop_goes_on_over_what_was_looked_at(seen: tuple[int, ...]) -> None:
    assert begun_at(*seen, *LOOP, *LOOP) == [0, len(seen) + N]


def test_a_broken_loop_is_followed_by_a_whole_one() -> None:
    assert begun_at(*LOOP[:5], *LOOP, *LOOP) == [0, 5 + N]


def test_two_loops_that_take_turns() -> None:
    turns = [index for index in LOOP for _ in range(2)]
    assert begun_at(*turns, *turns) == [0, 2 * N]


def test_the_last_index_is_the_same_again_after_a_loop_only() -> None:
    assert begun_at(*LOOP, N - 1, N - 1, 0) == [0, N + 2]
    order = [*LOOP[2:], 0, 1]
    assert begun_at(*order, 1) == [0, N]


def test_an_index_beyond_a_rest_belongs_to_another_pass() -> None:
    indexing = Indexing()
    indexing.begin(Iteration(0, range(3), "anybody", in_file_order=False))
    assert list(ask(indexing, [0, 1, 7])) == [False, False, True]


def test_epochs_that_do_not_speak_of_it_change_nothing() -> None:
    indexing = Indexing()
    assert list(ask(indexing, LOOP[:4])) == [True, False, False, False]
    assert not indexing.epoch_begins()
    assert not indexing.epoch_ends(reset=False)
    assert not indexing.epoch_ends(reset=True)
    assert not any(ask(indexing, LOOP[4:]))
    assert list(ask(indexing, LOOP)) == [True] + [False] * (N - 1)


def test_nothing_ends_within_an_epoch_and_what_is_left_goes_on() -> None:
    indexing = Indexing()
    indexing.has_epochs = True
    indexing.epoch_begins()
    assert sum(ask(indexing, [*LOOP[:6], *LOOP[:6]])) == 1
    assert not indexing.epoch_ends(reset=False)
    assert not indexing.epoch_begins()
    assert not any(ask(indexing, [*LOOP[6:], *LOOP]))
    assert indexing.epoch_ends(reset=False), "it is complete"


def test_an_epoch_that_ended_is_a_beginning() -> None:
    """What it left over and the rest of the loop are one pass, asked for once more."""
    indexing = Indexing()
    indexing.has_epochs = True
    indexing.epoch_begins()
    list(ask(indexing, shuffled(1)[:5]))
    indexing.epoch_ends(reset=False)
    assert not any(ask(indexing, shuffled(2)))
    assert next(ask(indexing, shuffled(3)))
