"""Counters to feed the monitor with, and a monitor to feed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from helpers.watched import NEVER, MakeStats, Pipeline, readings_of, stats_of

from prefetcher.machine.system import SystemReadings
from prefetcher.monitor import Monitor

MakeReadings = Callable[..., SystemReadings]


@pytest.fixture(scope="session")
def make_stats() -> MakeStats:
    """Makes a snapshot of a pipeline that did nothing, but for the counters that are given."""
    return stats_of


@pytest.fixture(scope="session")
def make_readings() -> MakeReadings:
    """Makes readings that are all zero, but for those that are given."""
    return readings_of


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
