"""Readings of process and machine: true where they are, None and a reason where they are not."""

from __future__ import annotations

import sys
import time
from dataclasses import fields
from typing import Any, NoReturn

import psutil
import pytest

from prefetcher.machine.reasons import Reasons
from prefetcher.machine.system import System, SystemReadings

TICK_S = 0.02
"""Two ticks of the clock that the system counts CPU time with."""


@pytest.fixture
def reasons() -> Reasons:
    return Reasons()


@pytest.mark.skipif(sys.platform != "linux", reason="the one system that tells all of them")
def test_everything_is_read_and_agrees_with_the_system(reasons: Reasons) -> None:
    cpu_before = time.process_time()
    readings = System(reasons).read()
    assert reasons.take() == {}
    assert all(getattr(readings, field.name) is not None for field in fields(SystemReadings))
    assert readings.process_cpu_s is not None
    assert cpu_before - TICK_S <= readings.process_cpu_s <= time.process_time() + TICK_S
    total = psutil.virtual_memory().total
    assert 0 < (readings.rss_bytes or 0) < total
    assert 0 < (readings.memory_available_bytes or 0) <= total
    assert 0 < (readings.machine_busy_s or 0) < (readings.machine_total_s or 0)


def test_guests_are_not_counted_twice(reasons: Reasons, monkeypatch: pytest.MonkeyPatch) -> None:
    class Times:
        def _asdict(self) -> dict[str, float]:
            return {"user": 5.0, "nice": 1.0, "idle": 3.0, "iowait": 1.0, "guest": 4.0}

    monkeypatch.setattr(psutil, "cpu_times", Times)
    readings = System(reasons).read()
    assert (readings.machine_busy_s, readings.machine_total_s) == (6.0, 10.0)


@pytest.mark.parametrize(
    "error", [psutil.AccessDenied(1), PermissionError(13, "denied"), NotImplementedError("no")]
)
def test_a_reading_that_fails_is_none_with_its_reason_told_once(
    reasons: Reasons, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def fail(*_: Any) -> NoReturn:
        raise error

    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setattr(psutil.Process, "io_counters", fail, raising=False)
    monkeypatch.setattr(psutil.Process, "memory_info", fail)
    system = System(reasons)
    readings = system.read()
    assert readings.storage_bytes is None
    assert readings.rss_bytes is None
    assert readings.process_cpu_s is not None
    noted = reasons.take()
    assert set(noted) == {"process.read_storage_bytes", "process.rss_bytes"}
    assert type(error).__name__ in noted["process.rss_bytes"]
    system.read()
    assert reasons.take() == {}


def test_other_systems_count_the_cache_as_reads_so_nothing_is_said(
    reasons: Reasons, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "platform", "darwin")
    assert System(reasons).read().storage_bytes is None
    assert "Linux" in reasons.take()["process.read_storage_bytes"]
