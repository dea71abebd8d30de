"""Owns one run of the pipeline: its threads, channels, buffers and open file.

A run starts at one batch and goes on without end, through this pass and the next ones. It ends
when it is stopped, when a stage fails, or when nobody has taken a batch for a while; then its
threads leave, and the last to leave closes the file. Another run is another engine.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import count

from prefetcher.batch import Batch
from prefetcher.clock import Clock
from prefetcher.hdf5.shards import ShardedSource
from prefetcher.pipeline.channel import Closed, Idle
from prefetcher.pipeline.chunk import read_batch
from prefetcher.pipeline.stats import Counters
from prefetcher.pipeline.workers import Line, Run, make_batches, read_parts


class Engine:
    """One run. `start` it, `get` its batches, `stop` it and `join` its threads.

    Args:
        run: The channels and what flows through them.
        source: The open file; closed by the last thread to leave.
        counters: Where the threads book their time.
        stopping: Set when the run is stopped; ends the source's pauses between retries.
        on_idle: Called, by one of the threads, when the run ends for want of requests.
    """

    def __init__(
        self,
        run: Run,
        source: ShardedSource,
        counters: Counters,
        stopping: threading.Event,
        on_idle: Callable[[], None],
    ) -> None:
        self.run = run
        self._source = source
        self._stopping = stopping
        self._on_idle = on_idle
        self._lock = threading.Lock()
        self._ended = False
        self._users = 0
        self._threads = self._workers(counters)

    def start(self) -> None:
        """Starts the threads. Once."""
        self._users = len(self._threads)
        for thread in self._threads:
            thread.start()

    def get(self, ordinal: int) -> Batch:
        """Waits for a batch. Each may be taken once, by one thread at a time.

        Raises:
            Closed: The run was stopped, or ended because nobody asked.
            PrefetchError: A stage failed at this batch or before it.
        """
        return self.run.batches.get(ordinal)

    def read(self, ordinal: int) -> Batch:
        """Reads a batch on its own, in the calling thread, whatever the threads are at.

        Raises:
            Closed: The run has ended.
        """
        with self._using_source():
            number, index = self.run.plan.chunk_of(ordinal)
            chunk = self.run.chunk(number)
            arrays = read_batch(chunk, index, self.run.columns, self.run.source)
            return self.run.finished(arrays, chunk, ordinal)

    @property
    def ended(self) -> bool:
        """Whether the run was stopped or ended for want of requests."""
        return self._ended

    def stop(self) -> None:
        """Tells every thread to leave; does not wait. Any thread, any number of times."""
        self._ended = True
        self._stopping.set()
        self.run.chunks.close()
        self.run.batches.close()

    def join(self, limit: float | None = None) -> None:
        """Waits until the threads have left and the file is closed, `limit` seconds for each."""
        for thread in self._threads:
            if thread is not threading.current_thread() and thread.ident is not None:
                thread.join(limit)

    def _workers(self, counters: Counters) -> list[threading.Thread]:
        parts, ordinals = Line(self.run.parts()), Line(count(self.run.first))
        return [
            *(
                self._thread(
                    f"prefetch-reader-{i}", clock, lambda c: read_parts(self.run, parts, c)
                )
                for i, clock in enumerate(counters.readers)
            ),
            *(
                self._thread(
                    f"prefetch-batcher-{i}", clock, lambda c: make_batches(self.run, ordinals, c)
                )
                for i, clock in enumerate(counters.batchers)
            ),
        ]

    def _thread(self, name: str, clock: Clock, work: Callable[[Clock], None]) -> threading.Thread:
        return threading.Thread(target=self._work, args=(work, clock), name=name, daemon=True)

    def _work(self, work: Callable[[Clock], None], clock: Clock) -> None:
        try:
            work(clock)
        except Idle:
            self.stop()
            self._on_idle()
        except BaseException as error:  # noqa: BLE001 - a fault of ours must not end in a hang
            self.run.batches.fail(self.run.batches.lowest, error)
        finally:
            clock.switch(None)
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
            for column in self.run.columns:
                column.drop()
