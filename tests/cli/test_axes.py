"""`inspect` sees samples along the last axis, and rows that convert makes anew: its lines work."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import scipy.sparse as sp
from helpers.ragged import picture_of

import prefetcher
from prefetcher.cli import main
from prefetcher.cli.axes import along_last, lines
from prefetcher.hdf5.describe import describe

N = 48


def written(path: Path, *, matlab: bool, **arrays: Any) -> Path:
    with h5py.File(path, "w") as file:
        for name, array in arrays.items():
            file[name] = array
            if matlab:
                file[name].attrs["MATLAB_class"] = np.bytes_("double")
    return path


def turned(path: Path, *, matlab: bool) -> list[str]:
    return [each.path for each in along_last(describe(path).datasets, matlab=matlab) if each.turned]


def zeros(*shape: int) -> Any:
    return np.zeros(shape, "f4")


CASES: dict[str, tuple[dict[str, Any], list[str], list[str]]] = {
    "matrix and vector": ({"X": zeros(7, N), "y": zeros(1, N)}, ["X", "y"], ["X", "y"]),
    "pictures and vector": ({"X": zeros(N, 3, 8, 8), "y": zeros(1, N)}, ["y"], ["y"]),
    "pictures, matrix and vector": (
        {"images": zeros(N, 3, 8, 8), "X": zeros(7, N), "y": zeros(1, N)}, ["X", "y"], ["X", "y"],
    ),
    "matrices": ({"X": zeros(7, N), "Y": zeros(2, N), "y": zeros(1, N)}, [*"XYy"], [*"XYy"]),
    "a flat target": ({"X": zeros(7, N), "labels": zeros(N)}, ["X"], ["X"]),
    "a column": ({"X": zeros(7, N), "mean": zeros(N)}, ["X"], []),
    "rows and columns": ({"X": zeros(N, 7), "y": zeros(N)}, [], []),
    "square": ({"X": zeros(N, N), "y": zeros(N)}, [], []),
    "alone": ({"X": zeros(7, N)}, [], []),
    "features": ({"X": zeros(N, 7), "y": zeros(N), "mean": zeros(1, 7)}, [], []),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_where_samples_lie(tmp_path: Path, case: str) -> None:
    arrays, of_matlab, of_others = CASES[case]
    path = written(tmp_path / "a.mat", matlab=True, **arrays)
    assert turned(path, matlab=True) == of_matlab
    assert turned(path, matlab=False) == of_others


def inspected(path: Path, capsys: pytest.CaptureFixture[str]) -> tuple[str, dict[str, Any]]:
    assert main(["inspect", str(path)]) == 0
    text = capsys.readouterr().out
    assert main(["inspect", str(path), "--json"]) == 0
    return text, json.loads(capsys.readouterr().out)


def test_a_matrix_of_matlab_gets_lines_that_work(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    images = np.random.default_rng(0).integers(0, 256, (80, 80, 3, 300), np.uint8)
    path = written(tmp_path / "a.mat", matlab=True, images=images, y=np.arange(300)[None])
    text, told = inspected(path, capsys)
    assert "Samples lie along the last axis of images, y, as MATLAB's axes stand in HDF5" in text
    assert set(told["slow"]) == {"images"}
    assert "19,200 places of the file" in text
    with pytest.warns(UserWarning, match="is slow to read"):
        train = eval(told["python"], {"prefetcher": prefetcher})
    with train:
        x, y = train[0]
        assert (x == np.moveaxis(images, 3, 0)[y[:, 0]]).all()
    (command,) = told["convert"]
    assert command.endswith("--x images --y y --axis -1")
    _, *words = shlex.split(command)
    assert main(words) == 0
    with prefetcher.PrefetchSequence(words[2], shuffle=False) as train:
        assert (train[0][0] == np.moveaxis(images, 3, 0)[:32]).all()


def test_a_file_of_matlab_of_which_nothing_is_known(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = written(tmp_path / "a.mat", matlab=True, X=zeros(7, N))
    assert "write prefetcher.Axis(name, -1)" in inspected(path, capsys)[0]
    path = written(tmp_path / "b.mat", matlab=False, X=zeros(7, N))
    assert "MATLAB" not in inspected(path, capsys)[0]
    assert not list(lines((), matlab=False))


def pictures(file: h5py.File) -> None:
    rows = file.create_dataset("x", (N,), h5py.vlen_dtype("u1"))
    for number in range(N):
        rows[number] = np.frombuffer(picture_of(number), np.uint8)


def tokens(file: h5py.File) -> None:
    rows = file.create_dataset("x", (N,), h5py.vlen_dtype("i4"))
    for number in range(N):
        rows[number] = np.arange(1 + number % 9)


def cells(file: h5py.File, **storage: Any) -> None:
    made = 100 * sp.random(N, 30, 0.2, "csr", np.float32, random_state=0)
    group = file.create_group("x")
    group.attrs["encoding-type"], group.attrs["shape"] = "csr_matrix", made.shape
    for part in ("data", "indices", "indptr"):
        group.create_dataset(part, data=getattr(made, part), **storage)


def slow_cells(file: h5py.File) -> None:
    """By a filter of which HDF5 alone makes numbers."""
    cells(file, scaleoffset=0)


@pytest.mark.parametrize(
    ("write", "options"),
    [(pictures, "--size 6 9"), (tokens, "--length 8"), (slow_cells, "--codec auto")],
)
def test_rows_that_are_no_arrays_get_a_line_that_works(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], write: Any, options: str
) -> None:
    with h5py.File(tmp_path / "a.h5", "w") as file:
        write(file)
        file["label"] = np.arange(N)
    text, told = inspected(tmp_path / "a.h5", capsys)
    (command,) = told["convert"]
    assert command in text
    assert re.search(rf"--x x --y label ?{options}$", command)
    if write is slow_cells:
        assert "x is sparse" in text
    with eval(told["python"], {"prefetcher": prefetcher}) as train:
        known = {int(n): row for x, y in train for row, n in zip(x, y, strict=True)}
    _, *words = shlex.split(command)
    assert main(words) == 0
    with prefetcher.PrefetchSequence(words[2]) as train:
        rows = [(row, int(n)) for x, y in train for row, n in zip(x, y, strict=True)]
    assert all((row == known[number]).all() for row, number in rows)
    assert sorted(number for _, number in rows) == list(range(N))


def test_sparse_rows_that_are_read_at_full_speed_get_no_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Dense rows are read from many times the bytes: a third of the pace was measured."""
    with h5py.File(tmp_path / "a.h5", "w") as file:
        cells(file)
        file["label"] = np.arange(N)
    text, told = inspected(tmp_path / "a.h5", capsys)
    assert not told["convert"]
    assert "prefetcher convert" not in text
