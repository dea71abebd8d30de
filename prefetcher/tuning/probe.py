"""Short runs of the real pipeline, to see what its stages can do here with this file."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from itertools import count, pairwise
from time import perf_counter
from typing import Any

from prefetcher.config import Workers
from prefetcher.errors import ClosedError, ReadError
from prefetcher.machine.reasons import Reasons
from prefetcher.machine.system import System
from prefetcher.order.plan import Plan
from prefetcher.pipeline.stats import StageStats, Stats
from prefetcher.pipeline.stream import Feed, Stream
from prefetcher.tuning.choose import Capacities
from prefetcher.tuning.device import Device

PROBE_S = 2.0
"""Seconds that are measured. Two steady a share to a few percent, and eight probes end in 20 s."""

CHECK_S = 4.0
"""Seconds of a simulated training: enough for some seams between chunks, where a stall may be."""

_PATIENCE_S = 20.0  # for a first chunk, and for one part of a chunk from a very slow disk
_PAUSE_S = 0.5


@dataclass(frozen=True, slots=True)
class StageProbe:
    """One stage in one probe."""

    capacity: float
    """Samples per second, had its threads never waited; infinite if they did next to nothing."""
    by_work: Mapping[str, float]
    """The same, had they done only this: by "read", "hdf5", "lock", "decode", ..."""


@dataclass(frozen=True, slots=True)
class Probe:
    """What one short run has shown."""

    workers: Workers
    samples_per_s: float
    """Handed out, but for those out of a stock that was read before."""
    read: StageProbe
    batch: StageProbe
    chunk_s: tuple[float, ...]
    """Seconds from each chunk's first batch to that of the next."""
    storage_bytes: int | None
    """That came from storage and not out of the page cache; None if that cannot be told."""


def survey(feed: Feed, most: int, target: float) -> Iterator[Probe]:
    """Yields a probe of 1 to `most` readers; of more batchers too, if one is not enough.

    Args:
        feed: What is read and how; its numbers of threads are not used.
        most: Threads of a stage at most, at least 1.
        target: Samples per second that the batchers should do.
    """
    probes = []
    for readers in range(1, most + 1):
        probes.append(probe(feed, Workers(readers, 1), first_pass=readers))
        yield probes[-1]
    best = max(probes, key=lambda probe: probe.read.capacity).workers.readers
    if min(probe.batch.capacity for probe in probes) < target:
        for batchers in range(2, most + 1):
            yield probe(feed, Workers(best, batchers), first_pass=most + batchers)


def capacities(probes: Sequence[Probe], plan: Plan) -> Capacities:
    """What the probes of a survey, all of them, say of each number of threads."""
    single = [probe for probe in probes if probe.workers.batchers == 1]
    chunk_s = max((probe.chunk_s for probe in single), key=len)
    mean = sum(chunk_s) / max(len(chunk_s), 1)
    return Capacities(
        read={probe.workers.readers: probe.read.capacity for probe in single},
        batch={1: min(probe.batch.capacity for probe in single)}
        | {p.workers.batchers: p.batch.capacity for p in probes if p.workers.batchers > 1},
        unevenness=tuple(seconds / mean for seconds in chunk_s) or (1.0,),
        batch_size=plan.batch_size,
        batches=min(plan.batches_per_chunk, plan.num_batches),
    )


def probe(feed: Feed, workers: Workers, *, first_pass: int = 0) -> Probe:
    """Takes batches as fast as they come for `PROBE_S` seconds after the first chunk.

    Args:
        feed: What is read and how, but for the threads.
        workers: The threads.
        first_pass: Where it begins. Each pass has an order of its own, so that a probe does not
            find in memory what the one before it has read.

    Raises:
        PrefetchError: Reading or the transform failed, or was too slow to be measured.
    """
    system = System(Reasons())
    with _running(with_settings(feed, **workers._asdict()), first_pass) as (stream, taker):
        taker.warm.wait(_PATIENCE_S)
        storage, before = system.read().storage_bytes, stream.stats()
        after = _after(stream, taker.ended, before)
        more = system.read().storage_bytes
    seconds = after.running_s - before.running_s
    if after.read.samples == before.read.samples:
        raise ReadError(
            f"{feed.where}: a part of a chunk took longer than {seconds:.0f} s to read, so "
            "there is nothing to tune: try a smaller chunk_size, or faster storage"
        )
    # Not what was in stock before: it says nothing of what the stages do now.
    passed = min(after.samples - before.samples, after.read.samples - before.read.samples)
    return Probe(
        workers=workers,
        samples_per_s=passed / seconds,
        read=_stage(before.read, after.read),
        batch=_stage(before.batch, after.batch),
        chunk_s=taker.chunk_s,
        storage_bytes=None if storage is None or more is None else more - storage,
    )


