"""What is tried after what stalled."""

from __future__ import annotations

import pytest

from prefetcher.config import Workers
from prefetcher.tuning.choose import Choice, Setup
from prefetcher.tuning.trial import settle


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

    trials = settle(larger, lambda choice: stalls[choice.memory_bytes])
    assert [trial.choice.memory_bytes for trial in trials] == tried
