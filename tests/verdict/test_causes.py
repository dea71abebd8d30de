"""Every cause and every advice, from lines made by hand: what no test machine can be made to do."""

from __future__ import annotations

import inspect
import re
from typing import Any

import pytest
from helpers.logs import SETTINGS, Line, log, run_line, sample_line, stage
from helpers.verdicts import VERDICTS

from prefetcher.verdict import causes
from prefetcher.verdict import judge as judge_module
from prefetcher.verdict.judge import Finding, judge

WAITING = stage(wait_in=98, gather=2, cpu=2)
FULL = {"process": {"cpu_pct": 195.0, "read_storage_bytes": 0, "read_requested_bytes": 10**6}}


def found(read: Line, batch: Line = WAITING, **keys: Any) -> Finding:
    finding = judge(log(read, batch, **keys)).main
    assert finding is not None
    return finding


def on_two_cpus(*, quota: float | None) -> Line:
    return run_line(cpus_allowed={"affinity": 4 if quota else 2, "quota": quota})


@pytest.mark.parametrize(
    ("stall", "level"),
    [(4.9, "fine"), (5.0, "moderate"), (20.0, "moderate"), (20.1, "input-bound")],
)
def test_the_thresholds(stall: float, level: str) -> None:
    assert found(stage(decode=99, cpu=98), stall=stall).level == level


def test_another_reader_is_advised_with_what_it_brings() -> None:
    """At 1000 samples/s and half the time waiting, training could take 2000."""
    finding = found(stage(decode=90, read=10, cpu=98))
    assert (finding.limit, finding.cause, finding.confidence) == ("read", "decoding", "high")
    assert finding.advice == "readers=1 -> 3: estimated +100 %"
    finding = found(stage(decode=90, read=10, cpu=98), stall=30.0)
    assert finding.advice == "readers=1 -> 2: estimated +45 %"


def test_advice_stays_within_the_cpus() -> None:
    two = run_line(cpus_allowed={"affinity": 2, "quota": None})
    assert found(stage(decode=100, cpu=98), run=two).advice == "readers=1 -> 2: estimated +90 %"
    finding = found(stage(decode=100, cpu=98), run=two, **FULL)
    assert (finding.cause, finding.level) == ("decoding", "input-bound")
    assert "faster filter" in (finding.advice or "")
    assert "`prefetcher inspect` tells whether its layout" in (finding.advice or "")


def test_advice_stays_within_what_the_other_stage_can_do() -> None:
    nearly_full = stage(wait_in=10, transform=90, cpu=85)
    assert found(stage(decode=100, cpu=98), nearly_full, stall=50.0).limit == "read"
    finding = found(stage(decode=100, cpu=98), nearly_full)
    assert finding.advice == "readers=1 -> 2: estimated +10 %"


def test_decoding_without_a_cpu_is_the_quota_or_the_cpus() -> None:
    read = stage(decode=99, cpu=40)
    assert found(read, run=on_two_cpus(quota=2.0), **FULL).cause == "CPU quota"
    assert found(read, run=on_two_cpus(quota=None), **FULL).cause == "CPU"


def test_a_machine_that_others_keep_busy() -> None:
    finding = found(stage(decode=99, cpu=40), machine={"cpu_pct": 98.0})
    assert (finding.cause, finding.confidence) == ("other work", "medium")


def test_threads_that_wake_late_on_free_cpus_wait_for_the_gil() -> None:
    late = {"cost_ms": 0.5, "late_ms": 6.2}
    busy_in_python = stage(wait_in=1, transform=99, cpu=50, workers=2)
    finding = found(stage(wait_in=0, read=20), busy_in_python, monitor=late)
    assert (finding.limit, finding.cause) == ("batch", "GIL")
    assert found(stage(decode=99, cpu=40), monitor=late).cause == "GIL"


BUSY_MACHINE = {"machine": {"cpu_pct": 99.0}}


def test_a_transform_that_sleeps_beside_other_work_is_the_limit_itself() -> None:
    """The CPUs are all busy, and yet it does not want one: more of it at once is what helps."""
    finding = found(WAITING, stage(transform=99, cpu=2, runqueue=15, slices=120), **BUSY_MACHINE)
    assert (finding.limit, finding.cause) == ("batch", "transform")
    assert (finding.advice or "").startswith("batchers=1 -> ")
    assert "waits for something itself" in finding.why
    full = {"run": on_two_cpus(quota=2.0), **FULL}
    finding = found(WAITING, stage(transform=99, cpu=2, runqueue=15, slices=120), **full)
    assert finding.cause == "transform"


@pytest.mark.parametrize("kind", ["transform", "gather"])
def test_work_that_waits_for_a_cpu_wants_one(kind: str) -> None:
    work: dict[str, Any] = {kind: 99.0}
    batch = stage(cpu=20, runqueue=75, slices=120, **work)
    finding = found(WAITING, batch, **BUSY_MACHINE)
    assert (finding.cause, finding.confidence) == ("other work", "high")
    assert finding.why.startswith("the batchers waited for a CPU in 76% of their work: the machine")
    assert found(WAITING, batch, run=on_two_cpus(quota=2.0), **FULL).cause == "CPU quota"
    assert found(WAITING, batch, run=on_two_cpus(quota=None), **FULL).cause == "CPU"


