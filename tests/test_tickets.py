"""Tickets against the calls that Keras makes, in the order in which it makes them."""

from __future__ import annotations

import random
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prefetcher.errors import SettingsError
from prefetcher.plan import Place
from prefetcher.tickets import Tickets

N = 7


class Keras:
    """Makes the calls of Keras 3.15's adapter and epoch iterator; returns the places it got.

    Args:
        tickets: What is tested.
        order: The indices as the adapter shuffled them for the first iterator.
        chatty: Callbacks that read `num_batches` around every batch and epoch.
    """

    def __init__(self, tickets: Tickets, order: Sequence[int], *, chatty: bool = False) -> None:
        self.tickets = tickets
        self.order = order
        self.chatty = chatty
        self._again = random.Random(f"{order}")
        self._iterator: list[int] = []

    def draw_for_shapes(self) -> None:
        """TensorFlow, before anything else."""
        self.tickets.num_batches_read()
        for index in range(min(2, N)):
            self.tickets.place(index)

    def reset(self) -> None:
        """Before the first epoch of a fit and before each evaluation."""
        self.tickets.num_batches_read()
        self.tickets.epoch_end(reset=True)
        self._iterator = []

    def build(self) -> None:
        """JAX and PyTorch, with a model that is not built."""
        self._begin()
        self.tickets.place(self._iterator.pop(0))

    def epoch(self, steps: int | None = None, *, end: bool = True) -> list[Place]:
        """An epoch of so many steps of the iterator there is, or a whole one of a new one."""
        self._talk()
        if steps is None:
            self._iterator = []
        self._begin()
        count = N if steps is None else steps
        places = [self._step() for _ in range(min(count, len(self._iterator)))]
        if end:
            self.tickets.epoch_end()
        self._talk()
        return places

    def _begin(self) -> None:
        self.tickets.epoch_begin()
        if not self._iterator:
            self.tickets.num_batches_read()
            self.tickets.num_batches_read()
            self._iterator = list(self.order)
            if self.order != range(N):  # each iterator is shuffled anew
                self.order = self._again.sample(range(N), N)

    def _step(self) -> Place:
        self._talk()
        place = self.tickets.place(self._iterator.pop(0))
        self._talk()
        return place

    def _talk(self) -> None:
        if self.chatty:
            self.tickets.num_batches_read()


def shuffled(seed: int) -> list[int]:
    return random.Random(seed).sample(range(N), N)


def in_pass(number: int) -> list[Place]:
    return [Place(number, position) for position in range(N)]


def keras(seed: int = 0, *, chatty: bool = False) -> Keras:
    tickets = Tickets(N, in_file_order=False)
    tickets.num_batches_read()
    return Keras(tickets, shuffled(seed), chatty=chatty)


@given(st.integers(0, 999), st.booleans())
def test_epochs_are_passes_in_the_plans_order_whatever_keras_shuffles(
    seed: int, chatty: bool
) -> None:
    fit = keras(seed, chatty=chatty)
    fit.draw_for_shapes()
    fit.reset()
    for number in range(3):
        assert fit.epoch() == in_pass(number)


@given(st.integers(0, 999), st.booleans())
def test_a_batch_drawn_to_build_the_model_changes_nothing(seed: int, chatty: bool) -> None:
    fit = keras(seed, chatty=chatty)
    fit.build()
    fit.reset()
    assert fit.epoch() == in_pass(0)
    assert fit.epoch() == in_pass(1)


@given(st.integers(0, 999), st.integers(1, N - 1), st.booleans(), st.booleans())
def test_one_iterator_over_several_epochs_is_one_pass(
    seed: int, steps: int, chatty: bool, unbuilt: bool
) -> None:
    fit = keras(seed, chatty=chatty)
    if unbuilt:
        fit.build()
    fit.reset()
    for number in range(3):
        places: list[Place] = []
        while len(places) < N:
            places += fit.epoch(steps)
        assert places == in_pass(number)


@given(
    st.integers(0, 999),
    st.integers(1, N - 1),
    st.integers(1, N - 1),
    st.booleans(),
    st.booleans(),
    st.booleans(),
)
def test_a_pass_that_was_broken_off_is_given_whole_to_the_next_fit(
    seed: int, broken: int, steps: int, tensorflow: bool, ended: bool, chatty: bool
) -> None:
    first = keras(seed)
    first.reset()
    asked = {*first.order[:broken]}
    first.epoch(broken, end=ended)
    second = Keras(first.tickets, shuffled(seed + 1), chatty=chatty)
    second.tickets.num_batches_read()
    if tensorflow:
        second.draw_for_shapes()
        asked |= {0, 1}
    second.reset()
    # What TensorFlow draws may happen to be all that the broken pass still lacked.
    number = int(len(asked) == N)
    places: list[Place] = []
    while len(places) < N:
        places += second.epoch(steps)
    assert places == in_pass(number)


@given(st.integers(0, 999), st.integers(1, N - 1), st.booleans())
def test_a_predict_after_a_broken_fit(seed: int, steps: int, tensorflow: bool) -> None:
    """`predict` does not reset before it begins."""
    fit = keras(seed)
    fit.reset()
    asked = {*fit.order[:steps]}
    fit.epoch(steps, end=False)
    predict = Keras(fit.tickets, range(N))
    predict.tickets.num_batches_read()
    if tensorflow:
        predict.draw_for_shapes()
        asked |= {0, 1}
    assert predict.epoch() == in_pass(int(len(asked) == N))


def test_an_evaluation_of_the_first_steps_gets_the_same_ones_each_time() -> None:
    validation = Keras(Tickets(N, in_file_order=True), range(N))
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


def test_an_abandoned_iterator_that_still_asks_takes_nothing_from_the_next() -> None:
    fit = keras()
    fit.reset()
    abandoned = fit.order[2:]
    fit.epoch(2, end=False)
    second = Keras(fit.tickets, shuffled(5))
    second.tickets.num_batches_read()
    second.reset()
    fit.tickets.place(abandoned[0])
    places = second.epoch(3)
    fit.tickets.place(abandoned[1])
    places += second.epoch(N)
    assert sorted(places) == in_pass(0)


@pytest.mark.parametrize("order", [range(100_000), list(reversed(range(100_000)))])
def test_tickets_in_order_take_no_memory(order: Sequence[int]) -> None:
    tickets = Tickets(100_000, in_file_order=False)
    for index in order:
        tickets.place(index)
    in_order = order[0] == 0
    assert (len(tickets._drawn._others) == 0) is in_order


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
    assert len(tickets) == left
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
