"""How many threads there shall be: decided on invented figures, and carried out in a pipeline."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prefetcher.config import Workers
from prefetcher.pipeline.auto import GAIN_PCT, Adjuster, Climber, Pace
from prefetcher.pipeline.stats import QueueStats, StageStats, Stats, Work

ONE = Workers(1, 1)


def pace(rate: float = 100.0, stall: float = 50.0, read: float = 98.0, batch: float = 5.0) -> Pace:
    return Pace(rate, stall, read, batch)


def actions(climber: Climber, *paces: Pace) -> list[tuple[str, Workers]]:
    return [(made.action, made.workers) for given in paces for made in climber.passed(given)]


def test_a_gain_is_kept_and_climbed_on() -> None:
    climber = Climber(ONE, Workers(4, 4))
    assert actions(climber, pace(100), pace(190), pace(200, stall=0)) == [
        ("try", Workers(2, 1)),
        ("keep", Workers(2, 1)),
        ("try", Workers(3, 1)),
        ("keep", Workers(3, 1)),
        ("stay", Workers(3, 1)),
    ]


def test_what_gains_nothing_is_taken_back_and_not_tried_again() -> None:
    climber = Climber(ONE, Workers(4, 4))
    assert actions(climber, pace(100), pace(102), pace(101), pace(99)) == [
        ("try", Workers(2, 1)),
        ("undo", ONE),
        ("stay", ONE),
    ]
    assert climber.workers == ONE


@pytest.mark.parametrize(("gain", "kept"), [(2.9, False), (3.1, True), (-20, False)])
def test_three_percent_is_the_line(gain: float, kept: bool) -> None:
    climber = Climber(ONE, Workers(2, 1))
    actions(climber, pace(100), pace(100 + gain, stall=0))
    assert (climber.workers == (2, 1)) is kept


def test_a_training_that_does_not_wait_is_left_alone() -> None:
    climber = Climber(ONE, Workers(4, 4))
    assert actions(climber, *[pace(stall=4.9)] * 5) == [("stay", ONE)]


def test_no_more_than_there_may_be() -> None:
    climber = Climber(ONE, Workers(2, 4))
    made = actions(climber, pace(100), pace(200), pace(200), pace(200))
    assert made == [("try", Workers(2, 1)), ("keep", Workers(2, 1)), ("stay", Workers(2, 1))]


def test_a_fixed_stage_stays_as_it_is() -> None:
    climber = Climber(Workers(1, 3), Workers(8, 3))
    assert actions(climber, pace(read=20, batch=99)) == [("stay", Workers(1, 3))]


def test_two_stages_that_are_equally_busy_grow_together() -> None:
    climber = Climber(ONE, Workers(4, 4))
    assert actions(climber, pace(read=95, batch=90)) == [("try", Workers(2, 2))]
    only_one_may = Climber(ONE, Workers(1, 4))
    assert actions(only_one_may, pace(read=95, batch=90)) == [("try", Workers(1, 2))]


def test_where_no_stage_is_busy_a_thread_would_not_help() -> None:
    climber = Climber(ONE, Workers(4, 4))
    assert actions(climber, pace(read=60, batch=60)) == [("stay", ONE)]


def test_another_limit_is_climbed_too() -> None:
    climber = Climber(ONE, Workers(4, 4))
    transform_limits = pace(150, read=60, batch=99)
    assert actions(climber, pace(100), transform_limits, pace(200, stall=1)) == [
        ("try", Workers(2, 1)),
        ("keep", Workers(2, 1)),
        ("try", Workers(2, 2)),
        ("keep", Workers(2, 2)),
        ("stay", Workers(2, 2)),
    ]


percent = st.floats(0, 100)


@given(st.lists(st.builds(Pace, st.floats(1, 1e6), percent, percent, percent), max_size=40))
def test_whatever_is_measured_it_stays_within_bounds_and_tries_nothing_twice(
    paces: list[Pace],
) -> None:
    climber, tried = Climber(ONE, Workers(3, 2)), []
    for measured in paces:
        tried += [made.workers for made in climber.passed(measured) if made.action == "try"]
        assert climber.workers in {Workers(r, b) for r in (1, 2, 3) for b in (1, 2)}
    assert len(tried) == len(set(tried))


@given(st.lists(st.floats(100, 100 + 0.99 * GAIN_PCT), max_size=20))
def test_noise_below_the_line_adds_no_thread_for_good(rates: list[float]) -> None:
    climber = Climber(ONE, Workers(4, 4))
    assert "keep" not in [action for action, _ in actions(climber, *map(pace, rates))]


def stage(workers: int, had_s: float, busy_s: float) -> StageStats:
    work = Work(busy_s, 0.0, 0.0, 0.0, 0.0, 0.0)
    return StageStats(workers, had_s, 0, 0, had_s - busy_s, 0.0, busy_s, work)


def stats(seconds: float, samples: int, stall_s: float, read_busy_s: float) -> Stats:
    queue = QueueStats(2, 0, 0, 0.0, 0.0)
    return Stats(
        running_s=seconds, pass_number=0, position=0, batches=0, samples=samples, bytes=0,
        read_bytes=0, first_batch_s=None, stall_s=stall_s, replays=0, restarts=0,
        read=stage(2, 2 * seconds, read_busy_s), batch=stage(1, seconds, 0.0),
        chunk_queue=queue, batch_queue=queue, buffer_bytes=0, buffer_peak_bytes=0,
    )  # fmt: skip


class Heard(Climber):
    """Keeps what it was told."""

    def __init__(self) -> None:
        super().__init__(ONE, ONE)
        self.paces: list[Pace] = []

    def passed(self, pace: Pace) -> list[Any]:
        self.paces.append(pace)
        return []


@pytest.fixture
def heard() -> Heard:
    return Heard()


def test_a_pass_is_measured_from_its_first_batch_to_its_last(heard: Heard) -> None:
    adjuster = Adjuster(heard)
    adjuster.began(stats(0, 0, 0, 0))
    adjuster.ended(stats(10, 100, 9, 9))  # the first pass is not judged
    adjuster.began(stats(50, 101, 20, 10))  # a validation took 40 seconds
    adjuster.ended(stats(54, 501, 22, 17))
    assert heard.paces == [Pace(100.0, 50.0, 87.5, 0.0)]


def test_short_passes_are_judged_together(heard: Heard) -> None:
    adjuster = Adjuster(heard)
    adjuster.ended(stats(0, 0, 0, 0))
    for second in range(1, 5):
        adjuster.began(stats(second, 100 * second, 0, 0))
        adjuster.ended(stats(second + 0.5, 100 * second + 50, 0, 0))
    assert heard.paces == [Pace(100.0, 0.0, 0.0, 0.0)]


def test_a_pass_that_was_broken_off_is_not_judged(heard: Heard) -> None:
    adjuster = Adjuster(heard)
    adjuster.ended(stats(0, 0, 0, 0))
    adjuster.began(stats(0, 0, 0, 0))
    adjuster.restarted()
    adjuster.ended(stats(100, 100, 0, 0))
    assert heard.paces == []
