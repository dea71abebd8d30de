"""The writer: datasets that grow step by step, and a file that appears only when it is whole."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from helpers.processes import run_script
from numpy.typing import NDArray

import prefetcher
from prefetcher.errors import (
    ClosedError,
    CorruptError,
    DatasetError,
    FileBusyError,
    FileError,
    SettingsError,
)
from prefetcher.hdf5.attributes import read_attributes
from prefetcher.writing.codec import STORAGE_CHUNK_BYTES, CodecName
from prefetcher.writing.growing import Witness
from prefetcher.writing.partial import partial_of
from prefetcher.writing.writer import HDF5Writer, write_steps

Step = dict[str, NDArray[np.generic]]

X = np.arange(11 * 6, dtype=np.int16).reshape(11, 2, 3)
Y = np.arange(11, dtype=np.float32)


def steps(*sizes: int) -> Iterator[Step]:
    start = 0
    for size in sizes:
        yield {"x": X[start : start + size], "y": Y[start : start + size]}
        start += size


@pytest.mark.parametrize("sizes", [(11,), (4, 4, 3), (1,) * 11])
def test_any_steps_give_the_same_datasets(tmp_path: Path, sizes: tuple[int, ...]) -> None:
    path = tmp_path / "data.h5"
    assert write_steps(path, steps(*sizes)) == 11
    with h5py.File(path) as file:
        assert np.array_equal(file["x"][:], X)
        assert np.array_equal(file["y"][:], Y)
        assert (file["x"].dtype, file["y"].dtype) == (X.dtype, Y.dtype)
    assert list(tmp_path.iterdir()) == [path]


def test_every_dataset_has_equally_many_rows_to_a_storage_chunk(tmp_path: Path) -> None:
    large = np.zeros((2, STORAGE_CHUNK_BYTES // 10), np.uint8)
    write_steps(tmp_path / "data.h5", [{"large": large, "small": np.zeros(2)}])
    with h5py.File(tmp_path / "data.h5") as file:
        assert file["large"].chunks == (9, large.shape[1])
        assert file["small"].chunks == (9,)


def test_a_failing_step_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "data.h5"
    write_steps(path, steps(11))
    before = path.read_bytes()

    def failing() -> Iterator[Step]:
        yield from steps(4)
        raise ValueError("no more")

    with pytest.raises(ValueError, match="no more"):
        write_steps(path, failing())
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


SPECS: Mapping[str, Any] = {"x": ((2, 3), "int16"), "y": ((), np.float32)}


def test_no_none_and_no_leading_0(tmp_path: Path) -> None:
    with prefetcher.HDF5Writer(tmp_path / "data.h5", x=((2, 3), "int16"), y=((), "f4")) as out:
        out.append(x=X[:4], y=[0.0, 1.0, 2.0, 3.0])
        out.append(x=X[4:], y=Y[4:])
        assert out.rows == {"x": 11, "y": 11}
    with h5py.File(tmp_path / "data.h5") as file:
        assert np.array_equal(file["x"][:], X)
        assert np.array_equal(file["y"][:], Y)


@pytest.mark.parametrize("codec", ["none", "gzip", "lz4", "zstd"])
def test_every_codec_gives_the_rows_back(tmp_path: Path, codec: CodecName) -> None:
    rows = np.repeat(np.arange(700, dtype=np.int32)[:, None], 1000, axis=1)
    with HDF5Writer(tmp_path / "data.h5", codec=codec, x=((1000,), "int32")) as out:
        for start in range(0, 700, 90):
            out.append(x=rows[start : start + 90])
    with h5py.File(tmp_path / "data.h5") as file:
        assert np.array_equal(file["x"][:], rows)
        assert file["x"].chunks == (262, 1000)
        stored = file["x"].id.get_storage_size()
    assert (stored < rows.nbytes / 4) == (codec != "none")


@pytest.mark.parametrize(
    ("roles", "x", "y"),
    [
        ({"x": "images"}, "images", None),
        ({"x": "images", "y": "angles"}, "images", "angles"),
        ({"x": ("images", "/meta/time"), "y": ["angles"]}, ("images", "meta/time"), ("angles",)),
        ({"x": "meta/time", "y": "angles"}, "meta/time", "angles"),
    ],
)
def test_the_file_says_what_x_and_y_are(tmp_path: Path, roles: Any, x: Any, y: Any) -> None:
    specs: Any = {"images": ((2,), "u1"), "angles": ((), "f4"), "meta/time": ((), "f8")}
    with HDF5Writer(tmp_path / "data.h5", specs, **roles) as out:
        out.append(images=np.zeros((5, 2)), angles=np.zeros(5))
        out.append({"meta/time": np.zeros(5)})
    said = read_attributes(tmp_path / "data.h5")
    assert (said.x, said.y, said.splits) == (x, y, ())
    assert said.version == prefetcher.__version__
    with prefetcher.PrefetchSequence(tmp_path / "data.h5") as sequence:
        assert len(sequence[0]) == (1 if y is None else 2)


def test_groups_with_the_same_names_are_splits(tmp_path: Path) -> None:
    specs: Any = {
        f"{group}/{name}": ((), "f4") for group in ("train", "val") for name in ("a", "b")
    }
    with HDF5Writer(tmp_path / "data.h5", specs, x="a", y="b") as out:
        out.append({"train/a": [1, 2], "train/b": [3, 4], "val/a": [5], "val/b": [6]})
    assert read_attributes(tmp_path / "data.h5").splits == ("train", "val")
    with prefetcher.PrefetchSequence(tmp_path / "data.h5", split="val") as val:
        x, y = val[0]
        assert (x.tolist(), y.tolist()) == ([5], [6])


@pytest.mark.parametrize("part", ["x", "y"])
def test_a_dataset_may_be_called_x(tmp_path: Path, part: str) -> None:
    """By its shape and dtype it is told from a name."""
    spec: dict[str, Any] = {part: ((3,), "f4")}
    with HDF5Writer(tmp_path / "data.h5", **spec) as out:
        out.append({part: np.zeros((2, 3))})
    said = read_attributes(tmp_path / "data.h5")
    assert (said.x, said.y) == (None, None)


@pytest.mark.parametrize(
    ("roles", "says"),
    [
        ({"x": "imgs"}, "x='imgs': no dataset 'imgs' in data.h5; .*did you mean 'images'"),
        ({"x": "images", "y": "angle"}, "y='angle': no dataset"),
        ({"y": "angles"}, "y='angles' without x"),
        ({"x": ()}, r"x=\(\): write .*'uint8'"),
        ({"x": 5}, "x=5: write .*'uint8'"),
    ],
)
def test_names_that_the_file_does_not_have(tmp_path: Path, roles: Any, says: str) -> None:
    with pytest.raises(SettingsError, match=says):
        HDF5Writer(tmp_path / "data.h5", {"images": ((2,), "u1"), "angles": ((), "f4")}, **roles)
    assert not list(tmp_path.iterdir())


def test_groups_grow_on_their_own(tmp_path: Path) -> None:
    with HDF5Writer(tmp_path / "data.h5", {"train/x": ((), "i8"), "val/x": ((), "i8")}) as out:
        out.append({"train/x": [1, 2, 3]})
        out.append({"val/x": [4], "train/x": [5]})
    with h5py.File(tmp_path / "data.h5") as file:
        assert file["train/x"][:].tolist() == [1, 2, 3, 5]
        assert file["val/x"][:].tolist() == [4]


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ({"x": X}, "takes them for"),
        ({}, "nothing"),
        ({"x": X, "y": Y, "z": Y}, "x, y, z"),
        ({"x": X, "y": Y[:3]}, "equally many rows"),
        ({"x": X[0], "y": Y}, r"\(rows, 2, 3\)"),
        ({"x": X + 40_000.0, "y": Y}, "cannot hold"),
        ({"x": X + 0.5, "y": Y}, "cannot hold"),
        ({"x": X, "y": ["one"] * 11}, "cannot hold"),
    ],
)
def test_rows_that_do_not_fit_leave_the_file_as_it_was(
    tmp_path: Path, rows: Mapping[str, Any], message: str
) -> None:
    with HDF5Writer(tmp_path / "data.h5", SPECS) as out:
        out.append(x=X[:2], y=Y[:2])
        with pytest.raises(DatasetError, match=message):
            out.append(rows)
    with h5py.File(tmp_path / "data.h5") as file:
        assert (len(file["x"]), len(file["y"])) == (2, 2)


@pytest.mark.parametrize(
    ("specs", "codec"),
    [
        ({}, "none"),
        ({"x": (None, "u1")}, "none"),
        ({"x": ((None, 3), "u1")}, "none"),
        ({"x": ((0, 3), "u1")}, "none"),
        ({"x": ((3,), "picture")}, "none"),
        ({"x": ((3,), object)}, "none"),
        ({"x": ((3,), "u1")}, "zip"),
    ],
)
def test_datasets_that_cannot_be_made_are_refused(
    tmp_path: Path, specs: Mapping[str, Any], codec: Any
) -> None:
    with pytest.raises(SettingsError, match="write"):
        HDF5Writer(tmp_path / "data.h5", specs, codec=codec)
    assert not list(tmp_path.iterdir())


def test_a_codec_that_is_not_installed_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("prefetcher.filters.plugins.register", lambda: None)
    with pytest.raises(SettingsError, match="pip install hdf5plugin"):
        HDF5Writer(tmp_path / "data.h5", SPECS, codec="lz4")


def test_closed_is_closed(tmp_path: Path) -> None:
    with HDF5Writer(tmp_path / "data.h5", SPECS) as out:
        out.append(x=X, y=Y)
    out.close()
    out.discard()
    with pytest.raises(ClosedError):
        out.append(x=X, y=Y)
    assert list(tmp_path.iterdir()) == [tmp_path / "data.h5"]


def test_two_writers_of_one_file(tmp_path: Path) -> None:
    with HDF5Writer(tmp_path / "data.h5", SPECS), pytest.raises(FileError, match=r"data\.h5"):
        HDF5Writer(tmp_path / "data.h5", SPECS)


def test_a_writer_in_another_process(tmp_path: Path) -> None:
    """HDF5's lock on a file holds against every other opening of it."""
    fcntl = pytest.importorskip("fcntl")
    with partial_of(tmp_path / "data.h5").open("wb") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        with pytest.raises(FileBusyError, match="by another process"):
            HDF5Writer(tmp_path / "data.h5", SPECS)


