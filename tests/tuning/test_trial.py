"""What is tried after what stalled."""

from __future__ import annotations

import pytest

from prefetcher.config import Workers
from prefetcher.tuning.choose import Choice, Setup
from prefetcher.tuning.trial import Trial, Tuned, settle, slowed


def sized(memory_bytes: int) -> Choice:
    return Choice(Setup(Workers(1, 1), 1, memory_bytes), memory_bytes, 1000.0, None, ())


@pytest.mark.parametrize(
    ("stalls", "tried"),
    [
        ({10: 0.5}, [10]),
        ({10: 2.0, 20: 0.9}, [10, 20]),
        ({10: 2.0, 20: 1.5, 30: 9.0, 40: 0.0}, [30, 10, 20]),  # three tries, the best of them last
        ({10: 2.0}, [10]),  # nothing larger fits
    ],
)
def test_something_larger_until_training_hardly_waits(
    stalls: dict[int, float], tried: list[int]
) -> None:
    def larger(above: int) -> Choice:
        return sized(min((size for size in stalls if size > above), default=min(stalls)))

    trials = settle(larger, lambda choice: Trial(choice, 10.0, stalls[choice.memory_bytes]))
    assert [trial.choice.memory_bytes for trial in trials] == tried


@pytest.mark.parametrize(
    ("stalls", "pace", "tried"),
    [
        ({100: 0.9}, 100, [100]),
        ({100: 20.0, 80: 0.5}, 80, [100, 80]),
        ({100: 20.0, 80: 9.0, 60: 1.0, 40: 0.9}, 40, [100, 80, 60, 40]),
        ({100: 20.0, 80: 9.0, 60: 8.0, 40: 7.0, 20: 6.0}, None, [100, 80, 60, 40, 20]),
    ],
)
def test_what_stalls_is_tried_at_slower_paces(
    stalls: dict[int, float], pace: float | None, tried: list[int]
) -> None:
    asked: list[float] = []

    def at(pace: float) -> Trial:
        asked.append(round(pace))
        return Trial(sized(1), pace, stalls[round(pace)])

    first = at(100)
    found = Tuned([first], slowed(first, at))
    assert found.unstalled == (None if pace is None else pytest.approx(pace))
    assert asked == tried
