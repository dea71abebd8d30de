"""The file that is written: whole under its name or not at all, and resumed where it was safe."""

from __future__ import annotations

import os
from pathlib import Path

import h5py
import numpy as np
import pytest
from numpy.typing import NDArray

from prefetcher.errors import FileError
from prefetcher.writing.partial import Layout, PartialFile, partial_of
from prefetcher.writing.writer import layouts

LAYOUTS = layouts({"x": ((2, 3), "int16"), "y": ((), "float32")}, "none")


def test_nothing_waits_to_be_written_when_a_file_is_given_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """HDF5 crashes over rows that it cannot write at the close: full disks were seen to do that."""
    rows: list[int] = []
    suspend = PartialFile.suspend

    def counted(self: PartialFile) -> None:
        rows.extend(len(self._file[name]) for name in LAYOUTS)
        suspend(self)

    monkeypatch.setattr(PartialFile, "suspend", counted)
    partial = PartialFile.create(tmp_path / "data.h5", LAYOUTS)
    partial.append("x", np.zeros((400_000, 2, 3), np.int16))
    assert partial.rows["x"] > 0
    partial.discard()
    assert rows == [0, 0]


def test_a_close_that_fails_is_not_tried_again(tmp_path: Path) -> None:
    """HDF5 2.0 crashes at the second one."""

    class Broken:
        closed = 0

        def close(self) -> None:
            self.closed += 1
            raise RuntimeError("unable to close")

    broken = Broken()
    partial = PartialFile(tmp_path / "data.h5", partial_of(tmp_path / "data.h5"), broken)
    partial.suspend()
    partial.discard()
    assert broken.closed == 1


def test_a_checkpoint_is_whole_whatever_is_written_after_it(tmp_path: Path) -> None:
    """What a killed process leaves: the bytes on the disk, while the file is open and written."""
    path = tmp_path / "data.h5"
    partial = PartialFile.create(path, LAYOUTS, resumable=True)
    rows = partial_rows = 200_000
    x = np.arange(rows * 6, dtype=np.int16).reshape(rows, 2, 3)
    partial.append("x", x)
    partial.append("y", np.zeros(rows, np.float32))
    kept = partial.rows
    size, datasets = partial.checkpoint()
    for _ in range(5):
        partial.append("x", x)
    killed = partial_of(path).read_bytes()
    partial.discard()
    assert len(killed) > size

    partial_of(path).write_bytes(killed)
    resumed = PartialFile.resume(path, size, datasets)
    assert resumed.rows == kept
    assert 0 < kept["x"] < partial_rows
    resumed.append("x", x[kept["x"] :])
    resumed.append("y", np.zeros(rows - kept["y"], np.float32))
    resumed.commit()
    with h5py.File(path) as file:
        assert np.array_equal(file["x"][:], x)
        assert len(file["y"]) == rows


@pytest.mark.parametrize("more", [1, 5, 20])
def test_rows_may_follow_a_storage_chunk_that_was_not_full(tmp_path: Path, more: int) -> None:
    path = tmp_path / "data.h5"
    layout = {"x": Layout((2,), np.dtype(np.int32), 8, "gzip")}
    rows = np.arange(22 + 2 * more, dtype=np.int32).reshape(-1, 2)
    partial = PartialFile.create(path, layout, resumable=True)
    partial.append("x", rows[:11])
    partial.flush()
    state = partial.checkpoint()
    partial.suspend()
    resumed = PartialFile.resume(path, *state)
    assert resumed.rows == {"x": 11}
    resumed.append("x", rows[11:])
    resumed.commit()
    with h5py.File(path) as file:
        assert np.array_equal(file["x"], rows)


def numbers(start: int, stop: int) -> NDArray[np.int32]:
    return np.arange(start, stop, dtype=np.int32)


def test_indexes_of_a_checkpoint_are_not_written_over(tmp_path: Path) -> None:
    """Indexes so large (many storage chunks of many dimensions) that HDF5 could not keep them."""
    path = tmp_path / "data.h5"
    each = 2500
    row = (1,) * 28
    rows = numbers(0, 5 * each).reshape(-1, *row)
    partial = PartialFile.create(path, {"x": Layout(row, rows.dtype, 1)}, resumable=True)
    partial.append("x", rows[:each])
    for start in (each, 2 * each):
        state = partial.checkpoint()
        partial.append("x", rows[start:])
        killed = partial_of(path).read_bytes()
        partial.discard()
        partial_of(path).write_bytes(killed)
        partial = PartialFile.resume(path, *state)
        partial.append("x", rows[start : start + each])
    partial.commit()
    with h5py.File(path) as file:
        assert np.array_equal(file["x"], rows[: 3 * each])


def test_rows_that_others_lack_are_dropped_and_written_again(tmp_path: Path) -> None:
    """Where a run was broken off between two datasets."""
    path = tmp_path / "data.h5"
    layout = Layout((), np.dtype(np.int32), 4)
    partial = PartialFile.create(path, {"x": layout, "y": layout}, resumable=True)
    partial.append("x", numbers(0, 8))
    partial.append("y", numbers(0, 4))
    size, datasets = partial.checkpoint()
    partial.suspend()
    datasets["x"]["rows"] = 4
    resumed = PartialFile.resume(path, size, datasets)
    assert resumed.rows == {"x": 4, "y": 4}
    for name in "xy":
        resumed.append(name, numbers(4, 10))
    resumed.commit()
    with h5py.File(path) as file:
        assert all(np.array_equal(file[name], numbers(0, 10)) for name in "xy")


def test_a_partial_file_that_was_cut_or_removed_is_said(tmp_path: Path) -> None:
    path = tmp_path / "data.h5"
    partial = PartialFile.create(path, {"x": Layout((), np.dtype(np.int32), 4)}, resumable=True)
    partial.append("x", numbers(0, 8))
    state = partial.checkpoint()
    partial.suspend()
    os.truncate(partial_of(path), state[0] - 1)
    with pytest.raises(FileError, match="begin anew"):
        PartialFile.resume(path, *state)
    partial_of(path).unlink()
    with pytest.raises(FileError, match="begin anew"):
        PartialFile.resume(path, *state)
