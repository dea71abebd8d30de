"""The smallest settings that serve a demand: arithmetic on what probes have measured."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import product

from prefetcher.config import Workers
from prefetcher.errors import SettingsError
from prefetcher.tuning.flow import Flow

SPARE = 1.2
"""A stage must be able to do this much more than is asked of it, or every hiccup is a stall."""

MOST_STALL = 0.01
"""Of training's time. Less cannot be told from nothing."""

_CHUNK_QUEUES = (1, 2, 3, 4)
_BATCH_QUEUES = (2, 4, 8, 16, 32, 64)
_HICCUP_S = 0.02  # a thread may have to wait four times for the GIL, which is handed on after 5 ms
_NEARLY = 0.97  # of the best: a gain of 3 % is lost in noise, and not worth a thread


@dataclass(frozen=True, slots=True)
class Setup:
    """What is chosen."""

    workers: Workers
    chunk_queue: int
    batch_queue: int

    def __str__(self) -> str:
        return ", ".join(f"{name}={value}" for name, value in self.settings.items())

    @property
    def settings(self) -> dict[str, int]:
        """The same as keywords of a sequence."""
        depths = {"chunk_queue": self.chunk_queue, "batch_queue": self.batch_queue}
        return {**self.workers._asdict(), **depths}


@dataclass(frozen=True, slots=True)
class Capacities:
    """What the stages could do, in samples per second, if they never waited.

    Attributes:
        read: Of so many readers; from 1 on without a gap.
        batch: Of so many batchers; from 1 on without a gap.
        unevenness: The time that each of some chunks took, over the mean; at least one.
        batch_size: Samples in a batch.
        batches: Batches in a chunk.
    """

    read: Mapping[int, float]
    batch: Mapping[int, float]
    unevenness: tuple[float, ...]
    batch_size: int
    batches: int

    def of(self, workers: Workers) -> float:
        """What the slower of both stages gives."""
        return min(self.read[workers.readers], self.batch[workers.batchers])

    def flow(self, workers: Workers, demand: float) -> Flow:
        """The pipeline's pace on a bad day, which takes half of what is to spare, or 20 %.

        Args:
            workers: The threads.
            demand: Samples per second that training takes.
        """

        def slowed(samples: int, capacity: float) -> float:
            return samples / capacity * min(SPARE, math.sqrt(max(1.0, capacity / demand)))

        chunk_s = slowed(self.batches * self.batch_size, self.read[workers.readers])
        return Flow(
            chunk_s=[chunk_s * factor for factor in self.unevenness],
            batch_s=slowed(self.batch_size, self.batch[workers.batchers]),
            step_s=self.batch_size / demand,
            batches=self.batches,
        )


@dataclass(frozen=True, slots=True)
class Choice:
    """The setup, and what is to be expected of it."""

    setup: Setup
    memory_bytes: int
    reaches: float
    """Samples per second that its stages could do."""
    limit: str | None
    """What keeps the demand from being met with `SPARE`: "readers", "batchers", "memory" or
    "uneven reading"; None if nothing does."""
    reasons: tuple[str, ...]

    def pace(self, demand: float) -> float:
        """Samples per second: those asked for, or what can be had with `SPARE`."""
        return min(demand, self.reaches / SPARE)


def choose(
    demand: float,
    capacities: Capacities,
    memory_of: Callable[[Setup], int],
    memory_limit: int,
    *,
    above: int = 0,
) -> Choice:
    """The setup that serves `demand` with `SPARE`; else the one that comes nearest.

    Threads come first, as few as do; then the depths that need the least memory.

    Args:
        demand: Samples per second that training takes, above 0.
        capacities: Of the stages.
        memory_of: Bytes that a setup needs.
        memory_limit: Bytes that it may need.
        above: Bytes that it must need more than, because what needs less was tried and stalled; 0
            tries everything. Where nothing larger fits, what fits is chosen all the same.

    Raises:
        SettingsError: Not even the smallest setup fits into the memory.
    """
    readers, enough_read = _fewest(capacities.read, SPARE * demand)
    batchers, enough_batch = _fewest(capacities.batch, SPARE * demand)
    wanted = Workers(readers, batchers)
    served = demand if enough_read and enough_batch else capacities.of(wanted) / SPARE
    for workers in _fewer(wanted):  # each reader may need memory of its own
        fitting = [s for s in _by_memory(workers, memory_of) if memory_of(s) <= memory_limit]
        if fitting:
            break
    else:
        least = memory_of(Setup(Workers(1, 1), 1, _BATCH_QUEUES[0]))
        raise SettingsError(
            f"the smallest queues need {least / 1e9:.2f} GB and {memory_limit / 1e9:.2f} GB may be "
            "used: allow more, or make the chunks smaller"
        )
    flow = capacities.flow(workers, min(served, capacities.of(workers) / SPARE))
    larger = [s for s in fitting if memory_of(s) > above] or fitting
    late = _batches_late(served, capacities)
    setup, stall = _shallowest(flow, [s for s in larger if s.batch_queue >= late] or larger)
    good = stall < MOST_STALL
    limit = _limit(capacities, wanted, demand)
    if limit is None and (workers != wanted or not good):
        deepest = flow.stall_share(_CHUNK_QUEUES[-1], _BATCH_QUEUES[-1])
        limit = "uneven reading" if deepest >= MOST_STALL else "memory"
    return Choice(
        setup=setup,
        memory_bytes=memory_of(setup),
        reaches=capacities.of(workers) * (1 if good else 1 - stall),
        limit=limit,
        reasons=tuple(_reasons(setup, capacities, demand, stall, enough=limit is None)),
    )


