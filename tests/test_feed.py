"""From settings and file to a feed: how far threads that find their own number may go."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from conftest import MakeSamples

from prefetcher import feed as feed_module
from prefetcher.config import Settings
from prefetcher.feed import feed_of

MUCH = 1 << 40


def auto(file: Path, monkeypatch: pytest.MonkeyPatch, cpus: int, memory: int = MUCH) -> Any:
    monkeypatch.setattr(feed_module, "cpus_allowed", lambda: cpus)
    monkeypatch.setattr(feed_module, "memory_allowed", lambda: memory)
    return feed_of(Settings(file, readers="auto", batchers=3))


@pytest.mark.parametrize(("cpus", "most"), [(1, 1), (3, 3), (64, 8)])
def test_the_cpus_allowed_bound_it(
    samples: MakeSamples, monkeypatch: pytest.MonkeyPatch, cpus: int, most: int
) -> None:
    assert auto(samples(90), monkeypatch, cpus).most_workers == (most, 3)


def test_memory_bounds_it_and_is_promised_for_the_most(
    samples: MakeSamples, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = samples(90, "gzip")
    free = auto(file, monkeypatch, cpus=8)
    three = replace(free, auto_most=3).memory_bytes
    assert three < free.memory_bytes
    bound = auto(file, monkeypatch, cpus=8, memory=three)
    assert (bound.most_workers.readers, bound.memory_bytes) == (3, three)
    assert auto(file, monkeypatch, cpus=8, memory=1).most_workers.readers == 1
