"""Rows through `Source`: the bytes of h5py, whatever the way, the cut and the thread."""

from __future__ import annotations

import os
import struct
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import h5py
import hdf5plugin
import numpy as np
import psutil
import pytest

from prefetcher.errors import (
    ClosedError,
    CorruptError,
    FileChangedError,
    NoDatasetError,
    RowsError,
)
from prefetcher.hdf5.contiguous import ContiguousWay
from prefetcher.hdf5.describe import describe
from prefetcher.hdf5.index import ChunkIndex
from prefetcher.hdf5.places import Rows
from prefetcher.hdf5.source import Source
from prefetcher.hdf5.storage_chunks import StorageChunkWay


def room(row_bytes: int, counts: Sequence[int]) -> list[Rows]:
    return [np.full((count, row_bytes), 0xAA, np.uint8) for count in counts]


def joined(arrays: Sequence[Rows]) -> bytes:
    return b"".join(array.tobytes() for array in arrays)


@pytest.fixture
def samples(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    path = tmp_path / "samples.h5"
    with h5py.File(path, "w") as file:
        file["plain"] = rng.integers(0, 256, (50, 4, 3), np.uint8)
        chunked = rng.integers(0, 9, (50, 6)).astype(">i2")
        file.create_dataset("chunked", data=chunked, chunks=(8, 4), compression="gzip")
        file.create_dataset("virgin", shape=(50, 2), dtype="f4", fillvalue=7)
        file["flags"] = rng.random(50) < 0.5
    return path


@pytest.mark.parametrize("name", ["plain", "chunked", "virgin", "flags"])
@pytest.mark.parametrize("counts", [[13], [1] * 13, [5, 0, 1, 7]])
def test_the_bytes_are_those_of_h5py(samples: Path, name: str, counts: list[int]) -> None:
    description = describe(samples)
    source = Source(description, [name])
    out = room(description.dataset(name).row_bytes, counts)
    source.read(name, [(11, 24)], out)
    source.close()
    with h5py.File(samples) as file:
        assert joined(out) == file[name][11:24].tobytes()


@pytest.mark.parametrize("name", ["plain", "chunked", "virgin", "flags"])
def test_runs_follow_each_other(samples: Path, name: str) -> None:
    description = describe(samples)
    source = Source(description, [name])
    out = room(description.dataset(name).row_bytes, [1] * 4 + [9, 3])
    source.read(name, [(30, 37), (2, 10), (49, 50)], out)
    source.close()
    with h5py.File(samples) as file:
        rows = file[name][:]
    assert joined(out) == b"".join(part.tobytes() for part in (rows[30:37], rows[2:10], rows[49:]))


def test_rows_out_of_range_and_room_that_does_not_fit(samples: Path) -> None:
    source = Source(describe(samples), ["plain"])
    with pytest.raises(RowsError, match=r"rows 40 to 51 of plain in samples.h5"):
        source.read("plain", [(40, 51)], room(12, [11]))
    with pytest.raises(RowsError, match="10 rows of plain do not fill room for 9"):
        source.read("plain", [(40, 45), (0, 5)], room(12, [9]))
    source.close()


def test_a_wrong_name_is_refused_at_opening(samples: Path) -> None:
    with pytest.raises(NoDatasetError):
        Source(describe(samples), ["plain", "x"])


def test_a_closed_source_says_so_and_closes_twice(samples: Path) -> None:
    source = Source(describe(samples), ["plain"])
    source.close()
    source.close()
    with pytest.raises(ClosedError, match=r"samples.h5 was closed"):
        source.read("plain", [(0, 1)], room(12, [1]))
    h5py.File(samples, "r+").close()  # would be refused while it is open for reading


def touch(path: Path) -> None:
    status = path.stat()
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns + 1))


def test_a_file_that_changed_before_it_is_opened(samples: Path) -> None:
    description = describe(samples)
    touch(samples)
    with pytest.raises(FileChangedError, match=r"samples.h5 was written to"):
        Source(description, ["plain"])


@pytest.mark.parametrize("name", ["plain", "chunked"])
def test_a_file_that_changes_while_it_is_read(samples: Path, name: str) -> None:
    source = Source(describe(samples), [name])
    touch(samples)
    with pytest.raises(FileChangedError, match=r"samples.h5 was written to"):
        source.read(name, [(0, 1)], room(12, [1]))
    source.close()


