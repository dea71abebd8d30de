"""`inspect` proposes the column that rows of variable length and encoded pictures need."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from helpers.ragged import picture_of

import prefetcher
from prefetcher.cli import main


def ragged(file: h5py.File, name: str, rows: list[Any], dtype: str) -> None:
    made = file.create_dataset(name, (len(rows),), h5py.vlen_dtype(dtype))
    for at, row in enumerate(rows):
        made[at] = row


def pictures(kind: str, n: int = 40) -> list[Any]:
    return [np.frombuffer(picture_of(number, kind), np.uint8) for number in range(n)]


def write(path: Path, kind: str) -> Path:
    with h5py.File(path, "w") as file:
        file["labels"] = np.arange(40)
        if kind == "tokens":
            ragged(file, "data", [np.arange(number % 13) for number in range(40)], "i4")
        elif kind == "vlen":
            ragged(file, "data", pictures("JPEG"), "u1")
        elif kind == "bytes that are none":
            ragged(file, "data", [np.arange(20 + number, dtype="u1") for number in range(40)], "u1")
        else:
            rows = np.zeros((40, 2000), np.uint8)
            for at, picture in enumerate(pictures("PNG")):
                rows[at, : len(picture)] = picture
            opaque = rows.view("V2000")[:, 0]
            file["data"] = rows if kind == "filled up" else opaque
    return path


@pytest.mark.parametrize(
    ("kind", "x"),
    [
        ("vlen", "prefetcher.Picture('data', size=(6, 9))"),
        ("opaque", "prefetcher.Picture('data', size=(6, 9))"),
        ("filled up", "prefetcher.Picture('data', size=(6, 9))"),
        ("tokens", "prefetcher.Padded('data', 12)"),
        ("bytes that are none", "prefetcher.Padded('data', 59)"),
    ],
)
def test_the_line_works(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], kind: str, x: str
) -> None:
    path = write(tmp_path / "a.h5", kind)
    assert main(["inspect", str(path), "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["python"] == f"prefetcher.PrefetchSequence({str(path)!r}, x={x}, y='labels')"
    with eval(told["python"], {"prefetcher": prefetcher}) as sequence:
        x_batch, y_batch = sequence[0]
        assert told["batch_bytes"] == x_batch.nbytes + y_batch.nbytes


def test_that_one_reader_reads_them_is_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["inspect", str(write(tmp_path / "a.h5", "vlen"))]) == 0
    told = capsys.readouterr().out
    assert "vlen uint8" in told
    assert "lets one thread of the process read at a time, whatever readers= says" in told
    assert "rows are of variable length" in told
    assert "--x data --y labels --size 6 9" in told  # convert writes them decoded


def test_damaged_rows_are_proposed_to_nobody(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write(tmp_path / "a.h5", "vlen")
    path.write_bytes(path.read_bytes().replace(b"GCOL", b"XXXX"))
    assert main(["inspect", str(path), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["x"] == "labels"


def test_convert_says_what_is_missing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = write(tmp_path / "a.h5", "tokens")
    out = tmp_path / "out.h5"
    assert main(["convert", str(path), str(out), "--x", "data", "--y", "labels"]) != 0
    assert "variable length: write the one that they shall have, as in --length 12" in (
        " ".join(capsys.readouterr().err.split())
    )
    assert not out.exists()


def test_tune_takes_the_proposal(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = write(tmp_path / "a.h5", "tokens")
    assert main(["tune", str(path), "--demand", "10", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)
