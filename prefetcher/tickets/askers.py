"""Whose request is it? Who asks is read off the stack, and gets the place that is due to it."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple
from weakref import WeakSet

from prefetcher.order.plan import Place
from prefetcher.tickets import callers
from prefetcher.tickets.iteration import Iteration
from prefetcher.tickets.tickets import Tickets


class Request(NamedTuple):
    """A request, before its batch is waited for."""

    iteration: Iteration | None
    """Whose it is; None for plain indexing."""
    looks: bool
    """Whether its batch is looked at and not trained on."""
    batches: int
    """How many there are in that iteration."""


class Askers:
    """Tells the requests of one sequence apart. Any thread; called by the sequence itself.

    Args:
        tickets: Which places its requests get.
    """

    def __init__(self, tickets: Tickets) -> None:
        self._tickets = tickets
        self._own = threading.local()  # .loop: the iteration of the `for` loop that asks
        self._method: str | None = None  # of Keras, whose epoch this is
        self._adapters: WeakSet[object] = WeakSet()  # what Keras began epochs with

    def request(self) -> Request:
        """Whose request this is."""
        loop: Iteration | None = getattr(self._own, "loop", None)
        if loop is not None:
            return Request(loop, self._callback_looks(), len(loop))
        if (asker := callers.keras_asks()) is not None:
            iteration = self._tickets.of_keras(asker)
            if iteration is not None:
                return Request(iteration, asker == callers.SHAPES, len(iteration))
        return Request(None, self._callback_looks(), len(self._tickets))

    def place(self, index: int, request: Request) -> Place:
        """The place that answers it; `index` is 0 to batches - 1."""
        return self._tickets.place(index, request.iteration, looks=request.looks)

    def loop(self) -> Iteration:
        """A `for` loop begins."""
        return self._tickets.begin(looks=self._callback_looks())

    @contextmanager
    def of_loop(self, loop: Iteration) -> Iterator[None]:
        """Whatever this thread requests in the block is of that loop."""
        before = getattr(self._own, "loop", None)
        self._own.loop = loop
        try:
            yield
        finally:
            self._own.loop = before

    def length_read(self) -> None:
        """Somebody asked for the length: an iterator of Keras does, and begins with it."""
        if (asker := callers.keras_begins()) is not None:
            self._tickets.keras_begins(asker, trains=self._method in (None, "fit"))

    def epoch_begin(self) -> str | None:
        """An epoch begins; returns which method of Keras's it is of, None if of none."""
        adapter = callers.keras_adapter()
        self._tickets.epoch_begin(by_keras=adapter is not None)
        if adapter is None:
            return None
        self._adapters.add(adapter)
        self._method = callers.keras_method()
        return self._method

    def epoch_end(self) -> None:
        """An epoch ends, or a fit is about to begin."""
        self._method = None
        by_keras = callers.keras_adapter() is not None
        self._tickets.epoch_end(reset=callers.keras_resets(), by_keras=by_keras)

    def _callback_looks(self) -> bool:
        """Whether a callback asks, of Keras's work on this very sequence."""
        looks = bool(self._adapters) and callers.keras_works_with(self._adapters)
        if not looks:
            self._adapters.clear()  # that work is over, or another thread does it
        return looks
