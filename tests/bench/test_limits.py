"""The limits touch all the bytes that a loader has to touch."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bench import limits
from bench.files import kinds, make
from bench.limits import decode, memcpy, paced, preadv, scatter, sequential, unpack

ROWS = 128


@pytest.mark.parametrize(
    ("kind", "limit"),
    [
        ("contiguous", preadv),
        ("contiguous", scatter),
        ("contiguous", memcpy),
        ("gzip-4", preadv),
        ("gzip-4", decode),
        ("gzip-4", unpack),
        ("lz4", unpack),
    ],
)
@pytest.mark.parametrize("threads", [1, 2])
def test_a_limit_counts_the_decoded_bytes(
    tmp_path: Path, kind: str, limit: Callable[..., dict[str, Any]], threads: int
) -> None:
    path = make(tmp_path, next(one for one in kinds() if one.name == kind), ROWS)
    run = limit(str(path), ROWS, passes=2, threads=threads)
    row_bytes = 128 * 128 * 3
    # A contiguous file is counted in whole blocks of about 1 MiB.
    assert ROWS * row_bytes - (1 << 20) < run["nbytes"] <= ROWS * row_bytes
    assert len(run["seconds"]) == 2


def test_the_disks_limit_is_the_whole_file(tmp_path: Path) -> None:
    path = make(tmp_path, kinds()[0], ROWS)
    assert sequential(str(path))["nbytes"] == path.stat().st_size


@pytest.mark.parametrize("kind", ["contiguous", "gzip-4"])
def test_bare_threads_read_while_the_block_runs_and_end_with_it(
    tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = make(tmp_path, next(one for one in kinds() if one.name == kind), ROWS)
    read, real = threading.Semaphore(0), limits._read_fully

    def counted(*given: Any) -> None:
        real(*given)
        read.release()

    monkeypatch.setattr(limits, "_read_fully", counted)
    before = threading.active_count()
    with paced(str(path), threads=2, chunk_rows=64, rows_per_s=1e9):
        for _ in range(20):
            assert read.acquire(timeout=10)
    assert threading.active_count() == before
