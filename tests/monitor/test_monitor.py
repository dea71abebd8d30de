"""The monitor's life: what it writes when, and that nothing it meets can harm a training."""

from __future__ import annotations

import logging
import subprocess
import sys
import threading
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from helpers.waiting import Task, join, wait_for

from prefetcher.errors import SettingsError
from prefetcher.monitor import Monitor, read_log, recorder
from prefetcher.monitor.log import LogFile
from prefetcher.monitor.reasons import Reasons
from prefetcher.pipeline.stats import Stats

MakeStats = Callable[..., Stats]

NEVER = 3600.0
"""An interval that no test lives to see the end of."""
OFTEN = 0.01
RUN = {"backend": "jax", "wait_scope": "exposed", "settings": {"seed": 0}, "file": {"name": "a.h5"}}


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


def kinds(path: Path) -> list[str]:
    return [line["kind"] for line in read_log(path)]


def monitor_threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "prefetch-monitor"]


def test_nothing_starts_at_construction(monitor: Monitor, path: Path) -> None:
    assert not monitor_threads()
    assert not path.exists()
    monitor.event("ignored")
    monitor.stop()
    assert not path.exists()


@pytest.mark.parametrize("interval", [0, -1.0, float("nan"), float("inf"), "soon", None, 0.001])
def test_an_interval_that_cannot_work_is_refused(path: Path, interval: Any) -> None:
    with pytest.raises(SettingsError, match=r"interval is .*; give seconds"):
        Monitor(path, interval)


def test_a_path_that_no_log_can_be_at_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="is a folder"):
        Monitor(tmp_path)
    with pytest.raises(SettingsError, match="does not exist; make it first"):
        Monitor(tmp_path / "missing" / "run.jsonl")


def test_the_first_line_is_there_when_start_returns(
    monitor: Monitor, path: Path, pipeline: Pipeline
) -> None:
    monitor.start(RUN, pipeline.snapshot)
    (run,) = read_log(path)
    assert (run["kind"], run["part"], run["t_s"]) == ("run", 1, pytest.approx(0, abs=1))
    assert {key: run[key] for key in RUN} == RUN
    assert run["interval_s"] == NEVER
    assert len(run["run_id"]) == 32
    missing = {"time", "version", "host", "pid", "cpus_allowed", "memory_limit_bytes"} - set(run)
    assert not missing
    assert (run["gpu"] is None) == ("gpu" in run["unavailable"])
    (thread,) = monitor_threads()
    assert thread.daemon


def test_samples_come_at_the_interval_and_a_summary_at_the_end(
    path: Path, make_stats: MakeStats
) -> None:
    pipeline = Pipeline(make_stats, count=5)
    monitor = Monitor(path, OFTEN)
    monitor.start(RUN, pipeline.snapshot)
    wait_for(pipeline.seen, "four samples")
    monitor.stop()
    run, *samples, summary = read_log(path)
    assert {line["kind"] for line in samples} == {"sample"}
    assert len(samples) >= 4
    assert all(line["dt_s"] > 0 for line in samples)
    assert sum(line["dt_s"] for line in samples) == pytest.approx(
        samples[-1]["t_s"] - run["t_s"], abs=0.001 * len(samples)
    )
    assert summary["kind"] == "summary"
    assert summary["monitor"]["samples_logged"] == len(samples)
    assert summary["samples"] == len(samples) + 1  # one for each snapshot after the first
    assert summary["process"]["rss_peak_bytes"] >= max(s["process"]["rss_bytes"] for s in samples)


def test_the_cost_in_the_log_is_all_that_the_thread_used(path: Path, make_stats: MakeStats) -> None:
    pipeline = Pipeline(make_stats, count=4)
    monitor = Monitor(path, OFTEN)
    monitor.start(RUN, pipeline.snapshot)
    wait_for(pipeline.seen, "three samples")
    monitor.stop()
    _, *samples, summary = read_log(path)
    costs = [line["monitor"]["cost_ms"] for line in samples]
    assert all(cost > 0 for cost in costs)
    assert 0 < sum(costs) / 1000 <= summary["monitor"]["cpu_s"] + 0.0001


def test_an_event_is_written_at_once(monitor: Monitor, path: Path, pipeline: Pipeline) -> None:
    monitor.start(RUN, pipeline.snapshot)
    tell = Tell()
    monitor.event("first_batch", {"what": tell})
    wait_for(tell.written, "an event is written long before the next sample")
    monitor.event("pass_end")
    monitor.stop()
    _, first, second, summary = read_log(path)
    assert (first["name"], first["data"]) == ("first_batch", {"what": "told"})
    assert (second["name"], second["data"]) == ("pass_end", {})
    assert 0 <= first["t_s"] <= second["t_s"] <= summary["t_s"]
    assert summary["events"] == {"first_batch": 1, "pass_end": 1}


def test_many_threads_may_send_events(monitor: Monitor, path: Path, pipeline: Pipeline) -> None:
    def send(thread: int) -> None:
        for number in range(50):
            monitor.event("read_retry", {"thread": thread, "number": number})

    monitor.start(RUN, pipeline.snapshot)
    for task in [Task(lambda thread=thread: send(thread)) for thread in range(4)]:
        task.result()
    monitor.stop()
    events = [line["data"] for line in read_log(path) if line["kind"] == "event"]
    for thread in range(4):
        numbers = [data["number"] for data in events if data["thread"] == thread]
        assert numbers == list(range(50))


def test_a_stop_can_come_twice_and_after_it_nothing_is_written(
    monitor: Monitor, path: Path, pipeline: Pipeline
) -> None:
    monitor.start(RUN, pipeline.snapshot)
    monitor.stop()
    monitor.stop()
    monitor.event("too_late")
    assert not monitor_threads()
    assert kinds(path) == ["run", "summary"]


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


def test_a_second_start_goes_on_in_the_same_log(
    monitor: Monitor, path: Path, pipeline: Pipeline
) -> None:
    monitor.start(RUN, pipeline.snapshot)
    monitor.stop(wait=False)
    monitor.start(RUN, pipeline.snapshot)
    monitor.event("first_batch")
    monitor.stop()
    assert kinds(path) == ["run", "summary", "run", "event", "summary"]
    first, end, second, _, _ = read_log(path)
    assert first["run_id"] == second["run_id"]
    assert (first["part"], second["part"]) == (1, 2)
    assert first["t_s"] <= end["t_s"] <= second["t_s"]


def test_a_second_start_waits_for_the_last_line_of_the_first(
    path: Path, make_stats: MakeStats, monkeypatch: pytest.MonkeyPatch
) -> None:
    pipeline = Pipeline(make_stats, count=2)
    pipeline.gate.clear()
    real_join = recorder.Recorder.join

    def let_go_and_join(self: recorder.Recorder) -> None:
        pipeline.gate.set()
        real_join(self)

    monkeypatch.setattr(recorder.Recorder, "join", let_go_and_join)
    monitor = Monitor(path, OFTEN)
    monitor.start(RUN, pipeline.snapshot)
    wait_for(pipeline.seen, "the thread is inside its first sample")
    monitor.stop(wait=False)
    monitor.start(RUN, pipeline.snapshot)
    monitor.stop()
    assert kinds(path)[:4] == ["run", "sample", "summary", "run"]


def test_starting_a_monitor_that_runs_does_nothing(
    monitor: Monitor, path: Path, pipeline: Pipeline
) -> None:
    monitor.start(RUN, pipeline.snapshot)
    monitor.start(RUN, pipeline.snapshot)
    assert len(monitor_threads()) == 1
    monitor.stop()
    assert kinds(path) == ["run", "summary"]


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
