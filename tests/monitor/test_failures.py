"""Whatever the monitor meets, a training neither waits for it nor ends by it."""

from __future__ import annotations

import logging
import subprocess
import sys
import threading
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from helpers.waiting import Task, join, wait_for
from helpers.watched import OFTEN, RUN, MakeStats, Pipeline, Tell, kinds, monitor_threads

from prefetcher.machine.reasons import Reasons
from prefetcher.monitor import Monitor, read_log, recorder
from prefetcher.monitor.log import LogFile
from prefetcher.pipeline.stats import Stats


def test_a_stop_that_does_not_wait_does_not_wait(path: Path, make_stats: MakeStats) -> None:
    pipeline = Pipeline(make_stats, count=2)
    pipeline.gate.clear()
    monitor = Monitor(path, OFTEN)
    monitor.start(RUN, pipeline.snapshot)
    wait_for(pipeline.seen, "the thread is inside its first sample")
    Task(lambda: monitor.stop(wait=False)).result(recorder.STOP_LIMIT_S / 2)
    assert monitor_threads()
    assert "summary" not in kinds(path)
    pipeline.gate.set()
    monitor.stop()
    assert kinds(path)[-1] == "summary"


def test_a_stop_waits_for_a_disk_that_hangs_only_so_long(
    path: Path,
    make_stats: MakeStats,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    pipeline = Pipeline(make_stats, count=2)
    pipeline.gate.clear()
    monitor = Monitor(path, OFTEN)
    monitor.start(RUN, pipeline.snapshot)
    wait_for(pipeline.seen, "the thread is inside its first sample")
    monkeypatch.setattr(recorder, "STOP_LIMIT_S", 0.01)
    Task(monitor.stop).result()
    assert "does not end" in caplog.text
    pipeline.gate.set()


def test_the_monitors_own_thread_may_stop_it(path: Path, make_stats: MakeStats) -> None:
    """As the garbage collection of a sequence does, which can run on any thread."""
    stopped = threading.Event()
    monitor = Monitor(path, OFTEN)

    def snapshot() -> Stats:
        if threading.current_thread().name == "prefetch-monitor":
            monitor.stop()
            stopped.set()
        return make_stats()

    monitor.start(RUN, snapshot)
    wait_for(stopped, "a stop from within a sample returns")
    monitor.stop()
    assert kinds(path) == ["run", "sample", "summary"]


def test_a_failure_on_the_thread_is_one_warning_and_no_more(
    path: Path, make_stats: MakeStats, caplog: pytest.LogCaptureFixture
) -> None:
    pipeline = Pipeline(make_stats, count=3)
    pipeline.gate.clear()
    monitor = Monitor(path, OFTEN)
    monitor.start(RUN, pipeline.snapshot)
    wait_for(pipeline.seen, "the second sample")
    pipeline.error = RuntimeError("counters are gone")
    pipeline.gate.set()
    for thread in monitor_threads():
        join(thread)
    data = {"what": Tell()}
    kept = weakref.ref(data["what"])
    monitor.event("ignored", data)
    del data
    assert kept() is None
    monitor.stop()
    (record,) = caplog.records
    assert (record.name, record.levelno) == ("prefetcher", logging.WARNING)
    assert "RuntimeError: counters are gone" in record.message
    assert kinds(path) == ["run", "sample"]
    pipeline.error = None
    monitor.start(RUN, pipeline.snapshot)
    monitor.stop()
    assert kinds(path)[2] == "run"


def test_a_full_disk_in_mid_run_ends_only_the_log(
    monitor: Monitor,
    pipeline: Pipeline,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    tried = threading.Event()

    def full(*_: Any) -> None:
        tried.set()
        raise OSError(28, "No space left on device")

    monitor.start(RUN, pipeline.snapshot)
    monkeypatch.setattr(LogFile, "write", full)
    monitor.event("first_batch")
    wait_for(tried, "the event is written")
    monitor.event("pass_end")
    monitor.stop()
    (record,) = caplog.records
    assert "No space left" in record.message


def test_a_log_that_cannot_be_started_is_one_warning(
    monitor: Monitor, path: Path, pipeline: Pipeline, caplog: pytest.LogCaptureFixture
) -> None:
    path.write_bytes(b"\x89HDF\r\n\x1a\n")
    monitor.start(RUN, pipeline.snapshot)
    monitor.event("ignored")
    monitor.stop()
    (record,) = caplog.records
    assert "run.jsonl is not a log" in record.message
    assert path.read_bytes() == b"\x89HDF\r\n\x1a\n"
    assert not monitor_threads()


def test_a_monitor_that_is_kept_does_not_keep_what_it_watched(
    monitor: Monitor, make_stats: MakeStats
) -> None:
    pipeline = Pipeline(make_stats)
    alive = weakref.ref(pipeline)
    monitor.start(RUN, pipeline.snapshot)
    monitor.stop()
    del pipeline
    assert alive() is None


def test_a_reading_that_is_lost_later_is_told_once_in_an_event(
    path: Path, make_stats: MakeStats, monkeypatch: pytest.MonkeyPatch
) -> None:
    pipeline = Pipeline(make_stats, count=4)
    answers: Iterator[dict[str, object]] = iter([{"index": 0, "util_pct": 50}])

    @contextmanager
    def one_card(reasons: Reasons) -> Iterator[Any]:
        def read() -> list[dict[str, object]]:
            reasons.note("gpu.0.power_w", "Not Supported")
            if (answer := next(answers, None)) is None:
                reasons.note("gpu.0.util_pct", "GPU is lost")
            return [answer or {"index": 0, "util_pct": None}]

        card = SimpleNamespace(describe=lambda: {"index": 0, "uuid": "GPU-aa", "name": "H100"})
        yield SimpleNamespace(cards=[card], read=read)

    monkeypatch.setattr(recorder, "open_gpus", one_card)
    monitor = Monitor(path, OFTEN)
    monitor.start(RUN, pipeline.snapshot)
    wait_for(pipeline.seen, "three samples")
    monitor.stop()
    run, first, event, *_ = lines = read_log(path)
    assert run["gpu"] == [{"index": 0, "uuid": "GPU-aa", "name": "H100"}]
    assert run["unavailable"]["gpu.0.power_w"] == "Not Supported"
    assert first["gpu"] == [{"index": 0, "util_pct": None}]
    assert event["name"] == "unavailable"
    assert event["data"] == {"gpu.0.util_pct": "GPU is lost"}
    assert sum(line["kind"] == "event" for line in lines) == 1


def test_a_process_that_never_stops_its_monitor_still_exits(path: Path) -> None:
    program = (
        "import sys; from prefetcher.monitor import Monitor; "
        "from prefetcher.pipeline.stats import Counters; "
        "from prefetcher.pipeline.buffers import Meter; "
        "counters = Counters(1, 1, Meter()); "
        "Monitor(sys.argv[1], 0.01).start({}, lambda: counters.snapshot((2, 0), (16, 0)))"
    )
    ended = subprocess.run(
        [sys.executable, "-c", program, str(path)], capture_output=True, timeout=60, check=False
    )
    assert (ended.returncode, ended.stderr) == (0, b"")
    assert kinds(path)[0] == "run"
