"""The fits that a training is made of: together they train what was left, and no more."""

from __future__ import annotations

import pytest

from prefetcher.resume.schedule import Fit, next_fit

N = 10


@pytest.mark.parametrize(
    ("begin", "steps", "expected"),
    [
        ((0, 0, N), None, Fit(0, 7, None)),
        ((2, 3, N - 3), None, Fit(2, 3, None)),
        ((7, 0, N), None, None),
        ((2, 0, 4), None, Fit(2, 3, None)),
        ((1, 2, 3), 5, Fit(1, 2, 3)),
        ((1, 0, 5), 5, Fit(1, 2, 5)),
        ((1, 0, 8), 2, Fit(1, 5, 2)),
        ((5, 0, 8), 2, Fit(5, 7, 2)),
        ((3, 0, N), 5, Fit(3, 7, 5)),
    ],
)
def test_the_next_fit(begin: tuple[int, int, int], steps: int | None, expected: Fit | None) -> None:
    assert next_fit(*begin, epochs=7, num_batches=N, steps_per_epoch=steps) == expected


def test_epochs_are_rounded_up_to_whole_executions() -> None:
    fit = next_fit(0, 0, 8, epochs=9, num_batches=N, steps_per_epoch=3, steps_per_execution=4)
    assert fit == Fit(0, 2, 3)
