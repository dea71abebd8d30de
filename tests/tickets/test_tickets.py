"""Tickets against the calls that Keras makes, in the order in which it makes them.

Once with iterators that are recognised, as Keras 3.15's are, and once with a Keras whose iterators
are not, of which only the calls around epochs are known.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Sequence
from itertools import count

import pytest
from helpers.keras_calls import Keras, N, in_pass, shuffled
from hypothesis import given
from hypothesis import strategies as st

from prefetcher.errors import SettingsError
from prefetcher.order.plan import Place
from prefetcher.tickets.callers import SHAPES
from prefetcher.tickets.tickets import Tickets


def keras(seed: int = 0, *, chatty: bool = False, known: bool = False) -> Keras:
    tickets = Tickets(N, in_file_order=False)
    tickets.num_batches_read()
    return Keras(tickets, shuffled(seed), chatty=chatty, known=known)


KNOWN = pytest.mark.parametrize("known", [True, False], ids=["recognised", "unrecognised"])


@KNOWN
@given(st.integers(0, 999), st.booleans())
def test_epochs_are_passes_in_the_plans_order_whatever_keras_shuffles(
    known: bool, seed: int, chatty: bool
) -> None:
    fit = keras(seed, chatty=chatty, known=known)
    fit.draw_for_shapes()
    fit.reset()
    for number in range(3):
        assert fit.epoch() == in_pass(number)


@KNOWN
@given(st.integers(0, 999), st.booleans())
def test_a_batch_drawn_to_build_the_model_changes_nothing(
    known: bool, seed: int, chatty: bool
) -> None:
    fit = keras(seed, chatty=chatty, known=known)
    fit.build()
    fit.reset()
    assert fit.epoch() == in_pass(0)
    assert fit.epoch() == in_pass(1)


@KNOWN
@given(st.integers(0, 999), st.integers(1, N - 1), st.booleans(), st.booleans())
def test_one_iterator_over_several_epochs_is_one_pass(
    known: bool, seed: int, steps: int, chatty: bool, unbuilt: bool
) -> None:
    fit = keras(seed, chatty=chatty, known=known)
    if unbuilt:
        fit.build()
    fit.reset()
    for number in range(3):
        places: list[Place] = []
        while len(places) < N:
            places += fit.epoch(steps)
        assert places == in_pass(number)


@KNOWN
@given(
    st.integers(0, 999),
    st.integers(1, N - 1),
    st.integers(1, N - 1),
    st.booleans(),
    st.booleans(),
    st.booleans(),
)
def test_a_pass_that_was_broken_off_is_given_whole_to_the_next_fit(
    known: bool, seed: int, broken: int, steps: int, tensorflow: bool, ended: bool, chatty: bool
) -> None:
    first = keras(seed, known=known)
    first.reset()
    asked = {*first.order[:broken]}
    first.epoch(broken, end=ended)
    second = Keras(first.tickets, shuffled(seed + 1), chatty=chatty, known=known)
    second.tickets.num_batches_read()
    if tensorflow:
        second.draw_for_shapes()
        asked |= {0, 1}
    second.reset()
    # What TensorFlow draws may happen to be all that the broken pass still lacked.
    number = int(len(asked) == N and not known)
    places: list[Place] = []
    while len(places) < N:
        places += second.epoch(steps)
    assert places == in_pass(number)


@KNOWN
@given(st.integers(0, 999), st.integers(1, N - 1), st.booleans())
def test_a_predict_after_a_broken_fit(known: bool, seed: int, steps: int, tensorflow: bool) -> None:
    """`predict` does not reset before it begins."""
    fit = keras(seed, known=known)
    fit.reset()
    asked = {*fit.order[:steps]}
    fit.epoch(steps, end=False)
    predict = Keras(fit.tickets, range(N), known=known)
    predict.tickets.num_batches_read()
    if tensorflow:
        predict.draw_for_shapes()
        asked |= {0, 1}
    assert predict.epoch() == in_pass(int(len(asked) == N and not known))


@KNOWN
def test_an_evaluation_of_the_first_steps_gets_the_same_ones_each_time(known: bool) -> None:
    validation = Keras(Tickets(N, in_file_order=True), range(N), known=known)
    for _ in range(3):
        validation.reset()
        assert validation.epoch(3) == in_pass(0)[:3]


def test_the_same_index_draws_the_same_place_again() -> None:
    tickets = Tickets(N, in_file_order=False)
    assert [tickets.place(index) for index in (4, 2, 4, 0, 2)] == [
        Place(0, position) for position in (0, 1, 0, 2, 1)
    ]


def test_a_request_after_a_whole_lap_begins_the_next_pass() -> None:
    tickets = Tickets(N, in_file_order=False)
    laps = [tickets.place(index) for index in list(range(N)) * 2]
    assert laps == in_pass(0) + in_pass(1)


def test_no_pass_ends_inside_an_epoch() -> None:
    tickets = Tickets(N, in_file_order=False)
    tickets.epoch_begin()
    first = [tickets.place(index) for index in range(N)]
    tickets.num_batches_read()
    assert [tickets.place(index) for index in range(N)] == first == in_pass(0)


def test_file_order_gives_an_index_its_own_position() -> None:
    tickets = Tickets(N, in_file_order=True)
    assert [tickets.place(index).position for index in shuffled(1)] == shuffled(1)


@KNOWN
def test_an_abandoned_iterator_that_still_asks_takes_nothing_from_the_next(known: bool) -> None:
    fit = keras(known=known)
    fit.reset()
    fit.epoch(2, end=False)
    second = Keras(fit.tickets, shuffled(5), known=known, askers=count(1))
    second.tickets.num_batches_read()
    second.reset()
    fit.step()
    places = second.epoch(3)
    fit.step()
    places += second.epoch(N)
    assert sorted(places) == in_pass(0)


def indexed(tickets: Tickets, indices: Iterable[int] = range(N)) -> list[Place]:
    """Plain indexing."""
    return [tickets.place(index) for index in indices]


@KNOWN
@given(st.integers(0, 999), st.integers(1, N - 1), st.booleans(), st.booleans())
def test_plain_loops_after_a_fit_are_whole(
    known: bool, seed: int, steps: int, tensorflow: bool, chatty: bool
) -> None:
    """A fit of fewer steps than a pass leaves tickets, and they take nothing from a loop."""
    fit = keras(seed, chatty=chatty, known=known)
    if tensorflow:
        fit.draw_for_shapes()
    fit.reset()
    for _ in range(seed % 3 + 1):
        fit.epoch(steps)
    first = fit.tickets.place(0).pass_number
    for number in range(first, first + 3):
        assert sorted(indexed(fit.tickets)) == in_pass(number)


@given(st.integers(0, 999), st.integers(1, N - 1), st.booleans())
def test_callbacks_that_index_take_nothing_from_a_fit(
    seed: int, steps: int, tensorflow: bool
) -> None:
    """Within its epochs and between them, all or some, once or twice."""
    dice = random.Random(seed)
    fit = keras(seed, known=True)
    if tensorflow:
        fit.draw_for_shapes()
    fit.reset()
    trained: list[Place] = []
    while len(trained) < 3 * N:
        fit.begin_epoch()
        for _ in range(min(steps, fit.left)):
            trained.append(fit.step())
            indexed(fit.tickets, range(dice.randrange(N + 1)))
        fit.end_epoch()
        indexed(fit.tickets, range(dice.randrange(N + 1)))
    passes = [trained[first : first + N] for first in range(0, len(trained) // N * N, N)]
    assert [sorted(one) for one in passes] == [in_pass(one[0].pass_number) for one in passes]


@pytest.mark.parametrize("resumed", [True, False])
def test_what_a_callback_looks_at_does_not_move_the_passes_of_a_fit(resumed: bool) -> None:
    fit = keras(known=True)
    if resumed:
        fit.tickets.resume(0, range(N))
    fit.reset()
    for number in range(3):
        fit.begin_epoch()
        places = []
        for index in range(N):
            places.append(fit.step())
            for other in range(N):
                fit.tickets.place(other, looks=True)
            fit.tickets.place(index, looks=True)
            loop = fit.tickets.begin(looks=True)
            for other in range(N):
                fit.tickets.place(other, loop, looks=True)
        fit.end_epoch()
        assert places == in_pass(number)


def test_a_loop_does_not_go_on_with_what_a_callback_looked_at() -> None:
    fit = keras(known=True)
    fit.reset()
    fit.begin_epoch()
    fit.tickets.place(3, looks=True)
    assert [fit.step() for _ in range(N)] == in_pass(0)
    fit.end_epoch()
    assert indexed(fit.tickets) == in_pass(1)


def test_where_keras_is_recognised_its_epochs_do_not_hold_up_a_plain_loop() -> None:
    """Even if a loop of the user's own told of epochs before."""
    fit = keras(known=True)
    fit.tickets.epoch_begin()
    fit.tickets.epoch_end()
    fit.reset()
    fit.epoch(3, end=False)
    assert [indexed(fit.tickets) for _ in range(2)] == [in_pass(0), in_pass(1)]


