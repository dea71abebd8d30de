"""An error takes the place of what it belonged to, and nothing hangs."""

from __future__ import annotations

import threading
from typing import Any

import pytest
from conftest import MakeSamples
from helpers.streams import Failing, N, ids, planned, streaming
from helpers.waiting import Task, wait_for

from prefetcher.errors import ReadError, TransformError
from prefetcher.order.plan import Plan
from prefetcher.pipeline import stream as stream_module
from prefetcher.pipeline.workers import Line, Shared


@pytest.mark.parametrize("threads", [1, 3])
def test_a_read_error_takes_the_place_of_its_batches(
    samples: MakeSamples, monkeypatch: pytest.MonkeyPatch, threads: int
) -> None:
    monkeypatch.setattr(stream_module, "ShardedSource", Failing)
    with streaming(samples(N), shuffle=False, readers=threads, batchers=threads) as stream:
        Failing.row, Failing.times = 71, 1
        for ordinal in range(12):  # chunk 3 holds rows 60 to 79: batches 12 to 15
            assert ids(stream, ordinal) == [planned(stream, ordinal)]
        with pytest.raises(ReadError, match="broken at row 71"):
            ids(stream, 12)
        for ordinal in range(12, 41):  # asked again, it is read again
            assert ids(stream, ordinal) == [planned(stream, ordinal)]


@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize(("row", "broken"), [(3, 0), (17, 1)])
def test_in_the_first_chunk_an_error_takes_the_first_batch_only_if_that_needs_the_row(
    samples: MakeSamples, monkeypatch: pytest.MonkeyPatch, threads: int, row: int, broken: int
) -> None:
    monkeypatch.setattr(stream_module, "ShardedSource", Failing)
    with streaming(samples(N), shuffle=False, readers=threads, batchers=threads) as stream:
        Failing.row, Failing.times = row, 1
        for ordinal in range(broken):
            assert ids(stream, ordinal) == [planned(stream, ordinal)]
        with pytest.raises(ReadError, match=f"broken at row {row}"):
            Task(lambda: ids(stream, broken)).result()
        for ordinal in range(broken, 41):
            assert ids(stream, ordinal) == [planned(stream, ordinal)]


def test_the_first_batch_comes_though_its_chunk_failed_before_it_was_read(
    samples: MakeSamples, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A reader that is slow to begin with the leading part finds the chunk broken by another."""
    failed, fail, draw = threading.Event(), Shared.fail, Line.__next__

    def told(self: Shared, *what: Any) -> None:
        fail(self, *what)
        failed.set()

    def slow(line: Line[Any]) -> Any:
        item = draw(line)
        if isinstance(item, tuple) and item[0].leads(item[1]):
            wait_for(failed, "another reader has met the broken row")
        return item

    monkeypatch.setattr(Shared, "fail", told)
    monkeypatch.setattr(Line, "__next__", slow)
    monkeypatch.setattr(stream_module, "ShardedSource", Failing)
    with streaming(samples(N), shuffle=False, readers=6) as stream:
        Failing.row, Failing.times = 17, 1
        assert Task(lambda: ids(stream, 0)).result() == [planned(stream, 0)]
        with pytest.raises(ReadError):
            ids(stream, 1)


@pytest.mark.parametrize("threads", [1, 3])
def test_a_transform_error_takes_the_place_of_its_batch(samples: MakeSamples, threads: int) -> None:
    def fragile(x: Any, y: Any) -> Any:
        if 52 in x[:, 0]:
            raise ValueError("no such colour")
        return x, y

    with streaming(
        samples(N), shuffle=False, transform=fragile, readers=threads, batchers=threads
    ) as stream:
        ids(stream, *range(10))
        for _ in range(2):
            with pytest.raises(TransformError) as caught:
                ids(stream, 10)
        assert "ValueError: no such colour" in str(caught.value)
        assert "batch 10 of pass 0: rows 50, 51, 52, 53, ... of" in str(caught.value)
        assert ids(stream, 11) == [planned(stream, 11)]


def test_a_fault_of_our_own_is_raised_and_does_not_hang(
    samples: MakeSamples, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(self: Plan, number: int, lead: int | None) -> None:
        raise AssertionError("a bug")

    with streaming(samples(N), readers=2) as stream:
        monkeypatch.setattr(Plan, "chunk", broken)
        request = Task(lambda: ids(stream, 0))
        with pytest.raises(AssertionError, match="a bug"):
            request.result()
