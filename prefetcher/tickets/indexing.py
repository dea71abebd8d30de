"""Plain indexing, ``sequence[i]`` by anybody: where does one time through a pass end? Pure.

Nobody says so. A request ends it when each index was asked for since a beginning, unless the
request goes on with a loop. In a loop over 0, 1, 2, ... the next index is the same batch again, as
somebody may have looked at it before the loop. So is the last index once more where two loops take
turns: they ask for each index twice.

Epochs begin and end it too, if their calls speak of these requests: in a loop of the user's own
that calls `on_epoch_end`, or where an iterator of Keras was not recognised as one. Then nothing
ends between `on_epoch_begin` and `on_epoch_end`, and what an epoch left over goes on in the next.
An epoch that ended is a beginning: a plain loop after it asks for each index anew.
"""

from __future__ import annotations

from prefetcher.tickets.iteration import Drawn, Iteration

_SURELY_A_LOOP = 4  # a shuffled order rarely begins with so many indices in ascending order


class Indexing:
    """The iteration that plain indexing is in. For one thread at a time; `Tickets` has the lock."""

    def __init__(self) -> None:
        self.iteration: Iteration | None = None
        """None until a request begins one."""
        self.has_epochs = False
        """Whether the calls around epochs speak of these requests."""
        self._in_epoch = False
        self._since: Drawn | None = None  # the requests after an epoch; None if there was none
        self._loop = 0  # a loop asked for the indices below this, in ascending order
        self._twice = False  # and for the last of them once more
        self._turns = False  # so it was with the one before, as in two loops that take turns

    def ends_before(self, index: int) -> bool:
        """Whether a request for `index` begins another iteration."""
        if self.iteration is None or index >= len(self.iteration):
            return True
        if self._in_epoch and self.has_epochs:
            return False
        next_one, again = index == self._loop, index == self._loop - 1 and self._turns
        goes_on = index >= _SURELY_A_LOOP and (next_one or again)
        asked = self.iteration.drawn if self._since is None else self._since
        return len(asked) == len(self.iteration) and not goes_on

    def begin(self, iteration: Iteration | None) -> None:
        """The next requests are of this iteration, or of one that is still to be begun."""
        self.iteration = iteration
        self._since = None
        self._loop, self._turns, self._twice = 0, False, False

    def asks(self, index: int) -> None:
        """The iteration is asked for `index`."""
        if self._since is not None and index not in self._since:
            self._since[index] = len(self._since)
        if index == self._loop:
            self._loop, self._turns, self._twice = index + 1, self._twice, False
        elif index == self._loop - 1:
            self._twice = True
        else:
            self._loop, self._turns, self._twice = int(index == 0), False, False

    def epoch_begins(self) -> bool:
        """An epoch begins; returns whether another iteration begins with it."""
        anew = self.has_epochs and (self._complete or self._in_epoch)
        self._in_epoch = True
        return anew

    def epoch_ends(self, *, reset: bool) -> bool:
        """An epoch ends, or a fit is about to begin; returns whether another iteration begins."""
        anew = self.has_epochs and (reset or not self._in_epoch or self._complete)
        self._in_epoch = False
        if self.has_epochs:
            self._since = Drawn()
        return anew

    @property
    def in_epoch(self) -> bool:
        """Whether an epoch has begun and not ended."""
        return self._in_epoch

    @property
    def _complete(self) -> bool:
        return self.iteration is not None and self.iteration.complete
