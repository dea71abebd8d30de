"""Names that are left out, misspelled, or stand in a split of the file."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import h5py
import keras
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
        ({"split": "validation"}, "did you mean 'val'?"),
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


@pytest.fixture
def linked(tmp_path: Path, plain: Path) -> Path:
    """A file with other names for its groups."""
    with h5py.File(plain, "r+") as file:
        file["link/to"] = h5py.SoftLink("/a")
        file["again"] = file["a"]
        file["out"] = h5py.ExternalLink("other.h5", "/")
    return plain


@pytest.mark.parametrize(("x", "y"), [("link/to/x", "again/y"), ("/a//x", "./link/./to/y/")])
def test_a_name_may_lead_through_links(linked: Path, x: str, y: str) -> None:
    with PrefetchSequence(linked, {"in": x}, y, shuffle=False, batch_size=20) as sequence:
        inputs, targets = sequence[0]
    assert np.array_equal(inputs["in"], X)
    assert np.array_equal(targets, Y)


def test_rows_of_several_files_may_lie_behind_links(linked: Path, tmp_path: Path) -> None:
    with h5py.File(tmp_path / "second.h5", "w") as file:
        file["link/to/x"], file["again/y"] = X + 100, Y + 100
    files = [linked, tmp_path / "second.h5"]
    with PrefetchSequence(files, "link/to/x", "again/y", shuffle=False, batch_size=40) as sequence:
        inputs, targets = sequence[0]
    assert np.array_equal(inputs, np.concatenate([X, X + 100]))
    assert np.array_equal(targets, np.concatenate([Y, Y + 100]))


def test_a_split_may_be_a_link(linked: Path) -> None:
    assert parts(linked, split="link/to") == ("link/to/x", "link/to/y", None)
    with pytest.raises(prefetcher.UnsafeFileError, match=r"out is a link to / in other.h5"):
        PrefetchSequence(linked, split="out")


def test_splitting_takes_such_names(linked: Path) -> None:
    train, val = prefetcher.split(linked, 0.5, x="/link//to/x", stratify="again//y")
    assert sorted([*train, *val]) == list(range(20))


def test_a_name_of_what_cannot_be_used_says_which_parameter(linked: Path) -> None:
    with pytest.raises(prefetcher.UnsafeFileError, match=r"^y='out/y': plain.h5 points outside"):
        PrefetchSequence(linked, "a/x", "out/y")
    with pytest.raises(
        NoDatasetError, match=r"^x='again': 'again' in plain.h5 is a group of again"
    ):
        PrefetchSequence(linked, "again", None)


REFUSED = {
    "text": np.array([b"a", b"bc"] * 10),
    "records": np.zeros(20, [("a", "f4")]),
    "bytes without a meaning": np.zeros(20, "V3"),
    "numbers of more than 64 bits": np.zeros(20, np.longdouble),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_what_keras_takes_on_no_backend_needs_a_transform(plain: Path, kind: str) -> None:
    values = REFUSED[kind]
    with h5py.File(plain, "r+") as file:
        file["odd"] = values
    for x, y, part in (("odd", None, "x"), ("images", "odd", "y")):
        says = rf"^{part}='odd': odd .* in plain.h5 holds {kind}, .* pass a transform that returns"
        with pytest.raises(prefetcher.DatasetError, match=says):
            PrefetchSequence(plain, x, y)

    def numbers(x: Any, y: Any) -> Any:
        assert np.array_equal(y, values)
        return x, np.ones(len(y))

    with PrefetchSequence(
        plain, "images", "odd", transform=numbers, shuffle=False, batch_size=20
    ) as sequence:
        assert sequence[0][1].sum() == 20


@pytest.mark.parametrize("kind", ["?", "u1", ">i2", "u4", "i8", "f2", ">f4", "f8"])
def test_numbers_need_none(plain: Path, kind: str) -> None:
    """Which every backend trains on."""
    with h5py.File(plain, "r+") as file:
        file["numbers"] = X.astype(kind)
    with PrefetchSequence(plain, "numbers", "labels") as sequence:
        model = keras.Sequential([keras.layers.Dense(1)])
        model.compile("sgd", "mse")
        model.fit(sequence, verbose=0)


def test_uint64_is_refused_where_keras_has_none(plain: Path) -> None:
    with h5py.File(plain, "r+") as file:
        file["big"] = X.astype(">u8")
    if keras.backend.backend() == "torch":
        with pytest.raises(prefetcher.DatasetError, match=r"big .*uint64.* every backend but PyT"):
            PrefetchSequence(plain, "big", "labels")
    refused = keras.backend.backend() == "torch"
    small = (lambda x, y: (x.astype(np.float32), y)) if refused else None
    with PrefetchSequence(plain, "big", "labels", transform=small) as sequence:
        model = keras.Sequential([keras.layers.Dense(1)])
        model.compile("sgd", "mse")
        model.fit(sequence, verbose=0)
