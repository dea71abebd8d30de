"""What a line says, checked against figures worked out by hand."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from typing import Any

import pytest
from helpers.watched import MakeStats
from hypothesis import given
from hypothesis import strategies as st

from prefetcher.machine.system import SystemReadings
from prefetcher.monitor.lines import Moment, sample_line, summary_line
from prefetcher.pipeline.stats import QueueStats, StageStats, Work

MakeReadings = Callable[..., SystemReadings]


def summary(first: Moment, last: Moment) -> dict[str, Any]:
    return summary_line(
        first, last, samples_logged=3, rss_peak_bytes=9, events={"pass_end": 2}, monitor_cpu_s=0.01
    )


@pytest.fixture
def before(make_stats: MakeStats, make_readings: MakeReadings) -> Moment:
    return Moment(10.0, make_stats(), make_readings())


@pytest.fixture
def after(make_stats: MakeStats, make_readings: MakeReadings) -> Moment:
    """Two seconds after `before`."""
    stats = make_stats(
        pass_number=3,
        position=41,
        batches=10,
        samples=320,
        bytes=5000,
        read_bytes=6000,
        first_batch_s=0.12345,
        stall_s=0.5,
        replays=1,
        restarts=2,
        read=StageStats(
            workers=2,
            had_s=4.0,
            items=4,
            samples=500,
            wait_in_s=0.0,
            wait_out_s=1.0,
            cpu_s=2.0,
            work=Work(
                read_s=1.0, hdf5_s=0.0, lock_s=0.2, decode_s=1.5, gather_s=0.3, transform_s=0.0
            ),
            runqueue_s=0.6,
            timeslices=90,
        ),
        batch=StageStats(
            workers=1,
            had_s=2.0,
            items=10,
            samples=320,
            wait_in_s=1.5,
            wait_out_s=0.0,
            cpu_s=0.2,
            work=Work(
                read_s=0.0, hdf5_s=0.0, lock_s=0.0, decode_s=0.0, gather_s=0.1, transform_s=0.4
            ),
        ),
        chunk_queue=QueueStats(capacity=2, depth=1, items=4, put_wait_s=1.0, get_wait_s=1.5),
        batch_queue=QueueStats(capacity=16, depth=0, items=10, put_wait_s=0.0, get_wait_s=0.5),
        buffer_peak_bytes=7000,
    )
    readings = make_readings(
        process_cpu_s=3.0,
        rss_bytes=800,
        storage_bytes=4000,
        machine_busy_s=1.0,
        machine_total_s=8.0,
        memory_available_bytes=900,
    )
    return Moment(12.0, stats, readings)


def test_a_sample_is_the_difference_of_two_moments(before: Moment, after: Moment) -> None:
    assert sample_line(before, after, [{"index": 0}], 0.71234, 0.0567, 0.01234) == {
        "t_s": 12.0,
        "dt_s": 2.0,
        "pass": 3,
        "position": 41,
        "samples_per_s": 160.0,
        "stall_pct": 25.0,
        "stage": {
            "read": {
                "workers": 2,
                "samples_per_s": 250.0,
                "busy_pct": 75.0,
                "wait_in_pct": 0.0,
                "wait_out_pct": 25.0,
                "cpu_pct": 50.0,
                "runqueue_pct": 15.0,
                "timeslices_per_s": 45.0,
                "work_pct": {
                    "read": 25.0,
                    "hdf5": 0.0,
                    "lock": 5.0,
                    "decode": 37.5,
                    "gather": 7.5,
                    "transform": 0.0,
                },
            },
            "batch": {
                "workers": 1,
                "samples_per_s": 160.0,
                "busy_pct": 25.0,
                "wait_in_pct": 75.0,
                "wait_out_pct": 0.0,
                "cpu_pct": 10.0,
                "runqueue_pct": None,
                "timeslices_per_s": None,
                "work_pct": {
                    "read": 0.0,
                    "hdf5": 0.0,
                    "lock": 0.0,
                    "decode": 0.0,
                    "gather": 5.0,
                    "transform": 20.0,
                },
            },
        },
        "queue": {
            "chunk": {"capacity": 2, "depth": 1, "items_per_s": 2.0},
            "batch": {"capacity": 16, "depth": 0, "items_per_s": 5.0},
        },
        "process": {
            "cpu_pct": 150.0,
            "rss_bytes": 800,
            "read_storage_bytes": 4000,
            "read_requested_bytes": 6000,
        },
        "machine": {"cpu_pct": 12.5, "memory_available_bytes": 900},
        "gpu": [{"index": 0}],
        "monitor": {"cost_ms": 0.712, "late_ms": 0.057, "runqueue_ms": 0.012},
    }


def test_a_summary_holds_the_totals(before: Moment, after: Moment) -> None:
    line = summary(before, after)
    assert line.pop("stage") == sample_line(before, after, None, 0.0, 0.0)["stage"]
    assert line == {
        "t_s": 12.0,
        "duration_s": 2.0,
        "passes": 4,
        "position": 41,
        "batches": 10,
        "samples": 320,
        "bytes": 5000,
        "first_batch_s": 0.123,
        "stall_s": 0.5,
        "samples_per_s": 160.0,
        "stall_pct": 25.0,
        "replays": 1,
        "restarts": 2,
        "buffer_peak_bytes": 7000,
        "process": {
            "cpu_pct": 150.0,
            "rss_peak_bytes": 9,
            "read_storage_bytes": 4000,
            "read_requested_bytes": 6000,
        },
        "events": {"pass_end": 2},
        "monitor": {"samples_logged": 3, "cpu_s": 0.01, "cpu_pct": 0.5},
    }


def test_a_summary_counts_from_its_own_start(before: Moment, after: Moment) -> None:
    line = summary(after, Moment(20.0, after.stats, after.system))
    assert (line["samples"], line["batches"], line["bytes"], line["stall_s"]) == (0, 0, 0, 0.0)
    assert (line["duration_s"], line["samples_per_s"], line["stall_pct"]) == (8.0, 0.0, 0.0)


def test_zero_is_measured_and_null_is_not_available(
    make_stats: MakeStats, make_readings: MakeReadings
) -> None:
    nothing = make_readings(
        process_cpu_s=None,
        rss_bytes=None,
        storage_bytes=None,
        machine_busy_s=None,
        machine_total_s=None,
        memory_available_bytes=None,
    )
    old, new = Moment(0.0, make_stats(), nothing), Moment(1.0, make_stats(), nothing)
    line: dict[str, Any] = sample_line(old, new, None, 0.0, 0.0)
    assert line["process"] == {
        "cpu_pct": None,
        "rss_bytes": None,
        "read_storage_bytes": None,
        "read_requested_bytes": 0,
    }
    assert line["machine"] == {"cpu_pct": None, "memory_available_bytes": None}
    assert line["gpu"] is None
    assert (line["samples_per_s"], line["stall_pct"]) == (0.0, 0.0)


def test_before_the_first_batch_there_is_no_position(
    make_stats: MakeStats, make_readings: MakeReadings
) -> None:
    old = Moment(0.0, make_stats(), make_readings())
    new = Moment(1.0, make_stats(), make_readings())
    assert sample_line(old, new, None, 0.0, 0.0)["position"] is None
    line = summary(old, new)
    assert (line["passes"], line["position"], line["first_batch_s"]) == (0, None, None)


def test_without_a_whole_there_is_no_share(before: Moment, make_stats: MakeStats) -> None:
    no_workers = replace(before.stats.read, workers=0)
    later = Moment(11.0, make_stats(read=no_workers), before.system)
    line: dict[str, Any] = sample_line(before, later, None, 0.0, 0.0)
    assert line["stage"]["read"]["busy_pct"] is None
    at_once: dict[str, Any] = sample_line(before, before, None, 0.0, 0.0)
    assert (at_once["samples_per_s"], at_once["stall_pct"]) == (None, None)


def test_a_counter_that_steps_back_a_microsecond_is_zero(
    before: Moment, make_stats: MakeStats
) -> None:
    later = Moment(11.0, make_stats(stall_s=-1e-6), before.system)
    assert str(sample_line(before, later, None, 0.0, 0.0)["stall_pct"]) == "0.0"


@given(st.lists(st.tuples(st.integers(0, 1000), st.integers(0, 10**12)), min_size=1, max_size=8))
def test_the_samples_add_up_to_the_summary(
    make_stats: MakeStats, make_readings: MakeReadings, steps: list[tuple[int, int]]
) -> None:
    moments = [Moment(0.0, make_stats(), make_readings())]
    samples = nbytes = 0
    for second, (more_samples, more_bytes) in enumerate(steps, start=1):
        samples, nbytes = samples + more_samples, nbytes + more_bytes
        stats = make_stats(samples=samples, read_bytes=nbytes)
        moments.append(Moment(float(second), stats, make_readings(storage_bytes=nbytes // 2)))
    lines: list[Any] = [sample_line(old, new, None, 0.0, 0.0) for old, new in pairwise(moments)]
    total = summary(moments[0], moments[-1])
    for key in ("read_requested_bytes", "read_storage_bytes"):
        assert sum(line["process"][key] for line in lines) == total["process"][key]
    assert sum(line["samples_per_s"] * line["dt_s"] for line in lines) == total["samples"]