def test_cpus_of_ours_that_others_use_while_the_machine_has_free_ones() -> None:
    finding = found(WAITING, stage(transform=99, cpu=20, runqueue=75))
    assert (finding.cause, finding.confidence) == ("other work", "medium")
    assert "though the machine has free ones" in finding.why


@pytest.mark.parametrize("kind", ["read", "decode", "hdf5"])
def test_readers_that_wait_for_a_cpu_do_not_wait_for_the_disk(kind: str) -> None:
    """Bytes came from storage too; but who waits for storage sleeps."""
    process = {"cpu_pct": 20.0, "read_storage_bytes": 9 * 10**5, "read_requested_bytes": 10**6}
    keys = {"process": process, **BUSY_MACHINE}
    work: dict[str, Any] = {kind: 99.0}
    assert found(stage(cpu=20, runqueue=75, **work), **keys).cause == "other work"
    cause = found(stage(cpu=20, runqueue=5, **work), **keys).cause
    assert cause == ("unexplained" if kind == "decode" else "disk")


def test_a_monitor_that_was_late_for_want_of_a_cpu_says_nothing_of_the_gil() -> None:
    batch = stage(transform=99, cpu=2, runqueue=20, slices=400)
    late = {"cost_ms": 0.5, "late_ms": 9.0, "runqueue_ms": 8.5}
    assert found(WAITING, batch, monitor=late, **BUSY_MACHINE).cause == "transform"
    late["runqueue_ms"] = 2.0
    finding = found(WAITING, batch, monitor=late, **BUSY_MACHINE)
    assert finding.cause == "GIL"
    assert "7 ms late" in finding.why


def test_who_sleeps_longer_than_anybody_waits_for_the_gil_waits_for_something_else() -> None:
    """The GIL is asked for again every 5 ms: 20 times a second is 10 % of the time at most."""
    late = {"cost_ms": 0.5, "late_ms": 9.0, "runqueue_ms": 0.5}
    for slices, cause in ((20.0, "transform"), (200.0, "GIL")):
        batch = stage(transform=99, cpu=2, runqueue=1, slices=slices)
        assert found(WAITING, batch, monitor=late).cause == cause
    two = stage(transform=99, cpu=2, runqueue=1, slices=150.0, workers=2)
    assert found(WAITING, two, monitor=late).cause == "transform"


def test_storage_is_told_by_what_it_delivered() -> None:
    process = {"cpu_pct": 195.0, "read_storage_bytes": 9 * 10**5, "read_requested_bytes": 10**6}
    two = on_two_cpus(quota=None)
    finding = found(stage(read=99, cpu=20), run=two, process=process)
    assert (finding.cause, finding.confidence) == ("disk", "high")
    assert found(stage(hdf5=99, cpu=20), process=process).cause == "disk"
    assert found(stage(read=99, cpu=20), run=two, **FULL).cause == "CPU"


def test_the_page_cache_can_be_the_limit() -> None:
    finding = found(stage(read=99, cpu=95))
    assert finding.cause == "page cache"
    assert (finding.advice or "").startswith("readers=1 -> ")


def test_what_the_figures_do_not_say_is_unexplained() -> None:
    for read in (
        stage(decode=99, cpu=40),  # off the CPU, though CPUs are free and nobody is late
        stage(read=35, decode=35, gather=29, cpu=95),  # no kind is the most of it
        stage(wait_in=60, read=40, cpu=40),  # nobody is busy, and nobody waits for room
    ):
        finding = found(read, stage(wait_in=95, gather=5))
        assert (finding.cause, finding.advice) == ("unexplained", None)
        assert finding.confidence == "low"


def test_stages_that_wait_for_each_other_in_turn_need_room() -> None:
    finding = found(stage(read=50, cpu=50), stage(wait_in=50, transform=45, cpu=45))
    assert (finding.limit, finding.advice) == ("chunk queue", "chunk_queue=2 -> 3")
    finding = found(stage(wait_in=0, read=30, cpu=30), stage(wait_in=5, transform=45, cpu=45))
    assert (finding.limit, finding.advice) == ("batch queue", "batch_queue=16 -> 32")


def test_both_at_once_need_two_cpus_more() -> None:
    read, batch = stage(decode=96, cpu=90), stage(wait_in=3, transform=95, cpu=90)
    finding = found(read, batch)
    assert (finding.limit, finding.cause) == ("read and batch", "decoding and transform")
    assert finding.advice == "readers=1 -> 2 and batchers=1 -> 2"
    assert found(read, batch, run=on_two_cpus(quota=None), **FULL).advice is None


