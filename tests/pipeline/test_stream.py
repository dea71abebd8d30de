"""Any batch on request: what comes from the pipeline, what is read again, and how it ends."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import pytest
from conftest import MakeSamples
from helpers.files import ids_of
from helpers.leaks import join_pipeline_threads, pipeline_threads
from helpers.streams import BATCH, N, ids, planned, streaming
from helpers.waiting import Task, wait_for

from prefetcher.errors import ClosedError


@pytest.mark.parametrize("shuffle", [True, False])
def test_in_order_nothing_is_read_twice_and_passes_follow_each_other(
    samples: MakeSamples, shuffle: bool
) -> None:
    with streaming(samples(N), shuffle=shuffle, readers=2, batchers=2) as stream:
        for ordinal in range(100):
            assert ids(stream, ordinal) == [planned(stream, ordinal)]
        stats = stream.stats()
    assert (stats.replays, stats.restarts) == (0, 0)
    assert (stats.pass_number, stats.position) == (2, 99 - 82)
    assert stats.batches == 100
    assert stats.samples == 2 * N + 18 * BATCH
    assert stats.bytes == stats.samples * (16 + 4)


def test_a_place_that_was_passed_is_read_again_without_moving_the_pipeline(
    samples: MakeSamples,
) -> None:
    with streaming(samples(N)) as stream:
        for ordinal in (0, 1, 0, 1, 2, 3, 2, 4):
            assert ids(stream, ordinal) == [planned(stream, ordinal)]
        stats = stream.stats()
    assert (stats.replays, stats.restarts) == (3, 0)


def test_asking_in_order_from_another_place_moves_the_pipeline_there(
    samples: MakeSamples,
) -> None:
    with streaming(samples(N), batch_queue=4) as stream:
        for ordinal in (0, 30, 31, 32, 33, 5, 6, 7):
            assert ids(stream, ordinal) == [planned(stream, ordinal)]
        stats = stream.stats()
    assert (stats.replays, stats.restarts) == (2, 2)


def test_a_small_step_ahead_passes_over_what_lies_between(samples: MakeSamples) -> None:
    with streaming(samples(N), batch_queue=4) as stream:
        for ordinal in (0, 3, 4, 2, 5):
            assert ids(stream, ordinal) == [planned(stream, ordinal)]
        stats = stream.stats()
    assert (stats.replays, stats.restarts) == (1, 0)


def test_nothing_starts_before_the_first_request(samples: MakeSamples) -> None:
    with streaming(samples(N), readers=2, batchers=3) as stream:
        assert pipeline_threads() == []
        ids(stream, 0)
        names = sorted(thread.name for thread in pipeline_threads())
        assert all(thread.daemon for thread in pipeline_threads())
    assert names == [
        *(f"prefetch-batcher-{i}" for i in range(3)),
        "prefetch-reader-0",
        "prefetch-reader-1",
    ]
    assert pipeline_threads() == []


def test_idle_threads_end_by_themselves_and_come_back(samples: MakeSamples) -> None:
    with streaming(samples(N), idle=0.05, readers=2, batchers=2) as stream:
        ids(stream, 0, 1)
        join_pipeline_threads()
        assert stream.stats().buffer_bytes < stream._feed.memory_bytes / 2
        for ordinal in (2, 3, 4):
            assert ids(stream, ordinal) == [planned(stream, ordinal)]
        assert stream.stats().restarts >= 1


def test_closing_ends_a_request_that_waits(samples: MakeSamples) -> None:
    entered, leave = threading.Event(), threading.Event()

    def slow(x: Any, y: Any) -> Any:
        entered.set()
        leave.wait(30)
        return x, y

    with streaming(samples(N), transform=slow) as stream:
        request = Task(lambda: ids(stream, 0))
        wait_for(entered, "the transform runs")
        closing = Task(stream.close)
        with pytest.raises(ClosedError, match="make a new PrefetchSequence"):
            request.result()
        leave.set()
        closing.result()
        stream.close()
        with pytest.raises(ClosedError):
            stream.check()


def test_no_lock_is_held_while_the_users_code_runs(samples: MakeSamples) -> None:
    entered, leave = threading.Event(), threading.Event()

    def held_up(x: Any, y: Any) -> Any:
        if 0 in x[:, 0]:
            entered.set()
            leave.wait(30)
        return x, y

    with streaming(samples(N), shuffle=False, transform=held_up, batchers=2) as stream:
        request = Task(lambda: ids(stream, 0))
        wait_for(entered, "the first batch is in the transform")
        assert stream.stats().batches == 0
        engine = stream._engine
        assert engine is not None
        assert ids_of(Task(lambda: engine.get(1)).result()[0]) == planned(stream, 1)
        leave.set()
        assert request.result() == [planned(stream, 0)]


def test_a_finalizer_ends_the_threads_without_waiting(samples: MakeSamples) -> None:
    entered, leave = threading.Event(), threading.Event()

    def slow(x: Any, y: Any) -> Any:
        entered.set()
        leave.wait(30)
        return x, y

    abandon: Callable[[], None]
    with streaming(samples(N), transform=slow) as stream:
        request = Task(lambda: ids(stream, 0))
        wait_for(entered, "the transform runs")
        abandon = stream.abandon
        abandon()  # returns although a thread is inside the transform
        assert pipeline_threads()
        leave.set()
        with pytest.raises(ClosedError):
            request.result()
        join_pipeline_threads()
