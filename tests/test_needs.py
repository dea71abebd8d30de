"""Which samples a data set has, for every kind of column."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from prefetcher.columns.column import Column
from prefetcher.columns.rows import Row, Window
from prefetcher.errors import DatasetError, SettingsError
from prefetcher.hdf5.shards import describe_all
from prefetcher.needs import needs_of


def files(folder: Path, *lengths: dict[str, int]) -> list[Path]:
    paths = []
    for number, rows in enumerate(lengths):
        paths.append(folder / f"{number}.h5")
        with h5py.File(paths[-1], "w") as file:
            for name, count in rows.items():
                file[name] = np.arange(count)
    return paths


def samples(paths: list[Path], *columns: Column) -> list[list[int]]:
    """The row at which each sample stands in each dataset, counted over all files."""
    needs, count = needs_of(describe_all(paths), [column.view for column in columns])
    return [need.rows.rows(np.arange(count)).tolist() for need in needs]


def test_samples_whose_rows_are_not_all_there_do_not_exist(tmp_path: Path) -> None:
    paths = files(tmp_path, {"a": 6}, {"a": 2}, {"a": 5})
    assert samples(paths, Window("a", 3)) == [[0, 1, 2, 3, 8, 9, 10]]
    assert samples(paths, Window("a", 3), Row("a", ahead=4)) == [[0, 1, 8]]
    assert samples(paths, Row("a", ahead=-2)) == [[2, 3, 4, 5, 10, 11, 12]]
    assert samples(paths, Window("a", 2, stride=2)) == [[0, 2, 4, 6, 8, 10]]
    assert samples(paths, Window("a", 3, stride=2, ahead=-3), Row("a", stride=2)) == [[4, 12]]


def test_a_column_that_pads_has_a_sample_at_each_row(tmp_path: Path) -> None:
    paths = files(tmp_path, {"a": 3}, {"a": 1})
    assert samples(paths, Window("a", 5, ahead=-4, pad="edge")) == [[0, 1, 2, 3]]
    padded = Window("a", 2, stride=2, pad="edge")
    assert samples(paths, padded) == [[0, 2, 3]]


def test_a_label_for_each_window(tmp_path: Path) -> None:
    paths = files(tmp_path, {"signal": 1005, "label": 10}, {"signal": 200, "label": 2})
    signal, label = samples(paths, Window("signal", 100, stride=100), Row("label"))
    assert signal == [*range(0, 1000, 100), 1005, 1105]
    assert label == list(range(12))


@pytest.mark.parametrize(
    ("rows", "columns", "message"),
    [
        ({"a": 5, "b": 4}, [Row("a"), Row("b")], "a 5 rows, b 4 rows.*as many rows each"),
        (
            {"a": 100, "b": 12},
            [Window("a", 10, stride=10), Row("b")],
            "make 12 of stride 1 and 10 of stride 10|make 12 of stride 1, 10 of stride 10",
        ),
        ({"a": 3}, [Window("a", 4)], "has no sample: one needs 4 rows of a"),
        ({"a": 0}, [Row("a")], "nothing to batch"),
    ],
)
def test_datasets_that_do_not_fit_are_refused(
    tmp_path: Path, rows: dict[str, int], columns: list[Any], message: str
) -> None:
    with pytest.raises(DatasetError, match=message):
        samples(files(tmp_path, rows), *columns)


def test_two_strides_of_one_dataset_are_refused(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="a has columns of stride 1 and of stride 3"):
        samples(files(tmp_path, {"a": 9}), Row("a"), Window("a", 2, stride=3))


def test_windows_that_no_group_can_fill_are_told_of_groups(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "a.h5", "w") as file:
        for number in range(3):
            file[f"run_{number}/x"] = np.zeros((5, 2))
    for name, place in (("run_*/x", "group"), ("run_0/x", "file")):
        with pytest.raises(DatasetError, match=f"one needs 6 rows of .*, and no {place} has so"):
            samples([tmp_path / "a.h5"], Window(name, 6))
