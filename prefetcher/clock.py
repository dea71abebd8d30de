"""Where a thread's time goes: each worker owns a clock and switches it from state to state.

A clock is written by its thread alone, and whoever takes a snapshot only reads: the hot path takes
no lock for its accounting, and a snapshot may be a few microseconds out of step, never more. Code
that knows nothing of the pipeline says what it does with `doing`, which finds the thread's clock.
"""

from __future__ import annotations

import threading
from enum import IntEnum
from time import perf_counter, thread_time

from prefetcher.machine.runqueue import RunQueue

_CPU_BOOKED_EVERY_S = 0.01  # a look takes some microseconds, so not each turn


class State(IntEnum):
    """What a thread's time goes to; every moment between its start and its end is one of these."""

    WAIT_IN = 0
    READ = 1
    HDF5 = 2
    LOCK = 3
    DECODE = 4
    GATHER = 5
    TRANSFORM = 6
    WAIT_OUT = 7


WORK = tuple(state for state in State if state not in (State.WAIT_IN, State.WAIT_OUT))
"""The states in which a worker is busy."""


class Clock:
    """Splits one thread's wall time into states. Written by that thread alone, never blocks.

    Attributes:
        cpu_s: Seconds that the thread was on a CPU.
        runqueue_s: Seconds that it was ready to run and waited for a CPU.
        timeslices: Times that it was given a CPU.
        sees_runqueue: Whether the system counts these two; they stay 0 where it does not.
        items: Chunks read or batches made.
        samples: Samples read or put into batches.
        bytes: Decoded bytes that were asked of the file.
    """

    __slots__ = (
        "_cpu_due", "_cpu_seen", "_runqueue", "_runqueue_seen", "_seconds", "_since", "_state",
        "bytes", "cpu_s", "items", "runqueue_s", "samples", "sees_runqueue", "timeslices",
    )  # fmt: skip

    def __init__(self) -> None:
        self._seconds = [0.0] * len(State)
        self._state: State | None = None
        self._since = 0.0
        self._cpu_due = float("inf")
        self._cpu_seen = 0.0
        self._runqueue: RunQueue | None = None
        self._runqueue_seen = 0.0, 0
        self.cpu_s = self.runqueue_s = 0.0
        self.timeslices = 0
        self.sees_runqueue = True
        self.items = self.samples = self.bytes = 0

    def begin(self) -> None:
        """Makes this the clock of the calling thread, its CPU time counted from now on."""
        _here.clock = self
        self._cpu_seen = thread_time()
        self._cpu_due = 0.0
        try:
            self._runqueue = RunQueue()
            self._runqueue_seen = self._runqueue.read()
        except OSError:
            self.sees_runqueue = False

    def end(self) -> None:
        """The thread of this clock is done; called by that thread, and twice is fine.

        Books what it did since the last look, so that the totals are right when it is gone.
        """
        self.switch(None)
        if _here.clock is not self:
            return
        _here.clock = None
        self._book_cpu(perf_counter())
        self._cpu_due = float("inf")
        if self._runqueue is not None:
            self._runqueue.close()
            self._runqueue = None

    def switch(self, state: State | None) -> State | None:
        """Books the time since the last switch, goes on in `state`; returns the one before.

        None stands for not running.
        """
        now = perf_counter()
        before = self._state
        if before is not None:
            self._seconds[before] += now - self._since
        self._since = now
        self._state = state
        if now >= self._cpu_due:
            self._book_cpu(now)
        return before

    def seconds(self, *states: State) -> float:
        """Seconds spent in `states` so far, the unfinished stretch included. Any thread may ask."""
        running, since = self._state, self._since
        booked = sum(self._seconds[state] for state in states)
        return booked + (perf_counter() - since) if running in states else booked

    def _book_cpu(self, now: float) -> None:
        seen = thread_time()
        self.cpu_s += seen - self._cpu_seen
        self._cpu_seen = seen
        self._cpu_due = now + _CPU_BOOKED_EVERY_S
        if self._runqueue is not None:
            waited_s, timeslices = seen_queue = self._runqueue.read()
            self.runqueue_s += waited_s - self._runqueue_seen[0]
            self.timeslices += timeslices - self._runqueue_seen[1]
            self._runqueue_seen = seen_queue


class _Here(threading.local):
    """The clock of each thread; a thread that is no worker has none."""

    clock: Clock | None = None


_here = _Here()


class _Doing:
    """A class, as a generator would cost three times as much for each storage chunk."""

    __slots__ = ("_before", "_clock", "_state")

    def __init__(self, state: State) -> None:
        self._state = state

    def __enter__(self) -> None:
        self._clock = clock = _here.clock
        if clock is not None:
            self._before = clock.switch(self._state)

    def __exit__(self, *_: object) -> None:
        if self._clock is not None:
            self._clock.switch(self._before)


def doing(state: State) -> _Doing:
    """Books what the block takes as `state`, then goes on in the state before.

    Does nothing on a thread that has no clock. Costs about a microsecond.
    """
    return _Doing(state)
