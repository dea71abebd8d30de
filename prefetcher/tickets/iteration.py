"""One time through a pass by one who asks: which position each of its requests gets. Pure.

Keras may name indices in random order. An index is therefore a ticket: its first request in an
iteration takes the next position, and asking again gives the same position again.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import chain, islice

import numpy as np
from numpy.typing import NDArray

from prefetcher.errors import SettingsError
from prefetcher.order.plan import Place

Rest = Sequence[int] | NDArray[np.int64]
"""Positions of a pass that are still to be trained, ascending: a range where it can be one."""


class Iteration:
    """What one asker gets of one pass. For one thread at a time; `Tickets` has the lock.

    Args:
        pass_number: The pass.
        rest: The positions of it that the iteration gives.
        in_file_order: True makes the ticket of an index that index itself.
        ahead: Whether the asker may ask for batches that it never trains on, as Keras does.
    """

    def __init__(
        self, pass_number: int, rest: Rest, *, in_file_order: bool, ahead: bool = True
    ) -> None:
        self.pass_number = pass_number
        self.rest = rest
        self.ahead = ahead
        self.drawn = Drawn()
        self._in_file_order = in_file_order

    def __len__(self) -> int:
        """Batches in it."""
        return len(self.rest)

    @property
    def complete(self) -> bool:
        """Whether each of its batches was asked for."""
        return len(self.drawn) == len(self.rest)

    def place(self, index: int) -> Place:
        """The place whose batch answers a request for `index` (0 to len - 1)."""
        if index not in self.drawn:
            self.drawn[index] = index if self._in_file_order else len(self.drawn)
        return Place(self.pass_number, int(self.rest[self.drawn[index]]))

    def left(self, trained: int | None) -> Rest:
        """The positions that are left once `trained` batches were trained.

        Args:
            trained: Counted in the order of asking; None for all that were asked for.

        Raises:
            SettingsError: So many were not asked for.
        """
        trained = len(self.drawn) if trained is None else trained
        if not 0 <= trained <= len(self.drawn):
            raise SettingsError(
                f"trained={trained}: this iteration has handed out {len(self.drawn)} batches"
            )
        if trained <= self.drawn.run or not self._in_file_order:
            return self.rest[trained:]
        left = np.ones(len(self.rest), np.bool_)
        left[list(self.drawn.first(trained))] = False
        return np.asarray(self.rest, np.int64)[left]


class Drawn:
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