def test_rows_that_come_back_wrong_are_noticed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_steps(tmp_path / "data.h5", steps(3))
    see = Witness.see

    def wrong(self: Witness, start: int, rows: NDArray[Any]) -> None:
        see(self, start, rows + (rows.dtype == np.int16))

    monkeypatch.setattr(Witness, "see", wrong)
    with pytest.raises(CorruptError, match="row 0 of x"):
        write_steps(tmp_path / "data.h5", steps(11))
    with h5py.File(tmp_path / "data.h5") as file:
        assert len(file["x"]) == 3
    assert not partial_of(tmp_path / "data.h5").exists()


def test_a_full_disk_is_said_and_leaves_nothing(tmp_path: Path) -> None:
    """A limit on the size of files stands for the disk: HDF5 meets the same kind of error.

    It is lifted for the close: a full disk lets a file be cut to its length, a limit does not,
    and HDF5 2.0 crashes at the interpreter's exit when that fails.
    """
    path = tmp_path / "data.h5"
    write_steps(path, steps(11))
    before = path.read_bytes()
    run_script(
        f"""
import resource, numpy, pytest, prefetcher
from prefetcher.writing.partial import PartialFile

def limit(nbytes):
    resource.setrlimit(resource.RLIMIT_FSIZE, (nbytes, resource.RLIM_INFINITY))

def discard(self, original=PartialFile.discard):
    limit(resource.RLIM_INFINITY)
    original(self)

PartialFile.discard = discard
limit(4 << 20)
with pytest.raises(prefetcher.FileError, match="disk is full"):
    with prefetcher.HDF5Writer({str(path)!r}, x=((1 << 20,), "u1")) as out:
        for _ in range(8):
            out.append(x=numpy.ones((1, 1 << 20), "u1"))
"""
    )
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_a_disk_that_is_full_only_for_the_indexes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """HDF5 meets it when it flushes. Its close must not be the first to: that may crash."""

    def flush(_: h5py.File) -> None:
        raise RuntimeError("file write failed: errno = 28, error message = 'No space left'")

    monkeypatch.setattr(h5py.File, "flush", flush)
    with pytest.raises(FileError, match="the disk is full"):
        write_steps(tmp_path / "data.h5", steps(11))
    assert not list(tmp_path.iterdir())


def test_a_disk_that_is_full_only_for_the_last_bytes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fsync(_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", fsync)
    with pytest.raises(FileError, match="the disk is full"):
        write_steps(tmp_path / "data.h5", steps(11))
    assert not list(tmp_path.iterdir())


def test_the_same_rows_give_the_same_bytes(tmp_path: Path) -> None:
    for name, sizes in (("one.h5", (11,)), ("two.h5", (1,) * 11)):
        write_steps(tmp_path / name, steps(*sizes))
    assert (tmp_path / "one.h5").read_bytes() == (tmp_path / "two.h5").read_bytes()
