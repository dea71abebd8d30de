"""Owns one run of the pipeline: its threads, channels, buffers and open file.

A run starts at one batch and goes on without end, through this pass and the next ones. It ends
when it is stopped, when a stage fails, or when nobody has taken a batch for a while; then its
threads leave, and the last to leave closes the file. Another run is another engine.

How many threads a stage has may change in mid-run. The order is that of the lines they draw from,
whoever draws.

Ctrl-C may break off the thread that starts others, or that asks for a batch, between any two of its
steps. So nothing depends on a step of its own that comes later: the threads say themselves when
they begin and leave, a lock that is held says that the source is used, and `join` puts right what
was broken off.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from itertools import count
from typing import TypeVar

from prefetcher.batch import Batch
from prefetcher.config import Workers
from prefetcher.hdf5.sharded import ShardedSource
from prefetcher.pipeline.channel import Closed, Idle
from prefetcher.pipeline.crew import Crew
from prefetcher.pipeline.stats import Counters
from prefetcher.pipeline.workers import Line, Shared, make_batches, read_parts

T = TypeVar("T")

_START_PATIENCE = 1.0  # seconds that a thread whose start was broken off has to begin


class Engine:
    """One run. `start` it, `get` its batches, `stop` it and `join` its threads.

    Args:
        shared: The channels and what flows through them.
        source: The open file; closed by the last thread to leave.
        counters: Where the threads book their time.
        stopping: Set when the run is stopped; ends the source's pauses between retries.
        on_idle: Called, by one of the threads, when the run ends for want of requests.
    """

    def __init__(
        self,
        shared: Shared,
        source: ShardedSource,
        counters: Counters,
        stopping: threading.Event,
        on_idle: Callable[[], None],
    ) -> None:
        self.shared = shared
        self._source = source
        self._stopping = stopping
        self._on_idle = on_idle
        self._ended = False
        self._closed = False
        self._lock = threading.Lock()
        # A thread is expected from before its start until it begins, then at work until it leaves.
        self._expected: set[threading.Thread] = set()
        self._at_work: set[threading.Thread] = set()
        self._begun: dict[threading.Thread, threading.Event] = {}
        self._asking = threading.Lock()  # held by whoever gets the batches, to use the source
        self._closing = threading.Lock()
        self._tasks, ordinals = Line(shared.tasks()), Line(count(shared.first))
        self._readers = Crew("reader", counters.readers, self._tasks, partial(read_parts, shared))
        self._batchers = Crew("batcher", counters.batchers, ordinals, partial(make_batches, shared))

    def start(self, workers: Workers) -> None:
        """Starts the threads. Once. An interrupt meanwhile ends the run; then `join` it."""
        with self._using_source():
            self._staff(workers)

    def resize(self, workers: Workers) -> None:
        """Starts threads that are missing; those too many leave when they are done with an item.

        For the thread that gets the batches; waits for nothing. Does nothing if the run has ended.
        """
        with suppress(Closed), self._using_source():
            self._staff(workers)
        if self._ended:  # by another thread, which may not have seen what was started here
            self.join()

    def get(self, ordinal: int) -> Batch:
        """Waits for a batch. Each may be taken once, by one thread at a time.

        Raises:
            Closed: The run was stopped, or ended because nobody asked.
            PrefetchError: A stage failed at this batch or before it.
        """
        return self.shared.batches.get(ordinal)

    def read(self, ordinal: int) -> Batch:
        """Reads a batch on its own, in the calling thread, whatever the threads are at.

        Raises:
            Closed: The run has ended.
        """
        with self._using_source():
            return self.shared.alone(ordinal)

    @property
    def ended(self) -> bool:
        """Whether the run was stopped or ended for want of requests."""
        return self._ended

    def stop(self) -> None:
        """Tells every thread to leave; does not wait. Any thread, any number of times."""
        self._ended = True
        self._stopping.set()
        self.shared.close()

    def join(self, limit: float | None = None) -> None:
        """After `stop`: waits until the threads have left and the file is closed.

        Args:
            limit: The most seconds to wait for each thread; None for as long as it takes.
        """
        with self._lock:
            self._expected.clear()  # who has not begun never will: its start was broken off
        for thread, begun in list(self._begun.items()):
            if thread is threading.current_thread():
                continue
            # Whether a thread exists whose start was broken off shows only when it begins.
            if begun.wait(_START_PATIENCE) or thread.is_alive():
                thread.join(limit)
            else:
                self._begun.pop(thread, None)  # so that it is waited for once
        self._close_if_unused()

    def _staff(self, workers: Workers) -> None:
        try:
            new = self._fill(self._readers, workers.readers)
            new += self._fill(self._batchers, workers.batchers)
            with self._lock:
                self._expected.update(new)
            for thread in new:
                self._begun[thread] = threading.Event()
                thread.start()
        except BaseException:
            self.stop()
            raise

    def _fill(self, crew: Crew[T], wanted: int) -> list[threading.Thread]:
        return crew.resize(wanted, partial(self._work, crew))

    def _work(self, crew: Crew[T], number: int) -> None:
        if not self._begins():
            return
        try:
            crew.work(number)
        except Idle:
            self.stop()
            self._on_idle()
        except BaseException as error:  # noqa: BLE001 - a fault of ours must not end in a hang
            self.shared.batches.fail(self.shared.batches.lowest, error)
        finally:
            crew.leave(number)
            with self._lock:
                self._at_work.discard(threading.current_thread())
            self._close_if_unused()

    def _begins(self) -> bool:
        """Whether the calling thread is still expected; then it is at work from now on."""
        thread = threading.current_thread()
        if begun := self._begun.get(thread):
            begun.set()
        with self._lock:
            if thread not in self._expected:
                return False
            self._expected.discard(thread)
            self._at_work.add(thread)
            return True

    @contextmanager
    def _using_source(self) -> Iterator[None]:
        try:
            with self._asking:
                with self._lock:
                    closed = self._closed
                if closed:
                    raise Closed
                yield
        finally:
            self._close_if_unused()

    def _close_if_unused(self) -> None:
        """Closes the file if nobody can use it any more; again if that was broken off."""
        with self._lock:
            if self._expected or self._at_work or self._asking.locked():
                return
            self._closed = True
        # Batches that are ready stay in their channel, with the error that ended the run.
        with self._closing:
            self._source.close()
            self._tasks.drop()
            for lane in self.shared.lanes:
                lane.drop()
