"""Counters to feed the monitor with, and a monitor to feed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from helpers.watched import NEVER, MakeStats, Pipeline

from prefetcher.monitor import Monitor
from prefetcher.monitor.system import SystemReadings
from prefetcher.pipeline.stats import QueueStats, StageStats, Stats, Work

MakeReadings = Callable[..., SystemReadings]

NO_WORK = Work(read_s=0.0, hdf5_s=0.0, lock_s=0.0, decode_s=0.0, gather_s=0.0, transform_s=0.0)
NO_STAGE = StageStats(
    workers=1, had_s=0.0, items=0, samples=0, wait_in_s=0.0, wait_out_s=0.0, cpu_s=0.0, work=NO_WORK
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


@pytest.fixture(scope="session")
def make_stats() -> MakeStats:
    """Makes a snapshot of a pipeline that did nothing, but for the counters that are given."""
    return lambda **counters: Stats(**(NO_STATS | counters))


@pytest.fixture(scope="session")
def make_readings() -> MakeReadings:
    """Makes readings that are all zero, but for those that are given."""
    return lambda **readings: SystemReadings(**(NO_READINGS | readings))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "run.jsonl"


@pytest.fixture
def pipeline(make_stats: MakeStats) -> Pipeline:
    return Pipeline(make_stats)


@pytest.fixture
def monitor(path: Path) -> Iterator[Monitor]:
    """A monitor that takes no sample in a test's time, stopped at the end."""
    monitor = Monitor(path, NEVER)
    yield monitor
    monitor.stop()
