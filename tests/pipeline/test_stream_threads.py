"""Threads that come and go in mid-run, and whose every second is accounted for."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
import pytest
from conftest import MakeSamples
from helpers.leaks import pipeline_threads
from helpers.streams import AUTO_MOST, N, ids, planned, streaming
from helpers.waiting import join

from prefetcher.config import Workers
from prefetcher.pipeline import stream as stream_module
from prefetcher.pipeline.auto import Climber, Decision, Pace


def test_every_second_of_a_worker_is_accounted_for(samples: MakeSamples) -> None:
    with streaming(samples(N), readers=2) as stream:
        ids(stream, *range(100))
        read = stream.stats().read
    total = read.busy_s + read.wait_in_s + read.wait_out_s
    assert read.workers == 2
    assert 0 < total <= 2 * stream.stats().running_s
    assert stream.stats().stall_s > 0
    assert stream.stats().first_batch_s is not None


class Restless(Climber):
    """Decides for other numbers of threads after every pass."""

    turns = ((3, 2), (1, 4), (4, 1), (1, 1))

    def passed(self, pace: Pace) -> list[Decision]:
        del pace
        at = Restless.turns.index(self.workers) if self.workers in Restless.turns else -1
        self.workers = Workers(*Restless.turns[(at + 1) % len(Restless.turns)])
        return [Decision("try", self.workers, "for a change")]


@pytest.fixture
def restless(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stream_module, "Climber", Restless)
    monkeypatch.setattr("prefetcher.pipeline.auto._SHORTEST_S", 0.0)


def test_threads_come_and_go_and_the_order_stays(samples: MakeSamples, restless: None) -> None:
    seen = set()
    with streaming(samples(N), readers="auto", batchers="auto") as stream:
        for ordinal in range(12 * 41 + 3):
            assert ids(stream, ordinal) == [planned(stream, ordinal)]
            stats = stream.stats()
            seen.add((stats.read.workers, stats.batch.workers))
        assert (stats.replays, stats.restarts) == (0, 0)
        assert len(stream._counters.readers.clocks) == AUTO_MOST
    assert seen == {(1, 1), *Restless.turns}


def test_a_thread_that_is_sent_away_leaves(samples: MakeSamples, restless: None) -> None:
    with streaming(samples(N), readers="auto") as stream:
        ids(stream, *range(2 * 41 + 1))
        assert stream.stats().read.workers == 3
        ids(stream, *range(2 * 41 + 1, 3 * 41))  # the last batch of a pass
        assert stream.stats().read.workers == 1
        for thread in pipeline_threads():
            if thread.name in ("prefetch-reader-1", "prefetch-reader-2"):
                ids(stream, *range(3 * 41, 4 * 41 - 1))
                join(thread)
        assert [t.name for t in pipeline_threads() if "reader" in t.name] == ["prefetch-reader-0"]


def test_no_second_is_lost_when_threads_come_and_go(samples: MakeSamples, restless: None) -> None:
    with streaming(samples(N), readers="auto", batchers="auto") as stream:
        ids(stream, *range(20 * 41))
        for stage in (stream.stats().read, stream.stats().batch):
            booked = stage.busy_s + stage.wait_in_s + stage.wait_out_s
            assert 0.5 * stage.had_s < booked < 1.5 * stage.had_s


def test_memory_is_promised_for_the_most_threads(tmp_path: Path, restless: None) -> None:
    path = tmp_path / "large.h5"
    with h5py.File(path, "w") as file:
        file["x"] = np.repeat(np.arange(N, dtype=np.float32)[:, None], 2048, axis=1)
        file["y"] = np.arange(N, dtype=np.float32)
    with (
        streaming(path, batchers="auto", batch_queue=2) as stream,
        streaming(path, batchers=AUTO_MOST, batch_queue=2) as fixed,
    ):
        assert stream._feed.memory_bytes == fixed._feed.memory_bytes
        ids(stream, *range(6 * 41))
        assert 0 < stream.stats().buffer_peak_bytes <= stream._feed.memory_bytes
