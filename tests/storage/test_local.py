"""Reads by offset: short ones go on, long vectors are cut, nothing beyond the file is tried.

And what will be read is told to the system before, where that helps.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from prefetcher.errors import CorruptError, FileChangedError
from prefetcher.hdf5.describe import describe
from prefetcher.hdf5.source import Source
from prefetcher.storage.local import LocalBytes
from prefetcher.storage.protocol import Piece, Range, identity_of

Offsets = set[int]

CONTENT = bytes(range(256)) * 20


@pytest.fixture
def path(tmp_path: Path) -> Path:
    (tmp_path / "bytes").write_bytes(CONTENT)
    return tmp_path / "bytes"


def opened(path: Path) -> LocalBytes:
    return LocalBytes(path, identity_of(path.stat()))


@pytest.mark.parametrize("at_most", [1, 3, 1000])
def test_short_reads_go_on_where_they_ended(
    path: Path, monkeypatch: pytest.MonkeyPatch, at_most: int
) -> None:
    preadv = os.preadv

    def short(fd: int, pieces: Sequence[Piece], offset: int) -> int:
        return preadv(fd, [pieces[0].data.cast("B")[:at_most]], offset)

    monkeypatch.setattr(os, "preadv", short)
    pieces = [np.zeros((1, n), np.uint8) for n in (5, 0, 1, 7)]
    file = opened(path)
    file.read(2, sum(piece.nbytes for piece in pieces), pieces)
    file.close()
    assert b"".join(piece.tobytes() for piece in pieces) == CONTENT[2:15]


def test_more_pieces_than_one_call_takes(path: Path) -> None:
    pieces = [np.zeros((1, 2), np.uint8) for _ in range(2500)]
    file = opened(path)
    file.read(7, sum(piece.nbytes for piece in pieces), pieces)
    file.close()
    assert b"".join(piece.tobytes() for piece in pieces) == CONTENT[7 : 7 + 5000]


@pytest.mark.parametrize("offset", [-1, len(CONTENT) - 3, 1 << 62])
def test_offsets_that_lie_are_refused_before_reading(path: Path, offset: int) -> None:
    file = opened(path)
    with pytest.raises(CorruptError, match=f"the file has only {len(CONTENT)}"):
        file.read(offset, 4, [np.zeros((1, 4), np.uint8)])
    file.close()


def test_a_file_cut_short_under_us_has_changed(path: Path) -> None:
    file = opened(path)
    os.truncate(path, 100)
    with pytest.raises(FileChangedError, match="bytes was written to"):
        file.read(90, 50, [np.zeros((1, 50), np.uint8)])
    file.close()


@pytest.fixture
def advised(monkeypatch: pytest.MonkeyPatch) -> Offsets:
    """The offset of every byte that the system was told of, on a machine that has none of them."""
    found: Offsets = set()

    def note(_file: int, offset: int, length: int, advice: int) -> None:
        assert advice == os.POSIX_FADV_WILLNEED
        found.update(range(offset, offset + length))

    monkeypatch.setattr(os, "posix_fadvise", note)
    monkeypatch.setattr(LocalBytes, "in_memory", lambda *_: False)
    return found


LAYOUTS: dict[str, dict[str, Any]] = {
    "contiguous": {},
    "whole rows": {"chunks": (7, 6), "compression": "gzip"},
    "split rows": {"chunks": (8, 4), "compression": "gzip"},
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_what_is_read_was_expected(
    tmp_path: Path, advised: Offsets, monkeypatch: pytest.MonkeyPatch, layout: str
) -> None:
    with h5py.File(tmp_path / "a.h5", "w") as file:
        data = np.random.default_rng(0).integers(0, 99, (60, 6))
        file.create_dataset("x", data=data, **LAYOUTS[layout])
    source = Source(describe(tmp_path / "a.h5"), ["x"])
    used: Offsets = set()
    preadv = os.preadv

    def note(file: int, buffers: Any, offset: int) -> int:
        count = preadv(file, buffers, offset)
        used.update(range(offset, offset + count))
        return count

    monkeypatch.setattr(os, "preadv", note)
    runs = [(3, 9), (40, 41), (20, 33)]
    source.expect("x", runs)
    source.read("x", runs, [np.empty((20, 48), np.uint8)])
    source.close()
    assert used
    assert used <= advised


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(st.integers(0, 6_000), st.integers(1, 3_000)), max_size=9))
def test_advice_stays_in_the_file_and_covers_what_was_asked(
    path: Path, advised: Offsets, starts: list[Range]
) -> None:
    ranges = [(start, start + size) for start, size in starts]
    advised.clear()
    file = opened(path)
    file.expect(ranges)
    file.close()
    wanted = {byte for start, stop in ranges for byte in range(start, min(stop, len(CONTENT)))}
    assert wanted <= advised <= set(range(len(CONTENT)))


def test_a_size_that_lies_ends_at_the_end_of_the_file(path: Path, advised: Offsets) -> None:
    file = opened(path)
    file.expect([(10, 1 << 62)])
    file.close()
    assert advised == set(range(10, len(CONTENT)))


def test_nothing_is_advised_for_what_is_in_memory(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = opened(path)
    monkeypatch.setattr(os, "preadv", lambda *_: 1)

    def fail(*_: object) -> None:
        pytest.fail("advice was given")

    monkeypatch.setattr(os, "posix_fadvise", fail)
    file.expect([(0, 10), (4_000, 5_000)])
    file.close()


def raising(error: type[OSError]) -> Callable[..., int]:
    def fail(*_: object) -> int:
        raise error

    return fail


def test_where_the_system_cannot_tell_advice_is_given(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[int] = []
    file = opened(path)
    monkeypatch.setattr(os, "preadv", raising(BlockingIOError))
    monkeypatch.setattr(os, "posix_fadvise", lambda _, at, *__: calls.append(at))
    file.expect([(10, 20)])
    file.close()
    assert calls == [10]


def test_advice_that_fails_or_is_not_known_here_is_no_error(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = opened(path)
    monkeypatch.setattr(os, "preadv", raising(BlockingIOError))
    monkeypatch.setattr(os, "posix_fadvise", raising(OSError))
    file.expect([(10, 20)])
    monkeypatch.delattr(os, "posix_fadvise")
    file.expect([(10, 20)])
    file.close()
