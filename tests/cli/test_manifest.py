"""`prefetcher manifest`: what is in many files, written down for the next time."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from prefetcher import PrefetchSequence
from prefetcher.cli import main
from prefetcher.hdf5.manifest import read_manifest


@pytest.fixture
def files(tmp_path: Path) -> list[Path]:
    paths = [tmp_path / f"train-{number}.h5" for number in range(3)]
    for number, path in enumerate(paths):
        with h5py.File(path, "w") as file:
            file["x"] = np.full((4, 2), number, np.float32)
            file["y"] = np.full(4, number)
    return paths


def run(capsys: pytest.CaptureFixture[str], *words: object) -> tuple[int, str, str]:
    code = main(["manifest", *map(str, words)])
    return code, *capsys.readouterr()


def test_a_manifest_is_the_data_set(files: list[Path], capsys: pytest.CaptureFixture[str]) -> None:
    out = files[0].with_name("train.json")
    code, told, notes = run(capsys, files[0].with_name("train-*.h5"), "-o", out)
    assert (code, told) == (0, f"{out}: 3 files, 12 rows, {told.split('rows, ')[1]}")
    assert told.endswith("2 datasets\n")
    assert "3 of 3" in notes
    with PrefetchSequence(out, batch_size=4, shuffle=False) as seq:
        assert [batch[1].tolist() for batch in seq] == [[0] * 4, [1] * 4, [2] * 4]


def test_json(files: list[Path], capsys: pytest.CaptureFixture[str]) -> None:
    out = files[0].with_name("train.json")
    code, told, _ = run(capsys, *files, "-o", out, "--checksums", "--json")
    found: dict[str, Any] = json.loads(told)
    assert code == 0
    assert found == {
        "manifest": str(out), "files": 3, "rows": 12, "datasets": ["x", "y"],
        "bytes": sum(path.stat().st_size for path in files),
    }  # fmt: skip
    read_manifest(out).verify()


def test_it_is_made_anew_out_of_itself(
    files: list[Path], capsys: pytest.CaptureFixture[str]
) -> None:
    out = files[0].with_name("train.json")
    run(capsys, *files, "-o", out)
    with h5py.File(files[1], "w") as file:
        file["x"], file["y"] = np.zeros((9, 2), np.float32), np.zeros(9)
    assert run(capsys, files[0].with_name("train-*.h5"), "-o", out)[0] == 0
    assert read_manifest(out).rows == 17


@pytest.mark.parametrize(
    ("out", "says"),
    [
        ("below/train.json", "names files beside it"),
        ("train.txt", "ends with .json"),
        ("settings.json", "is no manifest"),
        ("broken.json", "is not JSON"),
    ],
)
def test_where_it_cannot_be_written(
    files: list[Path], capsys: pytest.CaptureFixture[str], out: str, says: str
) -> None:
    folder = files[0].parent
    (folder / "below").mkdir()
    (folder / "settings.json").write_text('{"mine": 1}')
    (folder / "broken.json").write_text("{")
    code, told, notes = run(capsys, *files, "-o", folder / out)
    assert (code, told) == (1, "")
    assert says in notes
    assert (folder / "settings.json").read_text() == '{"mine": 1}'
    assert (folder / "broken.json").read_text() == "{"


def test_a_file_that_is_none_is_named(
    files: list[Path], capsys: pytest.CaptureFixture[str]
) -> None:
    files[1].write_text("nothing")
    code, _, notes = run(capsys, *files, "-o", files[0].with_name("train.json"))
    assert code == 1
    assert "train-1.h5 is not an HDF5 file" in notes
    assert not files[0].with_name("train.json").exists()


def test_wrong_usage_is_2(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(["manifest", "a.h5"])
    assert "--out" in capsys.readouterr().err
