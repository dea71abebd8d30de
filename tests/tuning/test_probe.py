"""Probes run the real pipeline, for a bounded time, and leave nothing behind."""

from __future__ import annotations

import threading
from typing import Any

import pytest
from conftest import MakeSamples
from helpers.leaks import pipeline_threads

from prefetcher.config import Settings, Workers
from prefetcher.errors import ReadError, TransformError
from prefetcher.feed import feed_of
from prefetcher.order.plan import Plan
from prefetcher.pipeline.stream import Feed
from prefetcher.tuning import probe as probe_module
from prefetcher.tuning.probe import Probe, StageProbe, capacities, probe, stall_pct, survey

INF = float("inf")


@pytest.fixture(autouse=True)
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probe_module, "PROBE_S", 0.05)
    monkeypatch.setattr(probe_module, "CHECK_S", 0.2)
    monkeypatch.setattr(probe_module, "_PAUSE_S", 0.01)


def feed(samples: MakeSamples, **settings: Any) -> Feed:
    return feed_of(Settings(samples(203), batch_size=4, chunk_size=16, block_size=4, **settings))


def test_a_probe_measures_both_stages_and_closes_everything(samples: MakeSamples) -> None:
    found = probe(feed(samples), Workers(2, 1))
    assert found.workers == (2, 1)
    assert found.samples_per_s > 0
    assert found.read.capacity >= found.samples_per_s
    assert found.batch.capacity >= found.samples_per_s
    assert found.chunk_s
    assert found.read.by_work["transform"] == INF
    assert not pipeline_threads()


def test_a_survey_has_every_number_of_readers_and_stops_at_enough_batchers(
    samples: MakeSamples,
) -> None:
    assert [found.workers for found in survey(feed(samples), 3, 1.0)] == [(1, 1), (2, 1), (3, 1)]
    found = [found.workers for found in survey(feed(samples), 2, INF)]
    assert found[:2] == [(1, 1), (2, 1)]
    assert [workers.batchers for workers in found[2:]] == [2]


def test_what_fails_is_raised_and_leaves_nothing(samples: MakeSamples) -> None:
    def broken(x: Any, y: Any) -> Any:
        raise ValueError("no such colour")

    with pytest.raises(TransformError, match="no such colour"):
        probe(feed(samples, transform=broken), Workers(1, 2))
    with pytest.raises(TransformError, match="no such colour"):
        stall_pct(feed(samples, transform=broken), 1000.0)
    assert not pipeline_threads()


def test_what_is_too_slow_to_be_measured_says_so(
    samples: MakeSamples, monkeypatch: pytest.MonkeyPatch
) -> None:
    leave = threading.Event()

    def stuck(x: Any, y: Any) -> Any:
        leave.wait(30)
        return x, y

    monkeypatch.setattr(probe_module, "_PATIENCE_S", 0.1)
    timer = threading.Timer(0.3, leave.set)
    timer.start()
    with pytest.raises(ReadError, match="try a smaller chunk_size"):
        probe(feed(samples, transform=stuck), Workers(1, 1))
    timer.join()


def test_who_takes_at_leisure_hardly_waits_and_who_hurries_waits(samples: MakeSamples) -> None:
    assert stall_pct(feed(samples), 40.0) < 50 < stall_pct(feed(samples), 1e9)


def found(workers: Workers, read: float, batch: float, *chunk_s: float) -> Probe:
    def stage(rate: float) -> StageProbe:
        return StageProbe(rate, {})

    return Probe(workers, 1.0, stage(read), stage(batch), chunk_s, None)


def test_capacities_are_by_number_of_threads() -> None:
    probes = [
        found(Workers(1, 1), 100, 900, 1.0),
        found(Workers(2, 1), 190, 800, 1.0, 3.0),
        found(Workers(2, 2), 150, 1500, 9.0, 9.0, 9.0),
    ]
    plan = Plan(range(400), batch_size=4, chunk_size=40, block_size=1)
    able = capacities(probes, plan)
    assert able.read == {1: 100, 2: 190}
    assert able.batch == {1: 800, 2: 1500}
    assert able.unevenness == (0.5, 1.5)
    assert capacities([found(Workers(1, 1), 100, 900)], plan).unevenness == (1.0,)
