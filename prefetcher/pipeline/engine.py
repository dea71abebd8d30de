"""Owns one run of the pipeline: its threads, channels, buffers and open file.

A run starts at one batch and goes on without end, through this pass and the next ones. It ends
when it is stopped, when a stage fails, or when nobody has taken a batch for a while; then its
threads leave, and the last to leave closes the file. Another run is another engine.

How many threads a stage has may change in mid-run. The order is that of the lines they draw from,
whoever draws.
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
from prefetcher.hdf5.shards import ShardedSource
from prefetcher.pipeline.channel import Closed, Idle
from prefetcher.pipeline.crew import Crew
from prefetcher.pipeline.stats import Counters
from prefetcher.pipeline.workers import Line, Shared, make_batches, read_parts

T = TypeVar("T")


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
        self._lock = threading.Lock()
        self._ended = False
        self._users = 0
        tasks, ordinals = Line(shared.tasks()), Line(count(shared.first))
        self._readers = Crew("reader", counters.readers, tasks, partial(read_parts, shared))
        self._batchers = Crew("batcher", counters.batchers, ordinals, partial(make_batches, shared))
        self._threads: list[threading.Thread] = []

    def start(self, workers: Workers) -> None:
        """Starts the threads. Once."""
        self._users = 1  # ours, so that none is the last to leave while others have yet to start
        self._staff(workers)
        self._leave()

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
        """Waits until the threads have left and the file is closed, `limit` seconds for each."""
        for thread in list(self._threads):
            if thread is not threading.current_thread() and thread.ident is not None:
                thread.join(limit)

    def _staff(self, workers: Workers) -> None:
        self._fill(self._readers, workers.readers)
        self._fill(self._batchers, workers.batchers)

    def _fill(self, crew: Crew[T], wanted: int) -> None:
        new = crew.resize(wanted, partial(self._work, crew))
        with self._lock:
            self._users += len(new)
        self._threads += new
        for thread in new:
            thread.start()

    def _work(self, crew: Crew[T], number: int) -> None:
        try:
            crew.work(number)
        except Idle:
            self.stop()
            self._on_idle()
        except BaseException as error:  # noqa: BLE001 - a fault of ours must not end in a hang
            self.shared.batches.fail(self.shared.batches.lowest, error)
        finally:
            crew.leave(number)
            self._leave()

    @contextmanager
    def _using_source(self) -> Iterator[None]:
        with self._lock:
            if self._users == 0:
                raise Closed
            self._users += 1
        try:
            yield
        finally:
            self._leave()

    def _leave(self) -> None:
        with self._lock:
            self._users -= 1
            last = self._users == 0
        if last:
            # Batches that are ready stay in their channel, with the error that ended the run.
            self._source.close()
            for column in self.shared.columns:
                column.drop()
