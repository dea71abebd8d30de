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
"""

from __future__ import annotations

import threading

from prefetcher.plan import Place


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
        self._in_epoch = False
        self._positions = _Positions()

    def place(self, index: int) -> Place:
        """The place whose batch answers a request for `index` (0 to num_batches - 1)."""
        with self._lock:
            if self._complete and not self._in_epoch:
                self._begin_iteration()
            if index not in self._positions:
                self._positions[index] = index if self._in_file_order else len(self._positions)
            return Place(self._pass_number, self._positions[index])

    def begin_iteration(self) -> None:
        """A new iterator surely begins: on the next pass if this one is complete, else on it."""
        with self._lock:
            self._begin_iteration()

    def num_batches_read(self) -> None:
        """Keras or somebody else asked how many batches there are."""
        with self._lock:
            if self._complete and not self._in_epoch:
                self._begin_iteration()

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
            self._in_epoch = False

    @property
    def _complete(self) -> bool:
        return len(self._positions) == self._num_batches

    def _begin_iteration(self) -> None:
        if self._complete:
            self._pass_number += 1
        self._positions = _Positions()


class _Positions:
    """The position of each index asked for: one number while the two run side by side.

    Only when Keras shuffles, and so holds a list of all indices itself, does this grow.
    """

    def __init__(self) -> None:
        self._run = 0
        self._others: dict[int, int] = {}

    def __contains__(self, index: int) -> bool:
        return index < self._run or index in self._others

    def __getitem__(self, index: int) -> int:
        return index if index < self._run else self._others[index]

    def __setitem__(self, index: int, position: int) -> None:
        if index == position == self._run:
            self._run += 1
        else:
            self._others[index] = position

    def __len__(self) -> int:
        return self._run + len(self._others)
