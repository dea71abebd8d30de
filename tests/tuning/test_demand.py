"""The training's own pace, out of logs that say what a test wants."""

from __future__ import annotations

import pytest
from helpers.logs import log, sample_line, stage

from prefetcher.errors import SettingsError
from prefetcher.tuning.demand import pace_of

READ, BATCH = stage(decode=99, cpu=98), stage(wait_in=98, gather=2)


def test_it_is_what_was_trained_in_the_time_that_was_not_waited() -> None:
    assert pace_of(log(READ, BATCH, stall=50, rate=1000), "a") == pytest.approx(2000)
    assert pace_of(log(READ, BATCH, stall=0, rate=1000), "a") == pytest.approx(1000)


def test_a_validation_between_the_epochs_is_left_out() -> None:
    lines = log(READ, BATCH, stall=0, rate=1000)
    lines += [sample_line(11.0 + i, READ, BATCH, stall=0, rate=0) for i in range(10)]
    assert pace_of(lines, "a") == pytest.approx(1000)


def test_later_passes_count_if_there_are_any() -> None:
    lines = log(READ, BATCH, stall=90, rate=10)
    lines += [
        sample_line(11.0 + i, READ, BATCH, stall=20, rate=800, **{"pass": 1}) for i in range(5)
    ]
    assert pace_of(lines, "a") == pytest.approx(1000)


@pytest.mark.parametrize("stall", [96, 100])
def test_a_training_that_hardly_ever_had_data_tells_nothing(stall: float) -> None:
    with pytest.raises(SettingsError, match=r"run\.jsonl does not tell .* or write --step-ms"):
        pace_of(log(READ, BATCH, stall=stall), "run.jsonl")


def test_neither_does_an_empty_log() -> None:
    with pytest.raises(SettingsError):
        pace_of([], "run.jsonl")
