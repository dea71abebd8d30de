"""What a thread's time goes to, in a time that the tests make."""

from __future__ import annotations

from contextlib import suppress

import pytest
from helpers.waiting import Task

from prefetcher import clock as clock_module
from prefetcher.clock import WORK, Clock, State, doing


class Time:
    """A wall clock and a thread's CPU clock that go only when told to."""

    def __init__(self) -> None:
        self.now = self.cpu = 100.0

    def goes(self, seconds: float, cpu: float = 0.0) -> None:
        self.now += seconds
        self.cpu += cpu


class Queue:
    """What Linux counts for a thread; it goes on only when told to."""

    counted = True
    waited_s, timeslices = 50.0, 7

    def __init__(self) -> None:
        if not self.counted:
            raise OSError
        self.closed = False

    def read(self) -> tuple[float, int]:
        assert not self.closed
        return Queue.waited_s, Queue.timeslices

    def close(self) -> None:
        assert not self.closed
        self.closed = True


@pytest.fixture(autouse=True)
def queue(monkeypatch: pytest.MonkeyPatch) -> type[Queue]:
    monkeypatch.setattr(clock_module, "RunQueue", Queue)
    monkeypatch.setattr(Queue, "waited_s", 50.0)
    monkeypatch.setattr(Queue, "timeslices", 7)
    return Queue


@pytest.fixture
def time(monkeypatch: pytest.MonkeyPatch) -> Time:
    time = Time()
    monkeypatch.setattr(clock_module, "perf_counter", lambda: time.now)
    monkeypatch.setattr(clock_module, "thread_time", lambda: time.cpu)
    return time


def test_every_moment_is_in_one_state(time: Time) -> None:
    clock = Clock()
    time.goes(1)  # not running yet
    for seconds, state in enumerate(State, start=1):
        clock.switch(state)
        time.goes(seconds)
    clock.switch(None)
    time.goes(50)
    assert [clock.seconds(state) for state in State] == [1, 2, 3, 4, 5, 6, 7, 8]
    assert clock.seconds(*WORK) == 2 + 3 + 4 + 5 + 6 + 7


def test_the_stretch_that_goes_on_counts(time: Time) -> None:
    clock = Clock()
    clock.switch(State.READ)
    time.goes(3)
    assert clock.seconds(State.READ, State.DECODE) == 3
    assert clock.seconds(State.DECODE) == 0


def test_code_that_knows_no_pipeline_says_what_it_does(time: Time) -> None:
    def worker() -> Clock:
        clock = Clock()
        clock.begin()
        clock.switch(State.GATHER)
        with doing(State.DECODE):
            time.goes(2)
            with doing(State.READ):
                time.goes(3)
            time.goes(1)
        time.goes(4)
        return clock

    clock = Task(worker).result()
    assert [clock.seconds(state) for state in (State.DECODE, State.READ, State.GATHER)] == [3, 3, 4]


def test_an_error_ends_what_was_done(time: Time) -> None:
    def worker() -> Clock:
        clock = Clock()
        clock.begin()
        clock.switch(State.GATHER)
        with suppress(OSError), doing(State.READ):
            time.goes(2)
            raise OSError
        time.goes(1)
        return clock

    clock = Task(worker).result()
    assert (clock.seconds(State.READ), clock.seconds(State.GATHER)) == (2, 1)


def test_a_thread_without_a_clock_is_left_alone(time: Time) -> None:
    def somebody() -> str:
        with doing(State.READ):
            return "done"

    assert Task(somebody).result() == "done"


def test_cpu_time_is_that_of_the_workers_threads_one_after_the_other(time: Time) -> None:
    clock = Clock()

    def worker() -> None:
        clock.begin()
        clock.switch(State.READ)
        time.goes(1, cpu=0.25)
        clock.switch(State.WAIT_OUT)

    for _ in range(2):
        Task(worker).result()
        time.goes(1, cpu=7)  # somebody else's
    assert clock.cpu_s == 0.5


def test_cpu_time_is_looked_at_now_and_then(time: Time) -> None:
    def worker() -> list[float]:
        clock = Clock()
        clock.begin()
        clock.switch(State.READ)
        booked = []
        for _ in range(3):
            time.goes(0.004, cpu=0.004)
            clock.switch(State.READ)
            booked.append(clock.cpu_s)
        return booked

    assert Task(worker).result() == pytest.approx([0, 0, 0.012])


def test_waits_for_a_cpu_are_those_of_the_workers_threads(time: Time, queue: type[Queue]) -> None:
    clock = Clock()

    def worker() -> None:
        clock.begin()
        clock.switch(State.READ)
        queue.waited_s += 3
        queue.timeslices += 2
        time.goes(5, cpu=1)
        clock.switch(State.WAIT_OUT)

    for _ in range(2):
        Task(worker).result()
        queue.waited_s += 100  # another thread's
    assert (clock.runqueue_s, clock.timeslices, clock.sees_runqueue) == (6, 4, True)


def test_the_end_books_what_was_done_since_the_last_look(time: Time, queue: type[Queue]) -> None:
    def worker() -> Clock:
        clock = Clock()
        clock.begin()
        clock.switch(State.READ)
        time.goes(0.02, cpu=0.02)
        clock.switch(State.DECODE)
        queue.waited_s += 0.001
        time.goes(0.004, cpu=0.003)
        clock.end()
        clock.end()
        with doing(State.READ):  # a thread that works no more
            time.goes(9, cpu=9)
        return clock

    clock = Task(worker).result()
    assert clock.cpu_s == pytest.approx(0.023)
    assert clock.runqueue_s == pytest.approx(0.001)
    assert clock.seconds(*State) == pytest.approx(0.024)


def test_where_waits_for_a_cpu_are_not_counted_the_rest_goes_on(
    time: Time, queue: type[Queue], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(queue, "counted", False)

    def worker() -> Clock:
        clock = Clock()
        clock.begin()
        clock.switch(State.READ)
        time.goes(1, cpu=0.5)
        clock.end()
        return clock

    clock = Task(worker).result()
    assert (clock.cpu_s, clock.sees_runqueue) == (0.5, False)
