"""When samples are due: on a grid, whatever a sample or a sleeping machine takes."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prefetcher.monitor.recorder import next_due


@given(
    due=st.floats(0, 1e6),
    late=st.floats(0, 1e5),
    interval=st.floats(0.01, 1e4),
)
def test_the_next_sample_is_the_first_of_the_grid_after_now(
    due: float, late: float, interval: float
) -> None:
    now = due + late
    following = next_due(due, now, interval)
    steps = (following - due) / interval
    assert steps == pytest.approx(round(steps), abs=1e-3)
    assert round(steps) >= 1
    assert now - 1e-6 <= following <= now + interval + 1e-6


def test_late_samples_do_not_drift_and_missed_ones_are_not_made_up_for() -> None:
    assert next_due(1.0, 1.25, 1.0) == 2.0
    assert next_due(1.0, 4.25, 1.0) == 5.0
