"""Which position of which pass a request gets. Pure bookkeeping: no data, no thread of its own.

Whoever asks has an iteration, and an iteration gives each position of its pass once. So iterations
that take turns on one sequence cannot take anything from each other, nor can an iterator of Keras
that was abandoned and still asks. All that they share is the pass which the next one begins: the
same pass again until an iteration has had all of it, for a pass that was broken off is given whole
to the next, and then the pass after it.

Who asks (checked against Keras 3.15):

- a ``for`` loop over the sequence, which holds its iteration;
- an iterator of Keras, which callers.py recognises. It reads the number of batches when it begins,
  may go on over many epochs (`steps_per_epoch`), and never comes back to its beginning;
- anybody else: plain indexing, which has one iteration at a time (indexing.py). Callbacks of Keras
  that look at the data have another one, and the passes of training do not depend on them.

A pass that is resumed has fewer positions to give. Drawing shapes or building the model alone may
take them all, so until an epoch has ended Keras is given such a pass again.
"""

from __future__ import annotations

import threading
from typing import Literal

from prefetcher.order.plan import Place
from prefetcher.tickets.callers import SHAPES, Asker
from prefetcher.tickets.indexing import Indexing
from prefetcher.tickets.iteration import Iteration, Rest

_MOST_ITERATORS = 64  # that began and did not end: far more than are ever alive at once


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
        self._rest: Rest = range(num_batches)  # another object for each pass
        self._finished = False  # an iteration has had all of this pass
        self._resumed = False
        self._indexing = Indexing()
        self._looking = Indexing()  # by callbacks
        self._keras: dict[Asker, Iteration] = {}  # the one that asked last is the last
        self._trained: Iteration | None = None  # the one that a state speaks of

    def __len__(self) -> int:
        """Batches that the next loop gives: all, or what a resumed pass has left."""
        return self._num_batches if self._is_over or self._was_indexed else len(self._rest)

    @property
    def left(self) -> int:
        """The same for Keras, which may have drawn a resumed pass without training on it."""
        return self._num_batches if self._is_over else len(self._rest)

    def place(
        self, index: int, iteration: Iteration | None = None, *, looks: bool = False
    ) -> Place:
        """The place whose batch answers a request for `index` (0 to len - 1).

        Args:
            index: What was asked for.
            iteration: Whose request it is; None for plain indexing.
            looks: True if a callback only looks at the data: then no state speaks of it, and the
                passes of training do not depend on it.
        """
        with self._lock:
            if iteration is None:
                iteration = self._indexed(index, looks=looks)
            place = iteration.place(index)
            if not looks:
                self._gave(iteration)
            return place

    def begin(self, *, looks: bool = False) -> Iteration:
        """A ``for`` loop begins; `looks` as in `place`."""
        with self._lock:
            if self._was_indexed and not looks:
                self._resumed = False
            return self._next("loop", looks=looks)

    def keras_begins(self, asker: Asker, *, trains: bool = True) -> None:
        """An iterator of Keras begins.

        Args:
            asker: Who it is.
            trains: Whether `after` shall speak of it: whether it is one of `fit`.
        """
        with self._lock:
            self._indexing.has_epochs = False  # their calls speak of iterators that are known
            self._forget(asker)
            self._keras[asker] = iteration = self._next("keras")
            if trains and asker != SHAPES:
                self._trained = iteration

    def of_keras(self, asker: Asker) -> Iteration | None:
        """The iteration of an iterator of Keras; None if nobody saw it begin."""
        with self._lock:
            if asker in self._keras:
                self._keras[asker] = self._keras.pop(asker)
                return self._keras[asker]
            self._indexing.has_epochs = True
            return None

    def resume(self, pass_number: int, rest: Rest) -> None:
        """The next iteration gives the positions in `rest` of that pass, and no others of it."""
        with self._lock:
            self._pass_number, self._rest, self._resumed = pass_number, rest, True
            self._finished = False
            self._indexing, self._looking = Indexing(), Indexing()
            self._trained = None

    def after(self, trained: int | None) -> tuple[int, Rest]:
        """The pass and what is left of it once `trained` batches of this iteration were trained.

        Args:
            trained: Counted in the order of asking; None for all that were asked for.

        Raises:
            SettingsError: So many were not asked for.
        """
        with self._lock:
            iteration = self._trained or self._next("anybody")
            left = iteration.left(trained)
            if len(left) == 0:
                return iteration.pass_number + 1, range(self._num_batches)
            return iteration.pass_number, left

    def num_batches_read(self) -> None:
        """Keras or somebody else asked how many batches there are."""
        with self._lock:
            if not self._indexing.in_epoch and not self._resumed:
                self._leave_pass()

    def epoch_begin(self, *, by_keras: bool = False) -> None:
        """An epoch begins.

        Args:
            by_keras: False if a loop of the user's own says so, which then asks by plain indexing.
        """
        with self._lock:
            self._indexing.has_epochs |= not by_keras
            if self._indexing.epoch_begins():
                self._indexing.begin(None)

    def epoch_end(self, *, reset: bool = False, by_keras: bool = False) -> None:
        """An epoch ends.

        Args:
            reset: True if none does, and a fit or an evaluation is about to begin.
            by_keras: As in `epoch_begin`.
        """
        with self._lock:
            self._indexing.has_epochs |= not by_keras
            if self._indexing.in_epoch and not reset:
                self._resumed = False
            if self._indexing.epoch_ends(reset=reset):
                self._indexing.begin(None)

    def _forget(self, beginning: Asker) -> None:
        """Forgets iterators that are over, but not who asked last: it may ask for a batch again."""
        self._keras.pop(beginning, None)
        for asker in list(self._keras)[:-1]:
            if self._keras[asker].complete or len(self._keras) >= _MOST_ITERATORS:
                del self._keras[asker]

    def _indexed(self, index: int, *, looks: bool) -> Iteration:
        """The iteration of plain indexing that a request for `index` belongs to."""
        indexing = self._looking if looks else self._indexing
        iteration = indexing.iteration
        if iteration is None or indexing.ends_before(index):
            if iteration is not None and iteration.complete and not looks:
                self._resumed = False
            iteration = self._next("anybody", looks=looks)
            indexing.begin(iteration)
        indexing.asks(index)
        return iteration

    def _gave(self, iteration: Iteration) -> None:
        """A batch of it was asked for."""
        if iteration.complete and iteration.rest is self._rest:
            self._finished = True
            # Keras may have drawn all of it without training, and anybody may be Keras.
            self._resumed &= iteration.asker != "loop"
        if iteration.asker != "keras":
            self._trained = iteration

    def _next(
        self, asker: Literal["loop", "keras", "anybody"], *, looks: bool = False
    ) -> Iteration:
        if not looks:
            self._leave_pass()
        in_file_order = self._in_file_order
        return Iteration(self._pass_number, self._rest, asker, in_file_order=in_file_order)

    def _leave_pass(self) -> None:
        """Goes on to the next pass if this one is over."""
        if self._is_over:
            self._pass_number += 1
            self._rest = range(self._num_batches)
        self._finished = False

    @property
    def _is_over(self) -> bool:
        """Whether the next iteration begins another pass."""
        return self._finished and not self._resumed

    @property
    def _was_indexed(self) -> bool:
        """Whether a plain loop outside an epoch had all of this pass."""
        plain, in_epoch = self._indexing.iteration, self._indexing.in_epoch
        return plain is not None and plain.complete and plain.rest is self._rest and not in_epoch
