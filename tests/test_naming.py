"""Names that are left out, misspelled, or stand in a split of the file."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

import prefetcher
from prefetcher import NoDatasetError, PrefetchSequence, SettingsError

X = np.arange(40, dtype=np.float32).reshape(20, 2)
Y = np.arange(20, dtype=np.int64)


@pytest.fixture
def split(tmp_path: Path) -> Path:
    """A file that `convert` has split."""
    out = tmp_path / "split.h5"
    prefetcher.convert({"images": X, "labels": Y}, out, split={"train": 0.75, "val": 0.25})
    return out


@pytest.fixture
def plain(tmp_path: Path) -> Path:
    """A file of somebody else."""
    with h5py.File(tmp_path / "plain.h5", "w") as file:
        file["images"], file["labels"], file["weights"] = X, Y, Y
        file["a/x"], file["a/y"] = X, Y
        file["a/deep/left"] = file["a/deep/right"] = X
    return tmp_path / "plain.h5"


def parts(*arguments: Any, **settings: Any) -> tuple[Any, Any, Any]:
    with PrefetchSequence(*arguments, **settings) as sequence:
        used = sequence._feed.settings
        return used.x, used.y, used.sample_weight


def test_a_split_stands_for_the_names_that_it_says(split: Path) -> None:
    assert parts(split, split="train") == ("train/images", "train/labels", None)
    assert parts(split, split="/val/") == ("val/images", "val/labels", None)
    assert parts(split, split="val", y=None) == ("val/images", None, None)
    assert parts(split, "labels", None, split="val") == ("val/labels", None, None)
    with PrefetchSequence(split, split="val", shuffle=False) as val, h5py.File(split) as file:
        (x, y), *others = val
        assert not others
        assert np.array_equal(x, file["val/images"])
        assert np.array_equal(y, file["val/labels"])


def test_a_file_that_says_that_it_has_no_targets_needs_no_names(tmp_path: Path) -> None:
    prefetcher.convert(iter(X), tmp_path / "inputs.h5")
    assert parts(tmp_path / "inputs.h5") == ("x", None, None)


def test_a_split_is_any_group(plain: Path) -> None:
    assert parts(plain, split="a") == ("a/x", "a/y", None)
    names = {"l": "left", "r": ("right", "left")}
    assert parts(plain, names, "right", "left", split="a/deep") == (
        {"l": "a/deep/left", "r": ("a/deep/right", "a/deep/left")},
        "a/deep/right",
        "a/deep/left",
    )


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({"split": "trian"}, "split='trian': no group 'trian' in split.h5; it has val, train"),
        ({"split": "trian"}, "did you mean 'train'?"),
        ({"split": "train", "y": "lables"}, "y='train/lables': no dataset 'train/lables'"),
        ({"split": "train", "y": "lables"}, "did you mean 'train/labels'?"),
        ({}, "x='x': no dataset 'x' in split.h5, which is split into train, val"),
        ({}, "write split='train'"),
        ({"x": "images", "y": None}, "x='images': no dataset 'images' in split.h5, which is split"),
        ({"x": "train"}, "'train' in split.h5 is a group of train/images float32 (15, 2), train/l"),
    ],
)
def test_a_wrong_name_in_a_split_file(split: Path, arguments: dict[str, Any], says: str) -> None:
    with pytest.raises(NoDatasetError, match=re.escape(says)):
        PrefetchSequence(split, **arguments)


@pytest.mark.parametrize(
    ("arguments", "parameter", "near"),
    [
        ({"x": "imges", "y": "labels"}, "x='imges'", "images"),
        ({"x": ("images", "imges"), "y": "labels"}, "x='imges'", "images"),
        ({"x": "images", "y": "lables"}, "y='lables'", "labels"),
        ({"x": "images", "y": "labels", "sample_weight": "weihgts"}, "sample_weight=", "weights"),
    ],
)
def test_the_parameter_and_the_nearest_name_are_told(
    plain: Path, arguments: dict[str, Any], parameter: str, near: str
) -> None:
    with pytest.raises(NoDatasetError, match=re.escape(f"did you mean '{near}'?")) as told:
        PrefetchSequence(plain, **arguments)
    assert str(told.value).startswith(parameter)
    assert "split=" not in str(told.value)


@pytest.mark.parametrize("split", ["", 5, ("train",), "/"])
def test_a_split_is_a_name(plain: Path, split: Any) -> None:
    with pytest.raises(SettingsError, match=r"split=.*: write the name of a group of the file"):
        PrefetchSequence(plain, split=split)
