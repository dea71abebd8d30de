"""Scale on paper: the simulation against what can be worked out by hand, and plans of few ranks."""

from __future__ import annotations

from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bench import scale
from bench.part import Options
from prefetcher.order.plan import Plan


def plan(count: int = 4, samples: int = 100_000, align: int = 8) -> Plan:
    return replace(scale.plan_of(samples, count, align), block_size=align)


@pytest.mark.parametrize(
    ("load", "slower", "pace"),
    [(0.5, 1.0, 1.0), (0.5, 1.1, 1.0), (1.0, 1.1, 1 / 1.1), (2.0, 1.0, 0.5), (2.0, 1.1, 1 / 2.2)],
)
def test_a_steady_group_goes_at_the_pace_of_its_slowest(
    load: float, slower: float, pace: float
) -> None:
    found = scale.simulated(scale.loading(3, load, 0.0, slower))
    assert found["pace"] == pytest.approx(pace)
    assert found["stall"][0] == pytest.approx(1 - pace)
    assert found["stall"][1] == pytest.approx(0.0 if slower > 1 else 1 - pace)


def test_who_is_late_once_is_made_up_for_by_what_is_in_memory() -> None:
    """One chunk that takes two turns of training is covered by one that is read ahead."""
    times = np.full((2, 60), 0.4)
    times[1, 40] = 1.3
    assert scale.simulated(times, 3)["pace"] == 1.0
    assert scale.simulated(times, 2)["pace"] < 1.0


def test_jitter_costs_more_the_more_ranks_wait_for_each_other() -> None:
    paces = [scale.uneven(ranks)["0.3, 2"] for ranks in (1, 8, 64)]
    assert paces == sorted(paces, reverse=True)
    assert paces[2] < 0.9
    assert np.mean(scale.loading(64, 0.8, 0.3)) == pytest.approx(0.8, rel=0.01)
    assert np.std(scale.loading(64, 0.8, 0.3)) == pytest.approx(0.24, rel=0.03)


def test_ranks_together_hold_the_batches_of_one_process() -> None:
    whole = plan()
    found = scale.equal(whole, 2)
    assert found["same"]
    assert found["batches"] == 282  # the last chunk has 82, and two others 100 each
    assert not scale.equal(Other(**fields_of(whole)), 1)["same"]


def fields_of(plan: Plan) -> dict[str, Any]:
    return {field.name: getattr(plan, field.name) for field in fields(plan)}


class Other(Plan):
    """A plan whose ranks have an order of their own."""

    def chunk(self, number: int, lead: int | None = None) -> Any:
        """Another pass for all but a process that is alone."""
        return super().chunk(number + self.num_chunks * self.shard.index, lead)


def test_what_ranks_read_is_counted_in_whole_storage_chunks() -> None:
    even, cut = scale.read(plan(align=8), 1), scale.read(plan(align=130), 1)
    assert (even["amplification"], even["most"]) == (1.0, 1.0)
    assert even["read_bytes"] == pytest.approx(100_000 / 4 * scale.ROW_BYTES)
    assert cut["amplification"] > 1.0
    assert even["samples_uneven"] == 0
    assert scale.own_samples(plan(samples=100_002)).tolist() == [25_000, 25_001, 25_000, 25_001]


def test_the_page_tells_all_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scale, "RANKS", 4)
    monkeypatch.setattr(scale, "COUNTS", (1, 4))
    monkeypatch.setattr(scale, "SAMPLES", 100_000)
    result = scale.measure(Options(Path(), quick=True))
    assert not result.wrong_rows
    text = scale.PART.tables(result.data)
    for words in ("batch_size=128", "are those of one process", "| 1.10 |", "chunk_queue=4"):
        assert words in text