def test_where_an_iterator_of_keras_began_unseen_its_epochs_count() -> None:
    """As behind a sequence that knows its own length."""
    tickets = Tickets(N, in_file_order=False)
    tickets.epoch_begin(by_keras=True)
    assert tickets.of_keras(7) is None
    assert indexed(tickets, [*range(N), *range(N)]) == in_pass(0) * 2
    tickets.epoch_end(by_keras=True)
    assert indexed(tickets) == in_pass(1)


def test_after_a_fit_that_was_broken_off_plain_loops_go_from_pass_to_pass() -> None:
    """The epoch that never ended does not keep them in one pass."""
    fit = keras(known=True)
    fit.reset()
    fit.epoch(3, end=False)
    laps = [indexed(fit.tickets) for _ in range(3)]
    assert laps == [in_pass(number) for number in range(3)]


def test_an_evaluation_in_mid_epoch_takes_nothing_from_the_fit() -> None:
    fit = keras(known=True)
    fit.reset()
    fit.begin_epoch()
    places = [fit.step() for _ in range(3)]
    evaluation = Keras(fit.tickets, range(N), known=True, askers=count(1))
    evaluation.reset()
    assert evaluation.epoch() == in_pass(0)
    places += [fit.step() for _ in range(N - 3)]
    fit.end_epoch()
    assert places == in_pass(0)
    assert fit.epoch() == in_pass(1)


