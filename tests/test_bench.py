"""The bench: every way reads every row of every file, and a way that does not is found out."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bench import __main__ as bench
from bench.files import kinds, make, numbers_in
from bench.rounds import Plan, Run, measure, ratio
from bench.ways import Count, article
from prefetcher.cli import roads


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("bench")


def run(folder: Path, *words: str) -> int:
    few = ["--samples=136", "--chunk-size=64", "--rounds=1", f"--dir={folder}"]
    return bench.main([*few, f"--out={folder / 'results'}", *words])


def test_every_way_reads_every_row_of_every_kind(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(folder, "--json") == 0
    result: dict[str, Any] = json.loads(capsys.readouterr().out)
    assert [row["file"] for row in result["files"]] == [kind.name for kind in kinds()]
    assert all(row["rows_correct"] for row in result["files"])
    contiguous = result["files"][0]
    assert set(contiguous["gb_per_s"]) == {*bench.WAYS, *bench.LIMITS}
    assert contiguous["decoded_bytes"] == 2 * 136 * roads.SIDE**2 * 3
    kept = list((folder / "results").iterdir())
    assert [json.loads(path.read_text()) for path in kept] == [result]


def test_a_way_that_loses_rows_is_found_out(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def lossy(path: Path, chunk_size: int, passes: int) -> Count:
        return article(path, chunk_size, passes - 1)

    monkeypatch.setitem(bench.WAYS, bench.ARTICLE, lossy)
    assert run(folder, "--only=contiguous") == bench.WRONG_ROWS
    out, err = capsys.readouterr()
    assert "contiguous" in out
    assert "lost or doubled in: contiguous" in err


def test_pictures_carry_their_rows_number(tmp_path: Path) -> None:
    pictures = np.zeros((3, 2, 2, 3), np.uint8)
    pictures[:, 0, 0] = [[0, 0, 7], [0, 2, 1], [1, 0, 0]]
    assert numbers_in(pictures).tolist() == [7, 513, 65536]
    assert numbers_in(pictures.astype(np.float32)).tolist() == [7, 513, 65536]


def test_a_cold_reading_gives_the_same_rows(folder: Path) -> None:
    path = make(folder, kinds()[0], 136)
    plan = Plan(rounds=2, passes=1, chunk_size=64, cold=True)
    runs = measure(path, 136, {"article": article}, plan, lambda items, note="": None)
    assert [run.correct for run in runs["article"]] == [True, True]


def test_a_ratio_pairs_runs_of_the_same_round() -> None:
    def runs(*seconds: float) -> list[Run]:
        return [Run(taken, 0.0, 10**9, correct=True) for taken in seconds]

    assert ratio(runs(1, 10, 1), runs(2, 20, 2)) == 2
