"""Tickets when all who can ask do so in any order: fits, evaluations, loops, looks at a batch."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from itertools import count
from typing import Any

from helpers.keras_calls import Keras, N, in_pass, shuffled
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, invariant, multiple, rule

from prefetcher.order.plan import Place
from prefetcher.tickets.iteration import Iteration
from prefetcher.tickets.tickets import Tickets

MOST_LOOKS = 2  # single batches that are looked at before a plain loop


class Together(RuleBasedStateMachine):
    """Whatever the others do, each gets its pass whole, and the next one the next pass."""

    def __init__(self) -> None:
        super().__init__()
        self.tickets = Tickets(N, in_file_order=False)
        self.askers: Iterator[int] = count()
        self.got: dict[Any, list[Place]] = defaultdict(list)  # by iterator
        self.had = {-1}  # passes that somebody had all of
        self.looks = 0

    fits = Bundle("fits")
    loops = Bundle("loops")

    @rule(target=fits, seed=st.integers(0, 99), tensorflow=st.booleans(), unbuilt=st.booleans())
    def fit(self, seed: int, tensorflow: bool, unbuilt: bool) -> Keras:
        """One begins, after the one before it or in a callback of it."""
        fit = Keras(self.tickets, shuffled(seed), known=True, askers=self.askers)
        if tensorflow:
            fit.draw_for_shapes()
        elif unbuilt:
            fit.build()
        fit.reset()
        return fit

    @rule(fit=fits, steps=st.integers(1, N), ends=st.booleans())
    def epoch(self, fit: Keras, steps: int, ends: bool) -> None:
        """Of a few steps; without an end it was broken off."""
        fit.begin_epoch()
        for _ in range(min(steps, fit.left)):
            self._step(fit)
        if ends:
            fit.end_epoch()

    @rule(fit=fits)
    def step(self, fit: Keras) -> None:
        """tf.data runs ahead, or was abandoned and still asks."""
        if fit.left:
            self._step(fit)

    @rule(target=loops)
    def loop(self) -> tuple[Iteration, int]:
        loop = self.tickets.begin()
        assert loop.pass_number == max(self.had) + 1
        return loop, 0

    @rule(target=loops, at=consumes(loops), steps=st.integers(1, N))
    def go_on(self, at: tuple[Iteration, int], steps: int) -> Any:
        loop, done = at
        for index in range(done, min(done + steps, N)):
            self._keep(loop, self.tickets.place(index, loop))
        return (loop, done + steps) if done + steps < N else multiple()

    @rule(index=st.integers(0, N - 1))
    def look(self, index: int) -> None:
        if self.looks < MOST_LOOKS:
            self.looks += 1
            self.tickets.place(index)

    @rule(fit=fits, when=st.sets(st.integers(0, N - 1)))
    def plain_loop(self, fit: Keras, when: set[int]) -> None:
        """A fit goes on meanwhile, in other threads or because this is a callback of it."""
        self.looks = 0
        places = []
        for index in range(N):
            places.append(self.tickets.place(index))
            if index in when and fit.left:
                self._step(fit)
        assert sorted(places) == in_pass(places[0].pass_number)
        self.had.add(places[0].pass_number)

    @rule()
    def ask_for_the_length(self) -> None:
        self.tickets.num_batches_read()

    @invariant()
    def each_gets_its_pass_in_order(self) -> None:
        for places in self.got.values():
            assert places == in_pass(places[0].pass_number)[: len(places)]

    def _step(self, fit: Keras) -> None:
        place = fit.step()
        if not self.got[fit._asker]:
            assert place.pass_number == max(self.had) + 1
        self._keep(fit._asker, place)

    def _keep(self, iterator: Any, place: Place) -> None:
        self.got[iterator].append(place)
        if len(self.got[iterator]) == N:
            self.had.add(place.pass_number)


TestTogether = Together.TestCase
TestTogether.settings = settings(max_examples=200, stateful_step_count=40)
