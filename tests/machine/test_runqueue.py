"""A thread's waits for a CPU: counted where Linux counts them, and a reason elsewhere."""

from __future__ import annotations

import sys
import threading
from pathlib import Path
from time import monotonic

import pytest
from helpers.load import LINUX, one_busy_cpu
from helpers.waiting import LIMIT_S, Task, wait_for

from prefetcher.machine import runqueue
from prefetcher.machine.runqueue import RunQueue, check_counted

pytestmark = pytest.mark.skipif(not LINUX, reason="only Linux counts it")


def test_a_thread_that_wants_a_cpu_that_others_have_waits() -> None:
    def spin() -> tuple[float, int]:
        queue, limit = RunQueue(), monotonic() + LIMIT_S
        before = queue.read()
        while queue.read()[0] - before[0] < 0.1:
            assert monotonic() < limit, "it never waited for a CPU"
        after = queue.read()
        queue.close()
        return after[0] - before[0], after[1] - before[1]

    with one_busy_cpu():
        waited_s, timeslices = Task(spin).result()
    assert waited_s >= 0.1
    assert timeslices >= 2


def test_a_thread_that_sleeps_does_not_wait_for_a_cpu() -> None:
    """It is woken once, and what it did before counts little beside its sleep."""
    awake, asleep = threading.Event(), threading.Event()

    def sleep() -> int:
        queue = RunQueue()
        before = queue.read()
        asleep.set()
        wait_for(awake, "the test wakes it")
        after = queue.read()
        queue.close()
        return after[1] - before[1]

    task = Task(sleep)
    wait_for(asleep, "it goes to sleep")
    awake.set()
    assert task.result() < 100


@pytest.mark.parametrize(
    ("content", "reason"),
    [(None, "No such file"), ("0 0 0\n", "does not count"), ("", "does not count")],
)
def test_where_it_is_not_counted_the_reason_is_told(
    content: str | None, reason: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "schedstat"
    if content is not None:
        path.write_text(content)
    monkeypatch.setattr(runqueue, "_FILE", str(path))
    before = list(Path("/proc/self/fd").iterdir())
    with pytest.raises(OSError, match=reason):
        check_counted()
    assert len(list(Path("/proc/self/fd").iterdir())) == len(before), "a descriptor stayed open"


def test_other_systems_are_told_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "darwin")
    with pytest.raises(OSError, match="only Linux"):
        check_counted()