@pytest.mark.parametrize("seen", [[N - 1], [N - 2], [5, 6], [6, 5, 6, 0], [1, 3]], ids=str)
def test_a_look_at_some_batches_before_a_plain_loop_costs_it_nothing(seen: list[int]) -> None:
    tickets = Tickets(N, in_file_order=False)
    indexed(tickets, seen)
    assert sorted(indexed(tickets)) == in_pass(0)
    assert indexed(tickets) == in_pass(1)


def test_two_plain_loops_that_take_turns_get_the_same_batches() -> None:
    tickets = Tickets(N, in_file_order=False)
    for number in range(2):
        both = [(tickets.place(index), tickets.place(index)) for index in range(N)]
        assert both == [(place, place) for place in in_pass(number)]


def test_a_loop_of_ones_own_that_tells_of_its_epochs() -> None:
    """As Keras's calls are made by hand: a broken round is given whole again."""
    tickets = Tickets(N, in_file_order=False)
    for count_asked, number in ((3, 0), (N, 0), (N, 1)):
        indices = shuffled(number + count_asked)[:count_asked]
        assert indexed(tickets, indices) == in_pass(number)[:count_asked]
        tickets.epoch_end()


def test_for_loops_that_take_turns_are_each_whole() -> None:
    tickets = Tickets(N, in_file_order=False)
    first, second = tickets.begin(), tickets.begin()
    both = [(tickets.place(index, first), tickets.place(index, second)) for index in range(N)]
    assert both == [(place, place) for place in in_pass(0)]
    third = tickets.begin()
    assert tickets.place(0, third) == (1, 0)


def test_iterators_that_are_over_are_forgotten() -> None:
    """With Keras's shuffling each of them holds a ticket for each index."""
    fit = keras(known=True)
    for _ in range(100):
        fit.epoch()
    assert len(fit.tickets._keras) <= 3


def test_who_still_asks_is_not_forgotten() -> None:
    tickets = Tickets(N, in_file_order=False)
    for asker in range(1000):
        tickets.keras_begins(asker)
        tickets.of_keras(0)
    assert tickets.of_keras(0) is not None
    assert tickets.of_keras(999) is not None
    assert tickets.of_keras(1) is None
    assert len(tickets._keras) < 100


@pytest.mark.parametrize("order", [range(100_000), list(reversed(range(100_000)))])
def test_tickets_in_order_take_no_memory(order: Sequence[int]) -> None:
    tickets = Tickets(100_000, in_file_order=False)
    for index in order:
        tickets.place(index)
    in_order = order[0] == 0
    assert tickets._indexing.iteration is not None
    assert (len(tickets._indexing.iteration.drawn._others) == 0) is in_order


