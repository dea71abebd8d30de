"""Any batch on request: what comes from the pipeline, what is read again, and how it ends."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, ClassVar

import h5py
import numpy as np
import pytest
from conftest import MakeSamples
from helpers.files import ids_of
from helpers.leaks import join_pipeline_threads, pipeline_threads
from helpers.waiting import Task, join, wait_for

from prefetcher.batch import Made, Recipe
from prefetcher.columns.column import Column, Span, View
from prefetcher.config import Settings, Workers
from prefetcher.errors import ClosedError, ReadError, TransformError
from prefetcher.hdf5.places import Wanted
from prefetcher.hdf5.sharded import ShardedSource
from prefetcher.hdf5.shards import describe_all
from prefetcher.needs import needs_of
from prefetcher.order.chunk import Part
from prefetcher.order.plan import Plan
from prefetcher.order.runs import Run
from prefetcher.pipeline import buffers
from prefetcher.pipeline import stream as stream_module
from prefetcher.pipeline.auto import Climber, Decision, Pace
from prefetcher.pipeline.chunk import Chunk, Done
from prefetcher.pipeline.lane import RowSource
from prefetcher.pipeline.stream import Feed, Stream
from prefetcher.pipeline.workers import Line, Shared

N, BATCH, CHUNK = 203, 5, 20
AUTO_MOST = 4


@contextmanager
def streaming(path: Path, *, idle: float = 60.0, **settings: Any) -> Iterator[Stream]:
    asked = Settings(path, batch_size=BATCH, chunk_size=CHUNK, **settings)
    shards = describe_all(path)
    views = {name: View(name, Span()) for name in ("x", "y")}
    made: dict[str | Column, Made] = {name: (view, np.asarray) for name, view in views.items()}
    recipe = Recipe(("x", "y"), made, asked.transform, asked.seed)
    plan = Plan(range(N), BATCH, CHUNK, 3, asked.seed, asked.shuffle)
    needs, _ = needs_of(shards, views.values())
    feed = Feed(asked, shards, plan, recipe, needs, idle=idle, auto_most=AUTO_MOST)
    stream = Stream(feed, None, {})
    try:
        yield stream
    finally:
        stream.close()


def ids(stream: Stream, *ordinals: int) -> list[list[int]]:
    places = [stream._feed.plan.place(ordinal) for ordinal in ordinals]
    return [ids_of(stream.get(place)[0]) for place in places]


def planned(stream: Stream, ordinal: int) -> list[int]:
    plan = stream._feed.plan
    number, index = plan.chunk_of(ordinal)
    chunk = plan.chunk(number)
    return [int(i) for i in chunk.rows[chunk.order[index * BATCH : (index + 1) * BATCH]]]


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


@contextmanager
def only(needed: set[int], monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Until the block ends, readers wait before they read a part without any of these rows."""
    gate, read = threading.Event(), Chunk.read

    def gated(self: Chunk, part: Part, source: RowSource) -> Done:
        if needed.isdisjoint(self.plan.rows[part.start : part.stop].tolist()):
            wait_for(gate, "the gate to open")
        return read(self, part, source)

    with monkeypatch.context() as patch:
        patch.setattr(Chunk, "read", gated)
        try:
            yield
        finally:
            gate.set()


@pytest.mark.parametrize("storage", ["contiguous", "gzip"])
@pytest.mark.parametrize("shuffle", [True, False])
@pytest.mark.parametrize("first", [0, 2, 3, 40, 41])
@pytest.mark.parametrize("workers", [1, 3])
def test_the_first_batch_does_not_wait_for_what_it_does_not_need(
    samples: MakeSamples,
    monkeypatch: pytest.MonkeyPatch,
    storage: str,
    shuffle: bool,
    first: int,
    workers: int,
) -> None:
    path, settings = samples(N, storage), {"readers": workers, "batchers": workers}
    with streaming(path, shuffle=shuffle, **settings) as stream:
        with only(set(planned(stream, first)), monkeypatch):
            assert Task(lambda: ids(stream, first)).result() == [planned(stream, first)]
        for ordinal in range(first + 1, first + 60):
            assert ids(stream, ordinal) == [planned(stream, ordinal)]
        stats = stream.stats()
    assert (stats.replays, stats.restarts) == (0, 0)
    assert stats.batch.samples >= stats.samples
    assert stats.read_bytes >= stats.bytes