def test_the_start_is_no_stall() -> None:
    """Ten seconds, the first of which went to the first batch, and nothing waited after that."""
    lines = log(stage(decode=10, cpu=9), WAITING, stall=0.0)
    lines[1] |= {"stall_pct": 90.0}
    event: Line = {"v": 1, "kind": "event", "name": "first_batch", "data": {"after_s": 0.9}}
    finding = judge([*lines, event]).main
    assert finding is not None
    assert (finding.stall_pct, finding.level) == (0.0, "fine")
    no_batch_yet = sample_line(0.5, stage(read=99), WAITING, stall=100.0, position=None)
    event["data"] = {"after_s": 1.9}
    assert judge([lines[0], no_batch_yet, *lines[1:], event]).main == finding


def test_the_first_chunk_belongs_to_the_start_where_a_batch_came_before_it() -> None:
    lines = log(stage(decode=10, cpu=9), WAITING, stall=0.0)
    lines[1] |= {"stall_pct": 90.0}
    events: list[Line] = [
        {"v": 1, "kind": "event", "name": "first_batch", "data": {"after_s": 0.1}},
        {"v": 1, "kind": "event", "name": "first_chunk", "data": {"waited_s": 0.9}},
    ]
    finding = judge([*lines, *events]).main
    assert finding is not None
    assert (finding.stall_pct, finding.level) == (0.0, "fine")


def test_a_run_that_never_got_a_batch_is_bound() -> None:
    finding = found(stage(read=99, rate=0.0), stall=100.0, rate=0.0, position=None)
    assert (finding.level, finding.limit, finding.cause) == ("input-bound", "read", "disk")


def test_the_bound_of_tensorflow_is_said() -> None:
    lines = log(stage(decode=99, cpu=98), WAITING, run=run_line(wait_scope="upper_bound"))
    assert judge(lines).upper_bound
    assert "waited at most 50 % of the time" in judge(lines).headline
    assert "at most" not in judge(log(stage(decode=99, cpu=98), WAITING)).headline


def test_the_last_run_of_a_log_counts_with_all_its_parts() -> None:
    bound, fine = (log(stage(decode=99, cpu=98), WAITING, stall=stall)[1:] for stall in (60.0, 0.0))
    again = run_line(run_id="b"), run_line(run_id="b", part=2)
    finding = judge([run_line(), *bound, again[0], *fine, again[1], *fine]).main
    assert finding is not None
    assert (finding.level, finding.seconds) == ("fine", 20.0)


def test_a_run_shorter_than_the_interval_is_judged_by_its_summary() -> None:
    line = sample_line(0.4, stage(decode=99, cpu=98), WAITING)
    summary = {**line, "kind": "summary", "duration_s": 0.4, "monitor": {"cpu_s": 0.1}}
    del summary["dt_s"], summary["machine"], summary["gpu"]
    finding = judge([run_line(), summary]).main
    assert finding is not None
    assert (finding.cause, finding.confidence) == ("decoding", "low")


def test_an_empty_log_and_one_without_samples_are_no_error() -> None:
    for lines in ([], [run_line()]):
        assert judge(lines).main is None
        assert "Nothing was measured" in judge(lines).headline


def test_a_log_of_the_monitors_first_form_is_unexplained() -> None:
    old = stage(read=99)
    for key in ("samples_per_s", "cpu_pct", "work_pct"):
        del old[key]
    finding = found(old, monitor={"cost_ms": 0.5})
    assert (finding.limit, finding.cause) == ("read", "unexplained")


def test_a_setting_in_use_is_what_changes() -> None:
    run = run_line(settings=SETTINGS | {"batchers": 3}, cpus_allowed={"affinity": 16})
    finding = found(stage(read=10), stage(transform=99, cpu=95, workers=3), run=run, stall=20.0)
    assert (finding.advice or "").startswith("batchers=3 -> 5")


def test_a_balanced_pipeline_is_limited_by_both() -> None:
    """Both queues are empty or nearly so, as when one stage alone is too slow."""
    finding = found(stage(decode=96, cpu=95), stage(wait_in=5, transform=95, cpu=94))
    assert (finding.level, finding.limit) == ("input-bound", "read and batch")
    assert finding.cause == "decoding and transform"


@pytest.mark.parametrize("told", VERDICTS)
def test_the_logs_that_stand_for_all_verdicts_say_what_they_stand_for(
    told: tuple[str, str, str | None],
) -> None:
    main = judge(VERDICTS[told]).main
    assert main is not None
    assert (main.level, main.limit, main.cause) == told


def test_every_cause_and_every_limit_has_such_a_log() -> None:
    """The names are those in the sources, so that a new one is not forgotten."""
    sources = "".join(inspect.getsource(module) for module in (causes, judge_module))
    named = set(re.findall(r'Cause\(\s*"([^"]+)"', sources))
    named |= set(re.findall(r'"\w+": \("([^"]+)", "', sources))  # of what keeps a CPU busy
    named |= set(re.findall(r'return "([^"]+)", Cause\(', sources))
    reached = " and ".join(f"{limit} and {cause}" for _, limit, cause in VERDICTS)
    assert len(named) > 8
    assert {name for name in named if name not in reached} == set()