def epoch(tickets: Tickets) -> list[Place]:
    """One epoch, as long as Keras is told that it is."""
    tickets.epoch_begin()
    places = [tickets.place(index) for index in range(len(tickets))]
    tickets.epoch_end()
    return places


def test_a_resumed_pass_gives_what_is_left_and_then_the_next_pass_whole() -> None:
    tickets = Tickets(N, in_file_order=False)
    tickets.resume(3, range(4, N))
    assert len(tickets) == N - 4
    assert epoch(tickets) == in_pass(3)[4:]
    tickets.num_batches_read()
    assert len(tickets) == N
    assert tickets.place(0) == (4, 0)


@pytest.mark.parametrize("left", [1, 2])
def test_drawing_shapes_does_not_use_up_a_resumed_pass(left: int) -> None:
    """TensorFlow draws two batches and resets before it trains on any."""
    tickets = Tickets(N, in_file_order=False)
    tickets.resume(3, range(N - left, N))
    for index in range(left):
        tickets.place(index)
    tickets.num_batches_read()
    assert tickets.left == left
    tickets.epoch_end(reset=True)
    assert epoch(tickets) == in_pass(3)[-left:]


def test_what_is_left_after_training_follows_the_order_of_asking() -> None:
    tickets = Tickets(N, in_file_order=True)
    asked = [3, 0, 1]
    for index in asked:
        tickets.place(index)
    pass_number, rest = tickets.after(2)
    assert pass_number == 0
    assert list(rest) == [position for position in range(N) if position not in asked[:2]]
    tickets.resume(pass_number, rest)
    assert tickets.place(0) == (0, 1)


def test_a_pass_that_was_trained_whole_is_followed_by_the_next() -> None:
    tickets = Tickets(2, in_file_order=False)
    tickets.place(0)
    tickets.place(1)
    assert tickets.after(2) == (1, range(2))
    assert tickets.after(0) == (0, range(2))
    with pytest.raises(SettingsError, match="trained=3"):
        tickets.after(3)


def test_a_state_speaks_of_what_is_trained() -> None:
    """Not of what a callback looks at, nor of an evaluation or of what is drawn for shapes."""
    fit = keras(known=True)
    fit.reset()
    fit.begin_epoch()
    for _ in range(3):
        fit.step()
    fit.tickets.place(5, looks=True)
    fit.tickets.keras_begins(99, trains=False)
    fit.tickets.keras_begins(SHAPES)
    assert fit.tickets.after(2) == (0, range(2, N))
    loop = fit.tickets.begin()
    fit.tickets.place(0, loop)
    assert fit.tickets.after(None) == (0, range(1, N))


def test_a_resumed_pass_is_over_when_a_for_loop_had_what_was_left() -> None:
    tickets = Tickets(N, in_file_order=False)
    tickets.resume(3, range(4, N))
    loop = tickets.begin()
    assert [tickets.place(index, loop) for index in range(len(loop))] == in_pass(3)[4:]
    tickets.keras_begins(0)
    fit = tickets.of_keras(0)
    assert fit is not None
    assert len(fit) == len(tickets) == N
    assert tickets.place(0, fit) == (4, 0)


def test_a_resumed_pass_is_over_when_a_plain_loop_had_what_was_left() -> None:
    tickets = Tickets(N, in_file_order=False)
    tickets.resume(3, range(4, N))
    assert indexed(tickets, range(N - 4)) == in_pass(3)[4:]
    assert indexed(tickets) == in_pass(4)
    assert len(tickets) == N


def test_after_a_resumed_pass_the_length_is_whole_before_the_next_request() -> None:
    """A plain loop asks for the length first: the rest's would cut the next pass short."""
    tickets = Tickets(N, in_file_order=False)
    tickets.resume(3, range(4, N))
    assert indexed(tickets, range(len(tickets))) == in_pass(3)[4:]
    assert len(tickets) == N
    loop = tickets.begin()
    assert [tickets.place(index, loop) for index in range(len(loop))] == in_pass(4)


def test_an_iterator_of_before_a_resume_does_not_end_the_resumed_pass() -> None:
    fit = keras(known=True)
    fit.reset()
    fit.epoch(3, end=False)
    fit.tickets.resume(0, range(5, N))
    for _ in range(N - 3):
        fit.step()
    assert fit.tickets.after(None) == (0, range(5, N))
    assert len(fit.tickets.begin()) == 2
