"""Transient errors are tried again, others are not, and whoever closes does not wait."""

from __future__ import annotations

import errno
import os
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import h5py
import numpy as np
import pytest

from prefetcher.errors import ReadError
from prefetcher.hdf5.describe import describe
from prefetcher.hdf5.source import Source
from prefetcher.storage.retry import Retry


class Impatient(threading.Event):
    """An event that is never set and never waited for; it notes the pauses."""

    def __init__(self) -> None:
        super().__init__()
        self.pauses: list[float] = []

    def wait(self, timeout: float | None = None) -> bool:
        self.pauses.append(timeout or 0.0)
        return False


def failing(times: int, number: int) -> Callable[[], None]:
    left = [number] * times

    def read() -> None:
        if left:
            raise weak(left.pop())

    return read


def weak(number: int) -> OSError:
    return OSError(number, "weak moment")


@pytest.mark.parametrize("number", [errno.EIO, errno.ESTALE, errno.ETIMEDOUT])
def test_a_transient_error_is_tried_again_with_growing_pauses(number: int) -> None:
    patience, told = Impatient(), list[Mapping[str, object]]()
    Retry(3, patience, told.append).again(weak(number), failing(2, number), {"dataset": "x"})
    assert patience.pauses == [0.1, 0.4, 1.6]
    assert [event["attempt"] for event in told] == [1, 2, 3]
    assert told[0]["dataset"] == "x"
    assert "weak moment" in str(told[0]["error"])


def test_one_failure_too_many_is_raised() -> None:
    with pytest.raises(OSError, match="weak moment"):
        Retry(3, Impatient(), None).again(weak(errno.EIO), failing(3, errno.EIO), {})


def test_no_retries_means_none() -> None:
    patience = Impatient()
    with pytest.raises(OSError, match="weak moment"):
        Retry(0, patience, None).again(weak(errno.EIO), failing(0, errno.EIO), {})
    assert patience.pauses == []


def test_a_lasting_error_is_raised_at_once() -> None:
    patience = Impatient()
    with pytest.raises(OSError, match="weak moment"):
        Retry(3, patience, None).again(weak(errno.EACCES), failing(0, errno.EIO), {})
    assert patience.pauses == []


def test_stopping_ends_the_pause_with_the_error() -> None:
    stopping = threading.Event()
    told: list[Mapping[str, object]] = []

    def tell(event: Mapping[str, object]) -> None:
        told.append(event)
        stopping.set()

    with pytest.raises(OSError, match="weak moment"):
        Retry(1000, stopping, tell).again(weak(errno.EIO), failing(1000, errno.EIO), {})
    assert len(told) == 1


def test_a_source_reads_on_after_a_weak_moment_of_the_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["x"] = np.arange(12, dtype="u1").reshape(6, 2)
    told: list[Mapping[str, object]] = []
    source = Source(describe(tmp_path / "a.h5"), ["x"], stopping=Impatient(), on_retry=told.append)
    weak, preadv = [errno.EIO] * 2, os.preadv

    def flaky(fd: int, views: Sequence[memoryview], offset: int) -> int:
        if weak:
            raise OSError(weak.pop(), "weak moment")
        return preadv(fd, views, offset)

    monkeypatch.setattr(os, "preadv", flaky)
    out = np.zeros((3, 2), np.uint8)
    source.read("x", [(1, 4)], [out])
    assert out.ravel().tolist() == list(range(2, 8))
    assert [(event["file"], event["rows"]) for event in told] == [("a.h5", [1, 4])] * 2
    weak.extend([errno.EIO] * 4)
    with pytest.raises(ReadError, match=r"reading rows 0 to 3 of x in a.h5 failed.*weak moment"):
        source.read("x", [(0, 3)], [out])
    source.close()


@pytest.mark.parametrize("chunks", [None, (4, 2), (4, 1)])
def test_what_was_read_before_a_weak_moment_stays_in_its_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, chunks: tuple[int, int] | None
) -> None:
    rows = np.arange(80, dtype="u1").reshape(40, 2)
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file.create_dataset("x", data=rows, chunks=chunks)
    told: list[Mapping[str, object]] = []
    source = Source(describe(tmp_path / "a.h5"), ["x"], stopping=Impatient(), on_retry=told.append)
    preadv, failures = os.preadv, iter([False, True, True, False, False, True] + [False] * 99)

    def flaky(fd: int, views: Sequence[memoryview], offset: int) -> int:
        if next(failures):
            raise weak(errno.EIO)
        return preadv(fd, views, offset)

    monkeypatch.setattr(os, "preadv", flaky)
    wanted = [(20, 33), (1, 9), (36, 39), (10, 12)]
    out = np.zeros((26, 2), np.uint8)
    source.read("x", wanted, [out])
    source.close()
    assert out.tolist() == [row for start, stop in wanted for row in rows[start:stop].tolist()]
    assert len(told) == 3
