"""Reads by offset: short ones go on, long vectors are cut, nothing beyond the file is tried."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from prefetcher.errors import CorruptError, FileChangedError
from prefetcher.hdf5.opening import identity_of
from prefetcher.hdf5.stored import StoredBytes

CONTENT = bytes(range(256)) * 20


@pytest.fixture
def path(tmp_path: Path) -> Path:
    (tmp_path / "bytes").write_bytes(CONTENT)
    return tmp_path / "bytes"


def opened(path: Path) -> StoredBytes:
    return StoredBytes(path, identity_of(path.stat()))


@pytest.mark.parametrize("at_most", [1, 3, 1000])
def test_short_reads_go_on_where_they_ended(
    path: Path, monkeypatch: pytest.MonkeyPatch, at_most: int
) -> None:
    preadv = os.preadv

    def short(fd: int, views: Sequence[memoryview], offset: int) -> int:
        return preadv(fd, [views[0][:at_most]], offset)

    monkeypatch.setattr(os, "preadv", short)
    pieces = [np.zeros((1, n), np.uint8) for n in (5, 0, 1, 7)]
    file = opened(path)
    file.read(2, pieces)
    file.close()
    assert b"".join(piece.tobytes() for piece in pieces) == CONTENT[2:15]


def test_more_pieces_than_one_call_takes(path: Path) -> None:
    pieces = [np.zeros((1, 2), np.uint8) for _ in range(2500)]
    file = opened(path)
    file.read(7, pieces)
    file.close()
    assert b"".join(piece.tobytes() for piece in pieces) == CONTENT[7 : 7 + 5000]


@pytest.mark.parametrize("offset", [-1, len(CONTENT) - 3, 1 << 62])
def test_offsets_that_lie_are_refused_before_reading(path: Path, offset: int) -> None:
    file = opened(path)
    with pytest.raises(CorruptError, match=f"the file has only {len(CONTENT)}"):
        file.read(offset, [np.zeros((1, 4), np.uint8)])
    file.close()


def test_a_file_cut_short_under_us_has_changed(path: Path) -> None:
    file = opened(path)
    os.truncate(path, 100)
    with pytest.raises(FileChangedError, match="bytes was written to"):
        file.read(90, [np.zeros((1, 50), np.uint8)])
    file.close()
