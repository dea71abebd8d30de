"""Counters of the pipeline, their frozen snapshots, and what each one means."""

from __future__ import annotations

from dataclasses import dataclass
from time import perf_counter

from prefetcher.clock import WORK, Clock, State
from prefetcher.order.plan import Place
from prefetcher.pipeline.buffers import Meter


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
class Work:
    """Seconds by what was done in them, summed over the workers of a stage."""

    read_s: float
    """Bytes on their way from storage, or copied from the page cache."""
    hdf5_s: float
    """Inside h5py, which reads and decodes in one, one thread of the process at a time."""
    lock_s: float
    """Waiting for another reader to be done inside h5py."""
    decode_s: float
    """Undoing the filters of storage chunks."""
    gather_s: float
    """Rows on the way to their places in batches, and all else that is not named here."""
    transform_s: float
    """The user's transform."""

    @property
    def total_s(self) -> float:
        """Seconds of work of all kinds."""
        return (
            self.read_s
            + self.hdf5_s
            + self.lock_s
            + self.decode_s
            + self.gather_s
            + self.transform_s
        )


@dataclass(frozen=True, slots=True)
class StageStats:
    """One kind of worker: `busy_s + wait_in_s + wait_out_s` is `had_s` while the threads run."""

    workers: int
    """Threads now; with "auto" their number changes."""
    had_s: float
    """Seconds that all workers had together since the sequence was made."""
    items: int
    """Chunks read, or batches made."""
    samples: int
    """Samples read, or put into batches."""
    wait_in_s: float
    """Seconds without input: the stage before is slower."""
    wait_out_s: float
    """Seconds without room: the stage after is slower."""
    cpu_s: float
    """CPU seconds of the stage's threads, up to 10 ms a thread behind. Much less than `busy_s`
    means that the work itself waits: for a CPU (`runqueue_s`), a disk, a lock or the GIL."""
    work: Work
    runqueue_s: float | None = None
    """Seconds that the stage's threads were ready to run and waited for a CPU, as far behind as
    `cpu_s`. None where the system does not count them, that is everywhere but on Linux."""
    timeslices: int | None = None
    """Times that a thread of the stage was given a CPU; None like `runqueue_s`."""

    @property
    def busy_s(self) -> float:
        """Seconds of work, summed over the workers: the stage with the largest share limits."""
        return self.work.total_s

    def __str__(self) -> str:
        """How many workers, and the shares of their time."""
        parts = {"busy": self.busy_s, "no input": self.wait_in_s, "no room": self.wait_out_s}
        had = self.had_s or 1.0
        shares = ", ".join(f"{what} {100 * spent / had:.0f} %" for what, spent in parts.items())
        return f"{self.workers} ({shares})"


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

    def __str__(self) -> str:
        """The figures that are looked at first, in four lines; `repr` has them all."""
        share = 100 * self.stall_s / self.running_s if self.running_s else 0.0
        first = "none yet" if self.first_batch_s is None else f"after {self.first_batch_s:.2f} s"
        chunks, batches = self.chunk_queue, self.batch_queue
        return (
            f"{self.batches:,} batches, {self.samples:,} samples, {self.bytes / 1e6:,.1f} MB in "
            f"{self.running_s:.1f} s; last: pass {self.pass_number}, position {self.position}\n"
            f"waited {self.stall_s:.2f} s for batches ({share:.1f} %); first batch {first}; "
            f"{self.replays} read again, {self.restarts} restarts\n"
            f"readers {self.read}; batchers {self.batch}\n"
            f"queues: {chunks.depth} of {chunks.capacity} chunks, {batches.depth} of "
            f"{batches.capacity} batches; buffers: {self.buffer_bytes / 1e6:,.1f} MB, at most "
            f"{self.buffer_peak_bytes / 1e6:,.1f} MB"
        )


class Team:
    """The clocks of one stage's workers, and the time that the workers had.

    One thread resizes it, any thread reads.
    """

    def __init__(self, workers: int) -> None:
        self.clocks: list[Clock] = []
        self._had = 0, 0.0, perf_counter()  # workers, seconds booked before, since when
        self.resize(workers)

    def resize(self, workers: int) -> None:
        """From now on there are so many workers; a clock once made stays, for its totals."""
        self._had = workers, self.had_s, perf_counter()
        self.clocks.extend(Clock() for _ in range(workers - len(self.clocks)))

    @property
    def workers(self) -> int:
        """How many there are now."""
        return self._had[0]

    @property
    def had_s(self) -> float:
        """Seconds that all workers together had so far."""
        workers, booked, since = self._had
        return booked + workers * (perf_counter() - since)


class Counters:
    """What outlives the runs of a pipeline: the clocks and totals that `Stats` are made of.

    The consumer's totals are written under the sequence's own lock, a clock by its thread.
    """

    def __init__(self, readers: int, batchers: int, meter: Meter) -> None:
        self.readers = Team(readers)
        self.batchers = Team(batchers)
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
            read_bytes=sum(clock.bytes for clock in self.readers.clocks + self.batchers.clocks),
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


def _stage(team: Team) -> StageStats:
    clocks = team.clocks

    def seconds(state: State) -> float:
        return sum(clock.seconds(state) for clock in clocks)

    counted = all(clock.sees_runqueue for clock in clocks)
    return StageStats(
        workers=team.workers,
        had_s=team.had_s,
        items=sum(clock.items for clock in clocks),
        samples=sum(clock.samples for clock in clocks),
        wait_in_s=seconds(State.WAIT_IN),
        wait_out_s=seconds(State.WAIT_OUT),
        cpu_s=sum(clock.cpu_s for clock in clocks),
        work=Work(**{f"{state.name.lower()}_s": seconds(state) for state in WORK}),
        runqueue_s=sum(clock.runqueue_s for clock in clocks) if counted else None,
        timeslices=sum(clock.timeslices for clock in clocks) if counted else None,
    )
