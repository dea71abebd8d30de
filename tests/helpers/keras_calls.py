"""The calls that Keras makes to the tickets, in its order, without Keras."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from itertools import count

from prefetcher.order.plan import Place
from prefetcher.tickets.callers import SHAPES, Asker
from prefetcher.tickets.iteration import Iteration
from prefetcher.tickets.tickets import Tickets

N = 7


class Keras:
    """Makes the calls of Keras 3.15's adapter and epoch iterator; returns the places it got.

    Args:
        tickets: What is tested.
        order: The indices as the adapter shuffled them for the first iterator.
        chatty: Callbacks that read `num_batches` around every batch and epoch.
        known: Whether its iterators are recognised.
        askers: Gives each iterator its identity.
    """

    def __init__(
        self,
        tickets: Tickets,
        order: Sequence[int],
        *,
        chatty: bool = False,
        known: bool = False,
        askers: Iterator[int] | None = None,
    ) -> None:
        self.tickets = tickets
        self.order = order
        self.chatty = chatty
        self.known = known
        self._askers = count() if askers is None else askers
        self._asker = -1
        self._again = random.Random(f"{order}")
        self._iterator: list[int] = []

    def draw_for_shapes(self) -> None:
        """TensorFlow, before anything else."""
        self.tickets.num_batches_read()
        if self.known:
            self.tickets.keras_begins(SHAPES)
        for index in range(min(2, N)):
            self.tickets.place(index, self._of(SHAPES), trains=not self.known)

    def reset(self) -> None:
        """Before the first epoch of a fit and before each evaluation."""
        self.tickets.num_batches_read()
        self.tickets.epoch_end(reset=True, by_keras=self.known)
        self._iterator = []

    def build(self) -> None:
        """JAX and PyTorch, with a model that is not built."""
        self.begin_epoch()
        self.step()

    def epoch(self, steps: int | None = None, *, end: bool = True) -> list[Place]:
        """An epoch of so many steps of the iterator there is, or a whole one of a new one."""
        self._talk()
        if steps is None:
            self._iterator = []
        self.begin_epoch()
        count = N if steps is None else steps
        places = [self.step() for _ in range(min(count, self.left))]
        if end:
            self.end_epoch()
        self._talk()
        return places

    def begin_epoch(self) -> None:
        """An iterator begins with it, if there is none that goes on."""
        self.tickets.epoch_begin(by_keras=self.known)
        if not self._iterator:
            self.tickets.num_batches_read()
            self.tickets.num_batches_read()
            self._asker = next(self._askers)
            if self.known:
                self.tickets.keras_begins(self._asker)
            self._iterator = list(self.order)
            if self.order != range(N):  # each iterator is shuffled anew
                self.order = self._again.sample(range(N), N)

    def end_epoch(self) -> None:
        self.tickets.epoch_end(by_keras=self.known)

    def step(self) -> Place:
        self._talk()
        index = self._iterator.pop(0)
        place = self.tickets.place(index, self._of(self._asker), trains=not self.known)
        self._talk()
        return place

    @property
    def left(self) -> int:
        """What the iterator has not asked for yet."""
        return len(self._iterator)

    def _of(self, asker: Asker) -> Iteration | None:
        return self.tickets.of_keras(asker) if self.known else None

    def _talk(self) -> None:
        if self.chatty:
            self.tickets.num_batches_read()


def shuffled(seed: int) -> list[int]:
    return random.Random(seed).sample(range(N), N)


def in_pass(number: int) -> list[Place]:
    return [Place(number, position) for position in range(N)]
