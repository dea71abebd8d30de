"""The simulated accelerator's accounting, on a clock that only its own waits and fetches move."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from prefetcher.tuning.device import Device


class Time:
    """A clock that is moved by hand."""

    def __init__(self) -> None:
        self.now_s = 0.0

    def now(self) -> float:
        return self.now_s

    def wait(self, seconds: float) -> None:
        self.now_s += seconds


def slow(time: Time, *seconds: float) -> Iterator[int]:
    """Batches that take so long to come."""
    for number, each in enumerate(seconds):
        time.now_s += each
        yield number


@pytest.mark.parametrize(
    ("fetches", "stalled", "total"),
    [
        ([9, 0, 0, 0], 0, 6),  # the first batch is start-up
        ([0, 2, 2, 2], 0, 6),  # each comes while a step runs
        ([0, 3, 3, 3], 3, 9),  # each comes a second late
        ([0, 8, 0, 0], 6, 12),  # one is late, and what came meanwhile helps nobody
    ],
)
def test_only_time_beyond_the_running_step_is_a_stall(
    fetches: list[float], stalled: float, total: float
) -> None:
    time = Time()
    device = Device(2.0, time.now, time.wait)
    assert device.run(slow(time, *fetches)) == (stalled, total)
