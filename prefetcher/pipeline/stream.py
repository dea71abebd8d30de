"""Any batch of any pass on request; fast when they are asked for in order.

What a request gets depends on its place alone. The pipeline only makes it quick, as a file's
readahead does: the next batch comes out of the queue, one that was passed already is read again on
its own, and asking in order from a new place moves the pipeline there. Nothing is cached, and
nothing about the order depends on timing.
"""

from __future__ import annotations

import atexit
import gc
import os
import threading
import traceback
import weakref
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Protocol

from numpy.typing import NDArray

from prefetcher.arguments import AUTO
from prefetcher.batch import Batch, Recipe
from prefetcher.clock import State
from prefetcher.columns.memory import InMemory
from prefetcher.config import IDLE_SECONDS, Settings, Workers
from prefetcher.errors import ClosedError, ProcessError
from prefetcher.hdf5.dataset import Dataset
from prefetcher.hdf5.sharded import ShardedSource
from prefetcher.hdf5.shards import Shards
from prefetcher.order.plan import Place, Plan
from prefetcher.pipeline.auto import Adjuster, Climber
from prefetcher.pipeline.buffers import Meter
from prefetcher.pipeline.channel import Channel, Closed
from prefetcher.pipeline.engine import Engine
from prefetcher.pipeline.lane import Lane, Need
from prefetcher.pipeline.lanes import lanes
from prefetcher.pipeline.stats import Counters, Stats
from prefetcher.pipeline.workers import Shared

_LOOSE_BATCHES = 4  # what the caller works on, what it just asked for, and two that tf.data keeps
_EXIT_PATIENCE = 5.0  # seconds that the interpreter's exit waits for a read or a transform


@dataclass(frozen=True, slots=True)
class Feed:
    """What a stream is made of: settings, the file, the order and the shape of batches.

    Attributes:
        needs: What samples need of each dataset.
        values: What is in memory already, by the number of the sample.
        made_bytes: Bytes of one sample that columns make anew for each batch.
        idle: Seconds without a request after which the threads end.
        auto_most: The most threads that a stage of "auto" may reach; it begins with 1.
    """

    settings: Settings
    shards: Shards
    plan: Plan
    recipe: Recipe
    needs: tuple[Need, ...]
    values: Mapping[InMemory, NDArray[Any]] = field(default_factory=dict)
    made_bytes: int = 0
    idle: float = IDLE_SECONDS
    auto_most: int = 1

    @property
    def datasets(self) -> list[Dataset]:
        """What samples are made of, each once: datasets, and groups of sparse rows."""
        return [need.dataset for need in self.needs]

    @property
    def parts(self) -> list[Dataset]:
        """The datasets that are read, each once: those in the groups, too."""
        found = (part for dataset in self.datasets for part in dataset.parts)
        return list({part.name: part for part in found}.values())

    @property
    def sample_bytes(self) -> int:
        """Bytes of one sample in a batch, before the transform."""
        return sum(need.batch_bytes for need in self.needs)

    @property
    def most_workers(self) -> Workers:
        """The most threads that each stage may ever have."""
        return self.settings.workers(auto=self.auto_most)

    @property
    def memory_bytes(self) -> int:
        """The most that queues, buffers and workers hold together, transforms not counted."""
        counts = self.settings.chunk_queue, self.loose_batches
        buffers = sum(lane.most_bytes(*counts) for lane in self.lanes(Meter()))
        # Who asks for a batch out of turn reads beside the readers.
        threads = self.most_workers.readers + 1
        buffers += (self.loose_batches + 1) * self.plan.largest_batch * self.made_bytes
        scratch = threads * sum(dataset.scratch_bytes for dataset in self.parts)
        buffers += self.known_bytes
        return buffers + scratch + self.shards.memory_bytes(self.names, threads)

    @property
    def known_bytes(self) -> int:
        """Bytes of what is in memory already, but for views of what somebody else has."""
        known = [array for leaf, values in self.values.items() for array in (leaf.array, values)]
        owned = {id(array): array.nbytes for array in known if array.flags.owndata}
        return sum(owned.values())

    def lanes(self, meter: Meter) -> tuple[Lane[Any], ...]:
        """The way of each dataset through the pipeline; takes no memory yet."""
        chunks = self.settings.chunk_queue
        return lanes(self.needs, self.values, self.plan, chunks, self.loose_batches, meter)

    @property
    def loose_batches(self) -> int:
        """Batches that may be outside of chunks: queued, in a batcher's hands, or the caller's."""
        return self.settings.batch_queue + self.most_workers.batchers + _LOOSE_BATCHES

    @property
    def where(self) -> str:
        """The file and its datasets, for messages."""
        return f"{self.shards.name} ({', '.join(self.names)})"

    @property
    def names(self) -> list[str]:
        """The names of what samples are made of."""
        return [need.dataset.name for need in self.needs]


