"""The monitor's life: what it writes, and when."""

from __future__ import annotations

import re
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from conftest import MakeSamples
from helpers.load import LINUX
from helpers.sequences import small
from helpers.waiting import Task, wait_for
from helpers.watched import (
    NEVER,
    OFTEN,
    RUN,
    MakeStats,
    Pipeline,
    Tell,
    kinds,
    monitor_threads,
)

from prefetcher.errors import SettingsError
from prefetcher.machine import runqueue
from prefetcher.monitor import Monitor, claimed, read_log, recorder
from prefetcher.monitor import monitor as monitor_module
from prefetcher.verdict.judge import judge


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


def test_a_verdict_that_is_no_flag_is_refused(path: Path) -> None:
    with pytest.raises(SettingsError, match="verdict='no': write True or False"):
        Monitor(path, verdict="no")  # type: ignore[arg-type]


def test_a_path_that_no_log_can_be_at_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="is a folder"):
        Monitor(tmp_path)
    with pytest.raises(SettingsError, match="does not exist; make it first"):
        Monitor(tmp_path / "missing" / "run.jsonl")


@pytest.mark.parametrize("path", [".", "..", "/"])
def test_a_folder_is_named_as_it_was_written(path: str) -> None:
    with pytest.raises(SettingsError, match=re.escape(f"log {path!r} is a folder")):
        claimed(path)


@pytest.mark.parametrize("monitor", [True, 5, b"run.jsonl"])
def test_what_is_no_path_is_refused(monitor: Any) -> None:
    with pytest.raises(SettingsError, match=r"monitor=.*: write the path of its log"):
        claimed(monitor)


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
    for task in [Task(partial(send, thread)) for thread in range(4)]:
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


def pull(samples: MakeSamples, monitor: Monitor) -> None:
    """Draws a pass as fast as it can, with a sample of the monitor at least."""
    with small(samples(64), monitor=monitor) as sequence:
        list(sequence)


def test_when_a_sequence_is_closed_the_verdict_is_told_once(
    samples: MakeSamples, path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monitor = Monitor(path, OFTEN)
    pull(samples, monitor)
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("run.jsonl: ")
    assert err.count("\n") == 1
    assert judge(read_log(path)).headline in err
    monitor.close()
    assert capsys.readouterr().err == ""


def test_a_mere_stop_tells_nothing_and_neither_does_who_was_asked_not_to(
    samples: MakeSamples, path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pull(samples, Monitor(path, OFTEN, verdict=False))
    monitor = Monitor(path, OFTEN)
    monitor.close()  # it never ran
    with small(samples(64), monitor=monitor) as sequence:
        list(sequence)
        monitor.stop()
        assert capsys.readouterr().err == ""


def test_a_log_that_nobody_should_wait_for_is_left_to_the_report(
    samples: MakeSamples,
    path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(monitor_module, "_LARGEST_TOLD", 100)
    pull(samples, Monitor(path, OFTEN))
    assert capsys.readouterr().err == "run.jsonl: `prefetcher report` has the verdict\n"


STAGES = ("read", "batch")


def stages_of(path: Path) -> list[dict[str, Any]]:
    """Both stages of every sample and of the summary."""
    lines = [line for line in read_log(path) if line["kind"] in ("sample", "summary")]
    return [line["stage"][name] for line in lines for name in STAGES]


@pytest.mark.skipif(not LINUX, reason="only Linux counts waits for a CPU")
def test_waits_for_a_cpu_are_in_the_log(samples: MakeSamples, path: Path) -> None:
    pull(samples, Monitor(path, OFTEN, verdict=False))
    assert "stage.runqueue_pct" not in read_log(path)[0]["unavailable"]
    for stage in stages_of(path):
        assert stage["runqueue_pct"] >= 0
        assert stage["timeslices_per_s"] >= 0  # a short run may need no second one
    assert not [fd for fd in Path("/proc/self/fd").iterdir() if "schedstat" in str(fd.resolve())]


@pytest.mark.skipif(not LINUX, reason="only Linux counts waits for a CPU")
def test_the_monitors_own_wait_for_a_cpu_is_a_part_of_its_lateness(
    path: Path, make_stats: MakeStats
) -> None:
    pipeline = Pipeline(make_stats, count=6)
    monitor = Monitor(path, OFTEN)
    monitor.start(RUN, pipeline.snapshot)
    wait_for(pipeline.seen, "five samples")
    monitor.stop()
    late = [line["monitor"] for line in read_log(path) if line["kind"] == "sample"]
    assert len(late) >= 5
    assert all(0 <= each["runqueue_ms"] <= each["late_ms"] for each in late)


def test_where_nobody_counts_waits_for_a_cpu_they_are_null_and_the_reason_is_told(
    samples: MakeSamples, path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runqueue, "_FILE", str(tmp_path / "missing"))
    pull(samples, Monitor(path, OFTEN, verdict=False))
    run, *lines, _ = read_log(path)
    assert "missing" in run["unavailable"]["stage.runqueue_pct"]
    for stage in stages_of(path)[-2:]:
        assert (stage["runqueue_pct"], stage["timeslices_per_s"]) == (None, None)
        assert stage["cpu_pct"] is not None
    assert all(line["monitor"]["runqueue_ms"] is None for line in lines if line["kind"] == "sample")
