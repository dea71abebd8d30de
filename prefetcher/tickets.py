"""Which position of which pass a request gets. Pure bookkeeping: no data, no thread of its own.

Keras asks a `Sequence` for indices, in random order if it likes, some of them twice, and never
says outright that a new round begins. An index is therefore a ticket: its first request in a pass
takes the next position of the stream, and asking again gives the same position again.

Three kinds of sign tell when an iterator is new (checked against Keras 3.15):

- `on_epoch_end` outside an epoch (Keras resets before it starts), or `on_epoch_begin` inside one
  (the last one was broken off);
- once all positions are out: a read of `num_batches` or a request outside an epoch, or
  `on_epoch_begin`;
- inside an epoch, an index whose ticket is older than the epoch, when `num_batches` was read since
  the epoch began: an iterator that goes on over several epochs never asks for an index twice.

A read of `num_batches` alone proves nothing, because callbacks read it too. So no iterator is ever
cut short by a wrong guess. What a missing sign costs is small: a batch drawn before training keeps
its ticket, and a broken pass that lacked just what TensorFlow draws for shapes counts as complete.
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
        self._counted_in_epoch = False
        self._older = _Book()
        self._current = _Book()
        self._next = 0
        self._taken: frozenset[int] = frozenset()

    def place(self, index: int) -> Place:
        """The place whose batch answers a request for `index` (0 to num_batches - 1)."""
        with self._lock:
            if self._complete and not self._in_epoch:
                self._begin_iteration()
            if self._counted_in_epoch and index in self._older:
                self._forget_older()
            return Place(self._pass_number, self._position(index))

    def begin_iteration(self) -> None:
        """A new iterator surely begins: the next pass if this one is complete, else it again."""
        with self._lock:
            self._begin_iteration()

    def num_batches_read(self) -> None:
        """Keras or somebody else asked how many batches there are."""
        with self._lock:
            if self._in_epoch:
                self._counted_in_epoch = True
            elif self._complete:
                self._begin_iteration()

    def epoch_begin(self) -> None:
        """Keras begins an epoch."""
        with self._lock:
            if self._complete or self._in_epoch:
                self._begin_iteration()
            self._older.absorb(self._current)
            self._current = _Book()
            self._in_epoch, self._counted_in_epoch = True, False

    def epoch_end(self) -> None:
        """Keras ends an epoch, or resets before the first."""
        with self._lock:
            if not self._in_epoch:
                self._begin_iteration()
            self._in_epoch = self._counted_in_epoch = False

    @property
    def _complete(self) -> bool:
        return len(self._older) + len(self._current) == self._num_batches

    def _begin_iteration(self) -> None:
        if self._complete:
            self._pass_number += 1
        self._current = _Book()
        self._forget_older()

    def _forget_older(self) -> None:
        """Older tickets' positions are free again, in order; those in use are stepped over."""
        self._taken = frozenset(self._current.positions())
        self._older = _Book()
        self._next = 0

    def _position(self, index: int) -> int:
        for book in (self._current, self._older):
            if index in book:
                return book[index]
        position = index if self._in_file_order else self._next_position()
        self._current[index] = position
        return position

    def _next_position(self) -> int:
        while self._next in self._taken:
            self._next += 1
        self._next += 1
        return self._next - 1


class _Book:
    """A map from index to position that is one number while the two run side by side.

    Keras itself holds a list of all indices when it shuffles them; only then does this grow.
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

    def positions(self) -> list[int]:
        return [*range(self._run), *self._others.values()]

    def absorb(self, other: _Book) -> None:
        """Takes over all of another book's tickets."""
        if not len(self):
            self._run, self._others = other._run, other._others
            return
        for index in range(other._run):
            self[index] = index
        for index, position in other._others.items():
            self[index] = position