class Observer(Protocol):
    """Who is told what a stream does; a `prefetcher.Monitor` is one. Nothing here may raise."""

    def start(self, run: Mapping[str, object], snapshot: Callable[[], Stats]) -> None:
        """Threads are about to start; does nothing between a start and its stop.

        Args:
            run: What is told of this run.
            snapshot: Gives the counters, in any thread.
        """

    def event(self, name: str, data: Mapping[str, object]) -> None:
        """Something happened. Any thread; does not wait."""

    def stop(self, *, wait: bool) -> None:
        """The threads end. With `wait=False` it waits for nothing and takes no lock."""

    def close(self) -> None:
        """The stream was closed for good."""


class Stream:
    """Batches by place. `get` is for one thread at a time, the rest for any.

    Args:
        feed: What to read and in which order.
        observer: Started with the first request, stopped with the threads; None for none.
        run_info: What the observer is told of this run.
    """

    def __init__(
        self, feed: Feed, observer: Observer | None, run_info: Mapping[str, object]
    ) -> None:
        self._feed = feed
        self._sample_bytes = feed.sample_bytes  # asked for with every batch
        self._meter = Meter()
        self._workers = feed.settings.workers(auto=1)
        self._counters = Counters(*self._workers, self._meter)
        self._adjuster = (
            Adjuster(Climber(self._workers, feed.most_workers))
            if AUTO in (feed.settings.readers, feed.settings.batchers)
            else None
        )
        self._observer = observer
        self._run_info = run_info
        self._engine: Engine | None = None
        self._pid = os.getpid()
        self._closed = False
        self._filled = False  # whether a batch came out of a whole chunk yet
        self._next = 0
        self._last = -2
        _open.add(self)

    def get(self, place: Place) -> Batch:
        """The batch at `place`; waits for it.

        Raises:
            ClosedError: The stream was closed, perhaps while this waited.
            PrefetchError: Reading or transforming this batch failed; asking again tries again.
        """
        self._counters.requested()
        try:
            batch = self._batch(self._feed.plan.ordinal(place))
        except Closed:
            raise self._closed_error() from None
        except BaseException as error:
            self._failed(place, error)
            raise
        finally:
            self._counters.consumer.switch(None)
        self._delivered(place)
        return batch

    def check(self) -> None:
        """Raises if no batch can be had from here any more. Takes no lock.

        Raises:
            ClosedError: The stream was closed.
            ProcessError: This is another process than the one that made the stream.
        """
        self.check_process()
        if self._closed:
            raise self._closed_error()

    @property
    def in_own_process(self) -> bool:
        """Whether this is the process that made the stream, not one that was forked from it."""
        return self._pid == os.getpid()

    def check_process(self) -> None:
        """Raises in a process that has only a copy of this, made by a fork. Takes no lock.

        Such a copy knows neither what the others hand out nor what it shares with them: two copies
        would give the same batches, and none the rest. A lock that was held when the process was
        forked is held for ever.

        Raises:
            ProcessError: This is another process than the one that made the stream.
        """
        if not self.in_own_process:
            raise ProcessError(
                f"the sequence over {self._feed.where} belongs to process {self._pid}, and this is "
                f"process {os.getpid()}, forked from it: its threads did not come along. A "
                "DataLoader needs num_workers=0, as the threads are inside (readers=, batchers=); "
                "otherwise make a PrefetchSequence in each process"
            )

    @property
    def replays(self) -> tuple[int, int]:
        """Batches that were read again on their own, and all that were handed out."""
        return self._counters.replays, self._counters.batches

    def stats(self) -> Stats:
        """All counters now. Any thread, never waits."""
        settings, engine = self._feed.settings, self._engine
        chunks = engine.shared.chunks.ready if engine else 0
        batches = engine.shared.batches.ready if engine else 0
        return self._counters.snapshot(
            (settings.chunk_queue, chunks), (settings.batch_queue, batches)
        )

    def abandon(self) -> None:
        """Ends the threads without waiting for them: for finalizers, in any thread."""
        if not self.in_own_process:
            return  # the threads, their locks and the log are the parent's
        self._closed = True
        if self._engine is not None:
            self._engine.stop()
        self._rest()

    def close(self, limit: float | None = None) -> None:
        """Ends the threads and waits for them. Any thread, any number of times.

        Args:
            limit: The most seconds to wait for each thread; None for as long as it takes.
        """
        self.abandon()
        if not self.in_own_process:
            return
        if self._engine is not None:
            self._engine.join(limit)
        if self._observer is not None:
            self._observer.close()

    def _batch(self, ordinal: int) -> Batch:
        in_order, self._last = ordinal == self._last + 1, ordinal
        if self._engine is None or self._engine.ended or (in_order and not self._near(ordinal)):
            return self._taken(self._started(ordinal), ordinal)
        try:
            return self._taken(self._engine, ordinal)
        except Closed:
            if self._closed:
                raise
            # The run went idle between our look at it and our request.
            return self._taken(self._started(ordinal), ordinal)

    def _taken(self, engine: Engine, ordinal: int) -> Batch:
        if ordinal < self._next or not self._near(ordinal):
            self._counters.replays += 1
            return engine.read(ordinal)
        while self._next < ordinal:  # passed over; read again should anybody ask
            engine.get(self._next)
            self._next += 1
        batch = engine.get(ordinal)
        self._next += 1
        return batch

    def _near(self, ordinal: int) -> bool:
        """Whether a batch is so close to the pipeline that moving it there would not pay."""
        return abs(ordinal - self._next) < self._feed.settings.batch_queue

    def _started(self, first: int) -> Engine:
        """A new run from the batch `first` on, in place of the one there is."""
        if self._engine is not None:
            self._dispose(self._engine)
            self._counters.restarts += 1
        if self._observer is not None:  # does nothing while it runs
            self._observer.start(self._run_info, self.stats)
        self._engine = engine = self._new_engine(first)
        self._next = first
        engine.start(self._workers)
        if self._adjuster is not None:
            self._adjuster.restarted()
        if self._closed:  # by another thread, which may not have seen what was started here
            self._rest()
            self._dispose(engine)
            raise Closed
        return engine

    def _dispose(self, engine: Engine) -> None:
        engine.stop()
        engine.join()

    def _new_engine(self, first: int) -> Engine:
        feed, settings, plan = self._feed, self._feed.settings, self._feed.plan
        stopping = threading.Event()
        source = ShardedSource(
            feed.shards,
            [part.name for part in feed.parts],
            retries=settings.retries,
            stopping=stopping,
            on_retry=lambda data: self._event("read_retry", data),
        )
        shared = Shared(
            plan=plan,
            lanes=feed.lanes(self._counters.meter),
            source=source,
            recipe=feed.recipe,
            lead=Channel(1, first),
            chunks=Channel(settings.chunk_queue, plan.chunk_of(first)[0]),
            batches=Channel(
                settings.batch_queue,
                first,
                idle=feed.idle,
                burst=max(1, settings.batch_queue // 2),  # half the queue is still a hiccup's worth
            ),
            first=first,
            where=feed.where,
        )
        return Engine(shared, source, self._counters, stopping, self._rest)

    def _rest(self) -> None:
        """Ends the observer with the run; with the next run it is started again."""
        if self._observer is not None:
            self._observer.stop(wait=False)

    def _delivered(self, place: Place) -> None:
        counters, plan = self._counters, self._feed.plan
        first = counters.first_batch_s is None
        samples = plan.own_rows(place.position)
        counters.delivered(place, samples, samples * self._sample_bytes)
        if first:
            self._event("first_batch", {"after_s": round(counters.first_batch_s or 0.0, 3)})
        if not self._filled and self._engine is not None:
            self._filled = not self._engine.shared.leads(plan.ordinal(place))
            if self._filled:
                waited_s = counters.consumer.seconds(State.WAIT_IN)
                self._event("first_chunk", {"waited_s": round(waited_s, 3)})
        ends = place.position == plan.num_batches - 1
        if ends:
            self._event("pass_end", {"pass": place.pass_number})
        if self._adjuster is not None and place.position == 0:
            self._adjuster.began(self.stats())
        if self._adjuster is not None and ends:
            self._adjust(self._adjuster)

    def _adjust(self, adjuster: Adjuster) -> None:
        """At the end of a pass, where "auto" is to find how many threads there should be."""
        for decision in adjuster.ended(self.stats()):
            self._event("tune", decision.as_data())
        if self._workers != adjuster.workers and self._engine is not None:
            self._workers = adjuster.workers
            self._engine.resize(self._workers)

    def _failed(self, place: Place, error: BaseException) -> None:
        """After an error the run is over; the next request starts a new one where it asks."""
        self._event("error", {**place._asdict(), "error": f"{type(error).__name__}: {error}"})
        if self._engine is not None:
            self._dispose(self._engine)

    def _closed_error(self) -> ClosedError:
        return ClosedError(
            f"this sequence over {self._feed.where} was closed: make a new PrefetchSequence, or "
            "keep what uses it inside the with block"
        )

    def _event(self, name: str, data: Mapping[str, object]) -> None:
        if self._observer is not None:
            self._observer.event(name, data)


_open: weakref.WeakSet[Stream] = weakref.WeakSet()


@atexit.register
def _close_all() -> None:
    """A thread that is inside a C library while the interpreter ends may crash it."""
    streams = [stream for stream in _open if stream.in_own_process]
    for stream in streams:
        stream.close(_EXIT_PATIENCE)
    if streams:
        _free_iterators()


def _free_iterators() -> None:
    """Frees what a fit that was broken off left behind, as long as any thread may run Python.

    tf.data asks for batches in a thread of its own, and the end of its iterator waits for that
    thread. Left to the interpreter's end, where no other thread runs Python, it waits for ever.
    What keeps the iterator are the frames of the exception that broke the fit off, or a cycle.
    """
    errors = [each for each in gc.get_objects() if issubclass(type(each), BaseException)]
    for error in errors:
        for frame, _ in traceback.walk_tb(error.__traceback__):
            for caller, _ in traceback.walk_stack(frame):  # Keras drops its own from the traceback
                with suppress(RuntimeError):  # it still runs
                    caller.clear()
    gc.collect()