class Noting(ShardedSource):
    """A source that notes what is read of it."""

    reads: ClassVar[list[tuple[str, Run]]] = []

    def read_all(self, wanted: Sequence[Wanted]) -> None:
        Noting.reads.extend((name, run) for name, runs, _ in wanted for run in runs)
        super().read_all(wanted)


def test_nothing_is_read_twice_for_the_first_batch(
    samples: MakeSamples, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stream_module, "ShardedSource", Noting)
    Noting.reads = []
    with streaming(samples(N)) as stream:
        ids(stream, 0, 1, 2, 3)  # a chunk
    rows = Counter(row for name, run in Noting.reads if name == "x" for row in range(*run))
    assert len(rows) >= CHUNK
    assert set(rows.values()) == {1}


class Failing:
    """A source that breaks at one row, as often as it is told to."""

    row = -1
    times = 0

    def __init__(self, *args: Any, **keywords: Any) -> None:
        self._source = ShardedSource(*args, **keywords)

    def expect(self, name: str, runs: Sequence[Run]) -> None:
        self._source.expect(name, runs)

    def read_all(self, wanted: Sequence[Wanted]) -> None:
        runs = [run for each in wanted for run in each.runs]
        if any(start <= Failing.row < stop for start, stop in runs) and Failing.times > 0:
            Failing.times -= 1
            raise ReadError(f"broken at row {Failing.row}")
        self._source.read_all(wanted)

    def close(self) -> None:
        self._source.close()


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


@pytest.mark.parametrize(("readers", "batchers"), [(1, 1), (2, 1), (2, 2), (4, 3)])
def test_buffers_stay_within_what_is_promised(tmp_path: Path, readers: int, batchers: int) -> None:
    """Rows of 8 KiB in a file several times as large as the promise."""
    path = tmp_path / "large.h5"
    with h5py.File(path, "w") as file:
        file["x"] = np.repeat(np.arange(N, dtype=np.float32)[:, None], 2048, axis=1)
        file["y"] = np.arange(N, dtype=np.float32)
    with streaming(path, readers=readers, batchers=batchers, batch_queue=2) as stream:
        promised = stream._feed.memory_bytes
        assert promised < path.stat().st_size / 2
        for ordinal in range(80):
            ids(stream, ordinal)
        assert 0 < stream.stats().buffer_peak_bytes <= promised


def test_memory_is_allocated_once_and_used_again(
    samples: MakeSamples, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A chunk's memory is the next one's for certain, however short the time between the two."""
    allocated: Counter[int] = Counter()
    allocate = buffers._Block.__init__

    def counted(self: buffers._Block, nbytes: int) -> None:
        allocated[nbytes] += 1
        allocate(self, nbytes)

    monkeypatch.setattr(buffers._Block, "__init__", counted)
    with streaming(samples(N), readers=2, batchers=2) as stream:
        ids(stream, *range(400))
        loose = stream._feed.loose_batches
    assert allocated[CHUNK * 16] == 2
    assert 0 < allocated[BATCH * 4] <= loose


@pytest.mark.parametrize("asked", [1, 3, 4, 30])
@pytest.mark.parametrize("readers", [1, 3])
def test_a_closed_stream_holds_no_memory(
    samples: MakeSamples, row_way: str, asked: int, readers: int
) -> None:
    """However much was read when it was closed, and while somebody still has the stream."""
    for end in range(asked, asked + CHUNK // BATCH):
        with streaming(samples(N), readers=readers) as stream:
            ids(stream, *range(end))
        assert stream.stats().buffer_bytes == 0


@pytest.mark.parametrize("row", [3, 71])
def test_a_failed_run_holds_no_memory_once_its_error_is_gone(
    samples: MakeSamples, monkeypatch: pytest.MonkeyPatch, row: int
) -> None:
    monkeypatch.setattr(stream_module, "ShardedSource", Failing)
    with streaming(samples(N), shuffle=False) as stream:
        Failing.row, Failing.times = row, 1
        with suppress(ReadError):
            ids(stream, *range(20))
        assert Failing.times == 0
    assert stream.stats().buffer_bytes == 0


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
