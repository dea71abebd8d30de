"""What a monitor can be made to watch, and what of it can be seen."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from helpers.waiting import wait_for
from prefetcher.machine.system import SystemReadings
from prefetcher.monitor import read_log
from prefetcher.pipeline.stats import QueueStats, StageStats, Stats, Work

MakeStats = Callable[..., Stats]

NEVER = 3600.0
"""An interval that no test lives to see the end of."""
OFTEN = 0.01
RUN = {"backend": "jax", "wait_scope": "exposed", "settings": {"seed": 0}, "file": {"name": "a.h5"}}

NO_WORK = Work(read_s=0.0, hdf5_s=0.0, lock_s=0.0, decode_s=0.0, gather_s=0.0, transform_s=0.0)
NO_STAGE = StageStats(
    workers=1,
    had_s=0.0,
    items=0,
    samples=0,
    wait_in_s=0.0,
    wait_out_s=0.0,
    cpu_s=0.0,
    work=NO_WORK,
    runqueue_s=0.0,
    timeslices=0,
)
NO_STATS: dict[str, Any] = {
    "running_s": 0.0,
    "pass_number": 0,
    "position": -1,
    "batches": 0,
    "samples": 0,
    "bytes": 0,
    "read_bytes": 0,
    "first_batch_s": None,
    "stall_s": 0.0,
    "replays": 0,
    "restarts": 0,
    "read": NO_STAGE,
    "batch": NO_STAGE,
    "chunk_queue": QueueStats(capacity=2, depth=0, items=0, put_wait_s=0.0, get_wait_s=0.0),
    "batch_queue": QueueStats(capacity=16, depth=0, items=0, put_wait_s=0.0, get_wait_s=0.0),
    "buffer_bytes": 0,
    "buffer_peak_bytes": 0,
}
NO_READINGS: dict[str, Any] = {
    "process_cpu_s": 0.0,
    "rss_bytes": 0,
    "storage_bytes": 0,
    "machine_busy_s": 0.0,
    "machine_total_s": 0.0,
    "memory_available_bytes": 0,
}


def stats_of(**counters: Any) -> Stats:
    """A snapshot of a pipeline that did nothing, but for the counters that are given."""
    return Stats(**(NO_STATS | counters))


def readings_of(**readings: Any) -> SystemReadings:
    """Readings of the machine that are all zero, but for those that are given."""
    return SystemReadings(**(NO_READINGS | readings))


class Pipeline:
    """Stands for what the monitor watches; `seen` is set when `count` snapshots were taken."""

    def __init__(self, make_stats: MakeStats, count: int = 1) -> None:
        self.seen = threading.Event()
        self.gate = threading.Event()
        self.gate.set()
        self.error: Exception | None = None
        self._make_stats = make_stats
        self._left = count

    def snapshot(self) -> Stats:
        self._left -= 1
        if self._left <= 0:
            self.seen.set()
            wait_for(self.gate, "the test lets the snapshot go on")
        if self.error is not None:
            raise self.error
        return self._make_stats(samples=-self._left)


class Tell:
    """Event data that sets an event when it is written."""

    def __init__(self) -> None:
        self.written = threading.Event()

    def __str__(self) -> str:
        self.written.set()
        return "told"


def kinds(path: Path) -> list[str]:
    return [line["kind"] for line in read_log(path)]


def monitor_threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "prefetch-monitor"]