def _fewest(capacity: Mapping[int, float], target: float) -> tuple[int, bool]:
    """The fewest threads that reach the target, and whether they do; else as many as help."""
    for threads in sorted(capacity):
        if capacity[threads] >= target:
            return threads, True
    best = max(capacity.values())
    return min(n for n, reached in capacity.items() if reached >= _NEARLY * best), False


def _fewer(workers: Workers) -> Iterator[Workers]:
    """These, and then with one reader less again and again."""
    for readers in range(workers.readers, 0, -1):
        yield Workers(readers, workers.batchers)


def _batches_late(demand: float, capacities: Capacities) -> int:
    """Batches that last as long as a thread may be late."""
    return min(_BATCH_QUEUES[-1], math.ceil(_HICCUP_S * demand / capacities.batch_size))


def _by_memory(workers: Workers, memory_of: Callable[[Setup], int]) -> list[Setup]:
    """Every setup of these threads, the smallest first."""
    depths = product(_CHUNK_QUEUES, _BATCH_QUEUES)
    return sorted((Setup(workers, *pair) for pair in depths), key=memory_of)


def _shallowest(flow: Flow, setups: Sequence[Setup]) -> tuple[Setup, float]:
    """The first setup with which training hardly waits, or waits least, and that stall's share."""
    stalls: dict[Setup, float] = {}
    for setup in setups:
        stalls[setup] = flow.stall_share(setup.chunk_queue, setup.batch_queue)
        if stalls[setup] < MOST_STALL:
            return setup, stalls[setup]
    return min(stalls.items(), key=lambda item: item[1])


def _limit(capacities: Capacities, workers: Workers, demand: float) -> str | None:
    """The stage that cannot do what is asked."""
    read, batch = capacities.read[workers.readers], capacities.batch[workers.batchers]
    if min(read, batch) >= SPARE * demand:
        return None
    return "readers" if read <= batch else "batchers"


def _reasons(
    setup: Setup, capacities: Capacities, demand: float, stall: float, *, enough: bool
) -> Iterator[str]:
    target = SPARE * demand
    readers, batchers = setup.workers
    yield f"readers={readers}: {_why('read', readers, capacities.read, target)}"
    yield f"batchers={batchers}: {_why('make', batchers, capacities.batch, target)}"
    expected = "under 1 %" if stall < MOST_STALL else f"{stall:.0%}"
    pace = "" if enough else "at a pace that can be had, "
    yield (
        f"chunk_queue={setup.chunk_queue}, batch_queue={setup.batch_queue}: {pace}the least memory "
        f"with which training should wait {expected} of the time"
    )


def _why(verb: str, threads: int, capacity: Mapping[int, float], target: float) -> str:
    """Why not one thread less, and why not one more."""
    does = f"{verb}s" if threads == 1 else verb
    text = f"{_counted(threads)} {does} {capacity[threads]:,.0f} samples/s"
    if capacity[threads] < target:
        more = "more gain nothing" if threads + 1 in capacity else "there are no CPUs for more"
        return f"{text}, {target:,.0f} are wanted, and {more}"
    if threads == 1:
        return text
    return f"{text}, {_counted(threads - 1)} only {capacity[threads - 1]:,.0f}"


def _counted(threads: int) -> str:
    return "one" if threads == 1 else str(threads)
