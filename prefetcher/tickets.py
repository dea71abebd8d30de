"""Which position of which pass a request gets. Pure bookkeeping: no data, no thread of its own.

Keras asks a `Sequence` for indices, in random order if it likes, some of them twice, and never
says outright that a new round begins. An index is therefore a ticket: its first request in a pass
takes the next position of the stream, and asking again gives the same position again.

What tells that a new iterator begins (checked against Keras 3.15):

- for sure: a reset, which Keras does before each fit and evaluation and after drawing a batch to
  build a model; `on_epoch_end` outside an epoch; `on_epoch_begin` inside one, which was broken off;
- once every position is out: `on_epoch_begin`, or outside an epoch a read of `num_batches` or a
  request.

A read of `num_batches` in mid-pass proves nothing, because callbacks read it too, and with
`steps_per_epoch` one iterator goes on over many epochs. So an iterator is never cut short, and a
pass that was broken off is given whole to the next.

A pass that is resumed has fewer positions to give. Drawing shapes alone may take them all, so until
an epoch has ended such a pass is not left for the next one.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from itertools import chain, islice

import numpy as np
from numpy.typing import NDArray

from prefetcher.errors import SettingsError
from prefetcher.plan import Place

Rest = Sequence[int] | NDArray[np.int64]
"""Positions of a pass that are still to be trained, ascending: a range where it can be one."""


class Tickets:
    """Hands out the positions of each pass exactly once. Any thread may call; never blocks long.

    Args:
        num_batches: Batches in a pass, at least 1.
        in_file_order: True makes the position of an index that index itself.
    """

    def __init__(self, num_batches: int, *, in_file_order: bool) -> None:
        self._num_batches = num_batches
        self._in_file_order = in_file_order
        self._lock = threading.Lock()
        self._pass_number = 0
        self._rest: Rest = range(num_batches)
        self._resumed = False
        self._in_epoch = False
        self._drawn = _Drawn()

    def __len__(self) -> int:
        """Batches that an iteration of this pass gives: all, or what a resumed pass has left."""
        return len(self._rest)

    def place(self, index: int) -> Place:
        """The place whose batch answers a request for `index` (0 to len - 1)."""
        with self._lock:
            if self._complete and not self._in_epoch:
                self._begin_pass()
            if index not in self._drawn:
                self._drawn[index] = index if self._in_file_order else len(self._drawn)
            return Place(self._pass_number, int(self._rest[self._drawn[index]]))

    def resume(self, pass_number: int, rest: Rest) -> None:
        """The next iteration gives the positions in `rest` of that pass, and no others of it."""
        with self._lock:
            self._pass_number, self._rest, self._resumed = pass_number, rest, True
            self._in_epoch = False
            self._drawn = _Drawn()

    def after(self, trained: int | None) -> tuple[int, Rest]:
        """The pass and what is left of it once `trained` batches of this iteration were trained.

        Args:
            trained: Counted in the order of asking; None for all that were asked for.

        Raises:
            SettingsError: So many were not asked for.
        """
        with self._lock:
            trained = len(self._drawn) if trained is None else trained
            if not 0 <= trained <= len(self._drawn):
                raise SettingsError(
                    f"trained={trained}: this iteration has handed out {len(self._drawn)} batches"
                )
            if trained == len(self._rest):
                return self._pass_number + 1, range(self._num_batches)
            if trained <= self._drawn.run or not self._in_file_order:
                return self._pass_number, self._rest[trained:]
            left = np.ones(len(self._rest), np.bool_)
            left[list(self._drawn.first(trained))] = False
            return self._pass_number, np.asarray(self._rest, np.int64)[left]

    def begin_iteration(self) -> None:
        """A new iterator surely begins: on the next pass if this one is complete, else on it."""
        with self._lock:
            if self._complete:
                self._begin_pass()
            self._drawn = _Drawn()

    def num_batches_read(self) -> None:
        """Keras or somebody else asked how many batches there are."""
        with self._lock:
            if self._complete and not self._in_epoch and not self._resumed:
                self._begin_pass()

    def epoch_begin(self) -> None:
        """Keras begins an epoch."""
        with self._lock:
            if self._complete or self._in_epoch:
                self._begin_iteration()
            self._in_epoch = True

    def epoch_end(self, *, reset: bool = False) -> None:
        """Keras ends an epoch, or resets because a fit or an evaluation is about to begin."""
        with self._lock:
            if reset or not self._in_epoch:
                self._begin_iteration()
            else:
                self._resumed = False
            self._in_epoch = False

    @property
    def _complete(self) -> bool:
        return len(self._drawn) == len(self._rest)

    def _begin_iteration(self) -> None:
        if self._complete and not self._resumed:
            self._begin_pass()
        self._drawn = _Drawn()

    def _begin_pass(self) -> None:
        self._pass_number += 1
        self._rest = range(self._num_batches)
        self._resumed = False
        self._drawn = _Drawn()


class _Drawn:
    """The ticket of each index asked for, in the order of asking: one number while both agree.

    Only when Keras shuffles, and so holds a list of all indices itself, does this grow.
    """

    def __init__(self) -> None:
        self.run = 0
        self._others: dict[int, int] = {}

    def __contains__(self, index: int) -> bool:
        return index < self.run or index in self._others

    def __getitem__(self, index: int) -> int:
        return index if index < self.run else self._others[index]

    def __setitem__(self, index: int, ticket: int) -> None:
        if index == ticket == self.run and not self._others:
            self.run += 1
        else:
            self._others[index] = ticket

    def __len__(self) -> int:
        return self.run + len(self._others)

    def first(self, count: int) -> Iterator[int]:
        """Yields the first `count` tickets that were asked for."""
        return islice(chain(range(self.run), self._others.values()), count)