def test_close_leaves_a_read_under_way_its_file(
    samples: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = Source(describe(samples), ["plain"])
    inside, closed = threading.Event(), threading.Event()
    preadv = os.preadv

    def slow(fd: int, views: Sequence[memoryview], offset: int) -> int:
        inside.set()
        assert closed.wait(30)
        return preadv(fd, views, offset)

    monkeypatch.setattr(os, "preadv", slow)
    out = room(12, [50])
    with ThreadPoolExecutor(1) as pool:
        read = pool.submit(source.read, "plain", [(0, 50)], out)
        assert inside.wait(30)
        source.close()
        with pytest.raises(ClosedError):
            source.read("plain", [(0, 1)], room(12, [1]))
        closed.set()
        read.result(timeout=30)
    with h5py.File(samples, "r+") as file:  # refused while the source has the file open
        assert joined(out) == file["plain"][:].tobytes()


def test_a_way_whose_bytes_differ_from_h5py_is_not_taken(
    samples: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(StorageChunkWay, "_bytes_within", lambda *_: b"something else")
    monkeypatch.setattr(ContiguousWay, "_row", lambda *_: b"something else")
    source = Source(describe(samples), ["plain", "chunked"])
    assert {source.way_of(name) for name in ("plain", "chunked")} == {"general"}
    source.close()


@pytest.mark.parametrize("row", [24, 8000])
def test_an_index_that_names_an_impossible_place_is_damage(tmp_path: Path, row: int) -> None:
    """h5py does not notice, and gives zeros for the rows that were stored there."""
    path, rows = tmp_path / "a.h5", np.arange(1, 25, dtype=np.uint8)
    with h5py.File(path, "w", libver="earliest") as file:
        file.create_dataset("x", data=rows, chunks=(8,))
        file["good"] = rows
    key = struct.Struct("<IIQQ")  # of the B-tree: stored bytes, mask, row, offset in an element
    whole = path.read_bytes()
    assert whole.count(key.pack(8, 0, 8, 0)) == 1
    path.write_bytes(whole.replace(key.pack(8, 0, 8, 0), key.pack(8, 0, row, 0)))
    with h5py.File(path) as file:
        assert not file["x"][8:16].any()
    with pytest.raises(CorruptError, match=r"x in a.h5 is damaged: its index names a .* off the"):
        Source(describe(path), ["x"])
    Source(describe(path), ["good"]).close()


def test_an_index_that_makes_no_sense_is_not_left_to_a_filter_that_may_crash(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def numbers(*_: object) -> None:
        raise CorruptError("its index names a storage chunk off the grid")

    with h5py.File(tmp_path / "a.h5", "w") as file:
        file.create_dataset("x", data=np.zeros((30, 9)), chunks=(3, 9), **hdf5plugin.Bitshuffle())
    monkeypatch.setattr(ChunkIndex, "_numbers", numbers)
    with pytest.raises(CorruptError, match=r"x in a.h5 is damaged: its index names a .* off the"):
        Source(describe(tmp_path / "a.h5"), ["x"])


def test_a_failed_opening_leaves_no_file_open(samples: Path) -> None:
    description = describe(samples)
    touch(samples)
    with pytest.raises(FileChangedError):
        Source(description, ["plain"])
    assert str(samples) not in {file.path for file in psutil.Process().open_files()}


def test_the_general_way_spreads_rows_in_bounded_memory(tmp_path: Path) -> None:
    rows = np.random.default_rng(0).integers(0, 99, (30, 1 << 20), np.uint8)
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file.create_dataset("x", data=rows, chunks=(3, 1 << 20), scaleoffset=0)
    source = Source(describe(tmp_path / "a.h5"), ["x"])
    assert source.scratch_bytes == 3 << 20
    out = room(1 << 20, [1] * 20)
    source.read("x", [(5, 25)], out)
    source.close()
    assert joined(out) == rows[5:25].tobytes()


@pytest.mark.parametrize("name", ["plain", "chunked", "virgin", "flags"])
def test_reading_takes_no_more_memory_than_the_description_says(samples: Path, name: str) -> None:
    description = describe(samples)
    source = Source(description, [name])
    source.close()
    assert source.scratch_bytes <= description.dataset(name).scratch_bytes
