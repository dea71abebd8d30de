"""What each line of the log holds: pure functions of two moments, so a line can be checked by hand.

Shares and rates are differences of two moments, divided by the real time between them. `null`
means not available, 0 means measured zero; docs/monitor.md explains every key.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import TypeVar

from prefetcher.machine.system import SystemReadings
from prefetcher.pipeline.stats import QueueStats, StageStats, Stats

Line = dict[str, object]
N = TypeVar("N", int, float)


@dataclass(frozen=True, slots=True)
class Moment:
    """Everything that was counted, at one time."""

    t_s: float
    """Seconds since the monitor was first started."""
    stats: Stats
    system: SystemReadings


def sample_line(
    before: Moment,
    after: Moment,
    gpu: list[Line] | None,
    cost_ms: float,
    late_ms: float,
    runqueue_ms: float | None = None,
) -> Line:
    """The line "sample": what happened between two moments, and where things stand at the second.

    Args:
        before: the moment of the last sample, or of the start.
        after: now.
        gpu: readings per card; None where there is no driver.
        cost_ms: CPU milliseconds the monitor took for this sample and for what it wrote before.
        late_ms: milliseconds from when the sample was due until the monitor's thread ran.
        runqueue_ms: those of them in which it waited for a CPU; None where nobody counts them.
    """
    system = after.system
    return {
        "t_s": round(after.t_s, 3),
        "dt_s": round(after.t_s - before.t_s, 3),
        "pass": after.stats.pass_number,
        "position": _position(after.stats),
        **_pipeline(before, after),
        "queue": _queues(before, after),
        "process": {
            "cpu_pct": _process_cpu_pct(before, after),
            "rss_bytes": system.rss_bytes,
            **_read_bytes(before, after),
        },
        "machine": {
            "cpu_pct": _machine_cpu_pct(before.system, system),
            "memory_available_bytes": system.memory_available_bytes,
        },
        "gpu": gpu,
        "monitor": {
            "cost_ms": round(cost_ms, 3),
            "late_ms": round(late_ms, 3),
            "runqueue_ms": _rounded(runqueue_ms),
        },
    }


def summary_line(
    first: Moment,
    last: Moment,
    *,
    samples_logged: int,
    rss_peak_bytes: int | None,
    events: Mapping[str, int],
    monitor_cpu_s: float,
) -> Line:
    """The line "summary": totals from a start of the monitor to its stop.

    Args:
        first: the moment of the start.
        last: the moment of the stop.
        samples_logged: lines of kind "sample" in between.
        rss_peak_bytes: the largest memory that a reading in between saw.
        events: how many events of each name there were.
        monitor_cpu_s: CPU seconds of the monitor's thread.
    """
    before, after = first.stats, last.stats
    seconds = last.t_s - first.t_s
    return {
        "t_s": round(last.t_s, 3),
        "duration_s": round(seconds, 3),
        "passes": after.pass_number + 1 if after.batches else 0,
        "position": _position(after),
        "batches": after.batches - before.batches,
        "samples": after.samples - before.samples,
        "bytes": after.bytes - before.bytes,
        "first_batch_s": _rounded(after.first_batch_s),
        "stall_s": round(after.stall_s - before.stall_s, 3),
        **_pipeline(first, last),
        "replays": after.replays - before.replays,
        "restarts": after.restarts - before.restarts,
        "buffer_peak_bytes": after.buffer_peak_bytes,
        "process": {
            "cpu_pct": _process_cpu_pct(first, last),
            "rss_peak_bytes": rss_peak_bytes,
            **_read_bytes(first, last),
        },
        "events": dict(events),
        "monitor": {
            "samples_logged": samples_logged,
            "cpu_s": round(monitor_cpu_s, 4),
            "cpu_pct": _share(monitor_cpu_s, seconds, digits=3),
        },
    }


def _pipeline(before: Moment, after: Moment) -> Line:
    seconds, old, new = after.t_s - before.t_s, before.stats, after.stats
    return {
        "samples_per_s": _rate(new.samples - old.samples, seconds),
        "stall_pct": _share(new.stall_s - old.stall_s, seconds),
        "stage": {
            "read": _stage(old.read, new.read, seconds),
            "batch": _stage(old.batch, new.batch, seconds),
        },
    }


def _stage(before: StageStats, after: StageStats, seconds: float) -> Line:
    """Shares of the time that all workers of the stage had together."""
    had = after.had_s - before.had_s
    return {
        "workers": after.workers,
        "samples_per_s": _rate(after.samples - before.samples, seconds),
        "busy_pct": _share(after.busy_s - before.busy_s, had),
        "wait_in_pct": _share(after.wait_in_s - before.wait_in_s, had),
        "wait_out_pct": _share(after.wait_out_s - before.wait_out_s, had),
        "cpu_pct": _share(after.cpu_s - before.cpu_s, had),
        "runqueue_pct": _share(_difference(before.runqueue_s, after.runqueue_s), had),
        "timeslices_per_s": _rate(_difference(before.timeslices, after.timeslices), seconds),
        "work_pct": {
            kind.removesuffix("_s"): _share(getattr(after.work, kind) - booked, had)
            for kind, booked in asdict(before.work).items()
        },
    }


def _queues(before: Moment, after: Moment) -> Line:
    seconds, old, new = after.t_s - before.t_s, before.stats, after.stats
    return {
        "chunk": _queue(old.chunk_queue, new.chunk_queue, seconds),
        "batch": _queue(old.batch_queue, new.batch_queue, seconds),
    }


def _queue(before: QueueStats, after: QueueStats, seconds: float) -> Line:
    return {
        "capacity": after.capacity,
        "depth": after.depth,
        "items_per_s": _rate(after.items - before.items, seconds),
    }


def _position(stats: Stats) -> int | None:
    return stats.position if stats.position >= 0 else None


def _read_bytes(before: Moment, after: Moment) -> Line:
    return {
        "read_storage_bytes": _difference(before.system.storage_bytes, after.system.storage_bytes),
        "read_requested_bytes": after.stats.read_bytes - before.stats.read_bytes,
    }


def _process_cpu_pct(before: Moment, after: Moment) -> float | None:
    """100 is one core kept busy, so several threads may reach more."""
    used = _difference(before.system.process_cpu_s, after.system.process_cpu_s)
    return _share(used, after.t_s - before.t_s)


def _machine_cpu_pct(before: SystemReadings, after: SystemReadings) -> float | None:
    """100 is every core kept busy."""
    busy = _difference(before.machine_busy_s, after.machine_busy_s)
    total = _difference(before.machine_total_s, after.machine_total_s)
    return _share(busy, total)


def _difference(before: N | None, after: N | None) -> N | None:
    return None if before is None or after is None else after - before


def _rate(count: int | None, seconds: float) -> float | None:
    return round(count / seconds, 1) if count is not None and seconds > 0 else None


def _share(part: float | None, whole: float | None, digits: int = 1) -> float | None:
    """Percent; None where there is no whole to take it of, as with a stage that has no workers."""
    if part is None or not whole or whole < 0:
        return None
    return round(max(0.0, 100 * part / whole), digits)  # counters may step back a microsecond


def _rounded(time: float | None) -> float | None:
    return None if time is None else round(time, 3)