def stall_pct(feed: Feed, pace: float) -> float:
    """What a training of `pace` samples per second waits, in percent of `CHECK_S` seconds.

    A simulated accelerator takes the batches, its host one batch ahead of it. It is the
    accelerator's waiting that is told: handing a batch over takes time too, but beside a step.

    Raises:
        PrefetchError: Reading or the transform failed.
    """
    stream = Stream(feed, None, {})
    try:
        return Device(feed.plan.batch_size / pace).stall_pct(_batches(stream, feed.plan))
    finally:
        stream.close()


def _batches(stream: Stream, plan: Plan) -> Iterator[object]:
    """Yields batches for `CHECK_S` seconds, two at least, once the pipeline is under way."""
    stream.get(plan.place(0))  # may come before there is a chunk
    yield stream.get(plan.place(1))
    due = perf_counter() + CHECK_S
    for ordinal in count(2):
        yield stream.get(plan.place(ordinal))
        if perf_counter() > due:
            return


def with_settings(feed: Feed, **settings: Any) -> Feed:
    """The same data with other numbers of threads, or other depths."""
    return replace(feed, settings=replace(feed.settings, **settings))


@contextmanager
def _running(feed: Feed, first_pass: int) -> Iterator[tuple[Stream, _Taker]]:
    """A stream and who takes its batches; both have ended when the block is left."""
    stream = Stream(feed, None, {})
    taker = _Taker(stream, feed, first_pass)
    try:
        taker.thread.start()
        yield stream, taker
    finally:
        stream.close()
        taker.thread.join()
        if taker.error is not None:
            raise taker.error


def _after(stream: Stream, ended: threading.Event, before: Stats) -> Stats:
    """The counters when there is enough to see, or no hope that there ever will be."""
    due = perf_counter() + PROBE_S + _PATIENCE_S
    ended.wait(PROBE_S)
    stats = stream.stats()
    while stats.read.samples == before.read.samples and perf_counter() < due:
        if ended.wait(_PAUSE_S):
            break
        stats = stream.stats()
    return stats


def _stage(before: StageStats, after: StageStats) -> StageProbe:
    samples = after.samples - before.samples

    def alone(seconds: float) -> float:
        return samples * after.workers / seconds if seconds > 0 else float("inf")

    return StageProbe(
        capacity=alone(after.busy_s - before.busy_s),
        by_work={
            kind.removesuffix("_s"): alone(seconds - getattr(before.work, kind))
            for kind, seconds in asdict(after.work).items()
        },
    )


class _Taker:
    """Takes batches in order on a thread of its own until the stream is closed."""

    def __init__(self, stream: Stream, feed: Feed, first_pass: int) -> None:
        self.error: BaseException | None = None
        self.warm = threading.Event()
        self.ended = threading.Event()
        self.thread = threading.Thread(target=self._run, name="prefetch-probe", daemon=True)
        self._stream = stream
        self._plan = feed.plan
        self._first = first_pass * feed.plan.num_batches
        self._chunk_began: list[float] = []

    @property
    def chunk_s(self) -> tuple[float, ...]:
        """Seconds from one whole chunk to the next."""
        return tuple(later - sooner for sooner, later in pairwise(self._chunk_began))

    def _run(self) -> None:
        try:
            self._take()
        except ClosedError:
            pass
        except BaseException as error:  # noqa: BLE001 - raised by the thread that probes
            self.error = error
        finally:
            self.warm.set()
            self.ended.set()

    def _take(self) -> None:
        for ordinal in count(self._first):
            self._stream.get(self._plan.place(ordinal))
            if self._plan.chunk_of(ordinal)[1] == 0:
                self._chunk_began.append(perf_counter())
            if len(self._chunk_began) == 2:
                self.warm.set()
