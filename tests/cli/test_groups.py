"""Groups that are alike are shown and proposed as one."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
import pytest

import prefetcher
from prefetcher.cli import main
from prefetcher.cli.groups import as_patterns
from prefetcher.hdf5.describe import describe


@pytest.fixture
def demos(tmp_path: Path) -> Path:
    path = tmp_path / "demos.h5"
    with h5py.File(path, "w") as file:
        for number in (1, 2, 10):
            pictures = np.zeros((4 + number, 8, 8, 3), "u1")
            file[f"data/demo_{number}/obs/image"] = pictures
            file[f"data/demo_{number}/actions"] = np.zeros((4 + number, 7), "f4")
        file["mask/train"] = np.array([b"demo_1"])
    return path


def shown(path: Path) -> dict[str, tuple[int, ...]]:
    return {each.name: each.shape for each in as_patterns(describe(path).datasets)}


def test_numbered_groups_are_one(demos: Path) -> None:
    assert shown(demos) == {
        "data/demo_*/actions": (25, 7),
        "data/demo_*/obs/image": (25, 8, 8, 3),
        "mask/train": (1,),
    }


def test_rows_of_another_kind_stay_on_their_own(demos: Path) -> None:
    with h5py.File(demos, "a") as file:
        del file["data/demo_2/actions"]
        file["data/demo_2/actions"] = np.zeros((6, 3), "f4")
    assert set(shown(demos)) >= {f"data/demo_{number}/actions" for number in (1, 2, 10)}


def test_a_pattern_that_stands_for_more_is_not_used(demos: Path) -> None:
    with h5py.File(demos, "a") as file:
        file["data/demo_last/actions"] = np.zeros((6, 7), "f4")
    assert "data/demo_*/actions" not in shown(demos)
    assert "data/demo_*/obs/image" in shown(demos)


def test_a_single_group_and_numbered_datasets_are_left(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["run1/x"], file["x1"], file["x2"] = np.zeros(3), np.zeros(3), np.zeros(3)
    assert set(shown(tmp_path / "a.h5")) == {"run1/x", "x1", "x2"}


def test_inspect_proposes_a_line_that_works(
    demos: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["inspect", str(demos)]) == 0
    told = capsys.readouterr().out
    assert "demo_10" not in told
    line = told.strip().splitlines()[-1]
    assert "x='data/demo_*/obs/image', y='data/demo_*/actions'" in line
    with eval(line, {"prefetcher": prefetcher}) as train:
        assert [array.shape for array in train[0]] == [(25, 8, 8, 3), (25, 7)]
