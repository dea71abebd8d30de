"""The memory of a stream: what is promised, used again, and given back."""

from __future__ import annotations

from collections import Counter
from contextlib import suppress
from pathlib import Path

import h5py
import numpy as np
import pytest
from conftest import MakeSamples
from helpers.streams import BATCH, CHUNK, Failing, N, ids, streaming

from prefetcher.errors import ReadError
from prefetcher.pipeline import buffers
from prefetcher.pipeline import stream as stream_module


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
