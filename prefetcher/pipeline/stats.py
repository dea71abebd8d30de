"""Counters of the pipeline, their frozen snapshots, and what each one means.

A worker owns one `Clock` and is the only thread that writes it; whoever takes a snapshot only
reads. So the hot path takes no lock for its accounting, and a snapshot may be a few
microseconds out of step with itself, never more.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from time import perf_counter

from prefetcher.pipeline.buffers import Meter
from prefetcher.plan import Place


class State(IntEnum):
    """What a worker's time goes to; every moment between its start and its end is one of these."""

    WAIT_IN = 0
    BUSY = 1
    WAIT_OUT = 2


class Clock:
    """Splits one thread's wall time into states. Written by that thread alone, never blocks."""

    __slots__ = ("_seconds", "_since", "_state", "bytes", "items")

    def __init__(self) -> None:
        self._seconds = [0.0, 0.0, 0.0]
        self._state: State | None = None
        self._since = 0.0
        self.items = 0
        self.bytes = 0

    def switch(self, state: State | None) -> None:
        """Books the time since the last switch and goes on in `state` (None: not running)."""
        now = perf_counter()
        if self._state is not None:
            self._seconds[self._state] += now - self._since
        self._since = now
        self._state = state

    def seconds(self, state: State) -> float:
        """Seconds spent in `state` so far, the unfinished stretch included. Any thread may ask."""
        running, since = self._state, self._since
        booked = self._seconds[state]
        return booked + (perf_counter() - since) if running is state else booked


@dataclass(frozen=True, slots=True)
class QueueStats:
    """One bounded queue, seen at one moment.

    A queue that is always full waits for its consumer; one that is always empty waits for its
    producer; a balanced pipeline shows both near empty, so read the waits, not only the depth.
    """

    capacity: int
    """Items that fit (chunks or batches)."""
    depth: int
    """Items ready to be taken now, 0 to `capacity`."""
    items: int
    """Items put since the start."""
    put_wait_s: float
    """Seconds that producers waited for room, summed over them."""
    get_wait_s: float
    """Seconds that consumers waited for an item, summed over them."""


@dataclass(frozen=True, slots=True)
class StageStats:
    """One kind of worker: `busy_s + wait_in_s + wait_out_s` is workers x running time."""

    workers: int
    items: int
    """Chunks read, or batches made."""
    busy_s: float
    """Seconds of work, summed over the workers: the stage with the largest share is the limit."""
    wait_in_s: float
    """Seconds without input: the stage before is slower."""
    wait_out_s: float
    """Seconds without room: the stage after is slower."""


@dataclass(frozen=True, slots=True)
class Stats:
    """Everything the pipeline counts, since the sequence was made. A frozen snapshot."""

    running_s: float
    """Seconds since the first request, 0 before it."""
    pass_number: int
    """The pass of the last batch handed out, from 0."""
    position: int
    """The position of the last batch handed out within its pass, from 0; -1 before the first."""
    batches: int
    samples: int
    bytes: int
    """Bytes of batches handed out, before any transform."""
    read_bytes: int
    """Decoded bytes asked of the file; larger than `bytes` while the queues fill."""
    first_batch_s: float | None
    """Seconds from the first request to its batch; None before that."""
    stall_s: float
    """Seconds that whoever asked for a batch had to wait for it, at our own queue. On TensorFlow
    tf.data asks ahead of training, so there it is an upper bound of what training waited."""
    replays: int
    """Batches that were read again on their own because they were asked for out of turn."""
    restarts: int
    """Times the threads were started again: after an idle time, an error or a jump."""
    read: StageStats
    batch: StageStats
    chunk_queue: QueueStats
    batch_queue: QueueStats
    buffer_bytes: int
    """Bytes of the buffers that exist now, handed-out batches included."""
    buffer_peak_bytes: int
    """The most that `buffer_bytes` has been."""


class Counters:
    """What outlives the runs of a pipeline: the clocks and totals that `Stats` are made of.

    The consumer's totals are written under the sequence's own lock, a clock by its thread.
    """

    def __init__(self, readers: int, batchers: int, meter: Meter) -> None:
        self.readers = tuple(Clock() for _ in range(readers))
        self.batchers = tuple(Clock() for _ in range(batchers))
        self.consumer = Clock()
        self.meter = meter
        self.started: float | None = None
        self.first_batch_s: float | None = None
        self.place = Place(0, -1)
        self.batches = self.samples = self.bytes = 0
        self.replays = self.restarts = 0

    def requested(self) -> None:
        """Books that somebody begins to wait for a batch."""
        if self.started is None:
            self.started = perf_counter()
        self.consumer.switch(State.WAIT_IN)

    def delivered(self, place: Place, samples: int, nbytes: int) -> None:
        """Books a batch that was handed out."""
        self.consumer.switch(None)
        if self.first_batch_s is None and self.started is not None:
            self.first_batch_s = perf_counter() - self.started
        self.place = place
        self.batches += 1
        self.samples += samples
        self.bytes += nbytes

    def snapshot(self, chunks: tuple[int, int], batches: tuple[int, int]) -> Stats:
        """All counters now; `chunks` and `batches` are the queues' (capacity, depth)."""
        read, batch = _stage(self.readers), _stage(self.batchers)
        stall = self.consumer.seconds(State.WAIT_IN)
        place = self.place
        return Stats(
            running_s=0.0 if self.started is None else perf_counter() - self.started,
            pass_number=place.pass_number,
            position=place.position,
            batches=self.batches,
            samples=self.samples,
            bytes=self.bytes,
            read_bytes=sum(clock.bytes for clock in self.readers),
            first_batch_s=self.first_batch_s,
            stall_s=stall,
            replays=self.replays,
            restarts=self.restarts,
            read=read,
            batch=batch,
            chunk_queue=QueueStats(*chunks, read.items, read.wait_out_s, batch.wait_in_s),
            batch_queue=QueueStats(*batches, batch.items, batch.wait_out_s, stall),
            buffer_bytes=self.meter.now,
            buffer_peak_bytes=self.meter.peak,
        )


def _stage(clocks: tuple[Clock, ...]) -> StageStats:
    return StageStats(
        workers=len(clocks),
        items=sum(clock.items for clock in clocks),
        busy_s=sum(clock.seconds(State.BUSY) for clock in clocks),
        wait_in_s=sum(clock.seconds(State.WAIT_IN) for clock in clocks),
        wait_out_s=sum(clock.seconds(State.WAIT_OUT) for clock in clocks),
    )
