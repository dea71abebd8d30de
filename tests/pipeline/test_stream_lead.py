"""The batch that a run begins with waits for nothing that it does not need."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import ClassVar

import pytest
from conftest import MakeSamples
from helpers.streams import CHUNK, N, ids, planned, streaming
from helpers.waiting import Task, wait_for

from prefetcher.hdf5.places import Wanted
from prefetcher.hdf5.sharded import ShardedSource
from prefetcher.order.chunk import Part
from prefetcher.order.runs import Run
from prefetcher.pipeline import stream as stream_module
from prefetcher.pipeline.chunk import Chunk, Done
from prefetcher.pipeline.lane import RowSource


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
