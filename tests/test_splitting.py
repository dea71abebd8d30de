"""Rows dealt out to training and validation: each once, by class, the same on every machine."""

from __future__ import annotations

import re
from hashlib import sha256
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from conftest import MakeSamples
from helpers.sequences import small
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

import prefetcher
from prefetcher import DatasetError, NoDatasetError, RowsError, SettingsError
from prefetcher.splitting import dealt, folded

N = 1000
SORTED = np.repeat(np.arange(10), N // 10)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    with h5py.File(tmp_path / "sorted.h5", "w") as h5:
        h5["x"], h5["labels"] = np.zeros((N, 2), np.uint8), SORTED
        h5["column"], h5["words"] = SORTED[:, None], np.char.mod("c%d", SORTED).astype("S3")
        h5["deep"] = SORTED[:, None, None, None]
        h5["onehot"], h5["few"] = np.eye(10)[SORTED], np.arange(7)
    return tmp_path / "sorted.h5"


def assert_whole(parts: tuple[NDArray[np.int64], ...], rows: Any) -> None:
    """Each row in one part, ascending int64."""
    for part in parts:
        assert part.dtype == np.int64
        assert (np.diff(part) > 0).all()
    assert sorted(np.concatenate(parts).tolist()) == sorted(rows)


@pytest.mark.parametrize("stratify", ["labels", "column", "deep", "words", SORTED, SORTED.tolist()])
def test_every_class_is_split_alike(file: Path, stratify: Any) -> None:
    train, val = prefetcher.split(file, 0.2, seed=3, x="x", stratify=stratify)
    assert_whole((train, val), range(N))
    assert np.bincount(SORTED[val]).tolist() == [20] * 10


def test_the_rows_are_those_that_a_sequence_takes(samples: MakeSamples) -> None:
    path = samples(90)
    train, val = prefetcher.split(path, 0.3, stratify="label", x="x")
    with small(path, rows=train) as a, small(path, rows=val, shuffle=False) as b:
        trained = [int(i) for x, _ in a for i in x[:, 0]]
        validated = [int(i) for x, _ in b for i in x[:, 0]]
    assert validated == val.tolist()
    assert sorted(trained + validated) == list(range(90))


def test_the_same_seed_gives_the_same_rows_on_every_machine(file: Path) -> None:
    """The digest was taken once: a change of it is a change of everybody's split."""
    train, val = prefetcher.split(file, 0.2, seed=3, stratify="labels")
    assert sha256(val.astype("<i8").tobytes()).hexdigest()[:16] == "334ebe74934b4fd7"
    again = prefetcher.split(file, 0.2, seed=3, stratify=SORTED, x="x")
    assert np.array_equal(again[0], train)
    assert np.array_equal(again[1], val)
    assert not np.array_equal(prefetcher.split(file, 0.2, seed=4, stratify="labels")[1], val)


def test_without_classes_rows_are_drawn_from_everywhere(file: Path) -> None:
    train, val = prefetcher.split(file, 0.25, x="x")
    assert_whole((train, val), range(N))
    assert len(val) == 250
    assert np.histogram(val, 4, (0, N))[0].min() > 40


def test_a_number_of_rows_instead_of_a_share(file: Path) -> None:
    int64: Any = np.int64(30)
    assert len(prefetcher.split(file, 30, x="x")[1]) == 30
    assert len(prefetcher.split(file, int64, x="x")[1]) == 30


def test_rows_that_are_left_are_split_alone(file: Path) -> None:
    """Nested: a test set is put aside, the rest goes into folds."""
    rest, test = prefetcher.split(file, 0.1, stratify="labels")
    for train, val in prefetcher.folds(file, 3, rows=rest, stratify="labels"):
        assert_whole((train, val), rest)
        assert not np.isin(test, train).any()
        assert np.ptp(np.bincount(SORTED[val])) == 0
    inner = prefetcher.split(file, 0.5, rows=(100, 300), stratify="labels")
    assert_whole(inner, range(100, 300))
    assert np.bincount(SORTED[inner[1]]).tolist() == [0, 50, 50]
    assert_whole(prefetcher.split(file, 0.5, rows=np.array([5, 3, 5, 9]), x="x"), [3, 5, 9])


def test_folds_validate_every_row_once(file: Path) -> None:
    pairs = prefetcher.folds(file, 5, seed=1, stratify="labels")
    assert len(pairs) == 5
    assert_whole(tuple(val for _, val in pairs), range(N))
    for train, val in pairs:
        assert_whole((train, val), range(N))
        assert np.bincount(SORTED[val]).tolist() == [20] * 10


CLASSES = st.lists(st.integers(0, 5), min_size=2, max_size=80)


@given(CLASSES, st.floats(0.01, 0.99), st.integers(0, 2**64 - 1))
def test_sizes_are_within_one_sample_of_the_share(
    classes: list[int], share: float, seed: int
) -> None:
    labels, n = np.array(classes), len(classes)
    count = min(max(1, round(share * n)), n - 1)
    val = dealt(labels, count, seed)
    assert val.sum() == count
    for each in np.unique(labels):
        exact = (labels == each).sum() * count / n
        assert abs(val[labels == each].sum() - exact) < 1


@given(CLASSES, st.integers(2, 9), st.integers(0, 2**64 - 1))
def test_folds_are_within_one_sample_of_each_other(classes: list[int], k: int, seed: int) -> None:
    labels = np.array(classes)
    fold = folded(labels, k, seed)
    assert np.ptp(np.bincount(fold, minlength=k)) <= 1
    for each in np.unique(labels):
        assert np.ptp(np.bincount(fold[labels == each], minlength=k)) <= 1


def test_every_row_comes_into_validation_with_some_seed() -> None:
    labels = np.repeat(np.arange(20), 2)
    seen = np.zeros(40, bool)
    for seed in range(100):
        seen |= dealt(labels, 4, seed)
    assert seen.all()


def test_several_files_are_counted_as_one(samples: MakeSamples) -> None:
    files = [samples(30), samples(90)]
    train, val = prefetcher.split(files, 0.5, stratify="label", x="x")
    assert_whole((train, val), range(120))


def test_a_file_that_knows_its_inputs(tmp_path: Path) -> None:
    specs: Any = {"images": ((2,), "u1"), "meta/few": ((), "f4")}
    with prefetcher.HDF5Writer(tmp_path / "data.h5", specs, x="images") as out:
        out.append(images=np.zeros((10, 2)))
        out.append({"meta/few": np.zeros(3)})
    assert_whole(prefetcher.split(tmp_path / "data.h5"), range(10))


@pytest.mark.parametrize(
    ("arguments", "error", "says"),
    [
        ((0.2, {"x": "few", "stratify": "labels"}), DatasetError, "labels has 1000 rows and few 7"),
        ((0.2, {"x": "imges"}), NoDatasetError, "no dataset 'imges'"),
        ((0.2, {"stratify": "lables"}), NoDatasetError, "did you mean 'labels'?"),
        ((0.2, {"stratify": "onehot"}), SettingsError, "stratify='onehot' has rows of shape (10,)"),
        ((0.2, {"x": "x", "stratify": SORTED[:5]}), SettingsError, "5 labels for the 1000 rows"),
        ((0.2, {"x": "x", "stratify": np.eye(1000)}), SettingsError, "stratify has the shape"),
        ((0.2, {"x": "x", "stratify": [{}] * N}), SettingsError, "numbers or text"),
        ((0.0, {"x": "x"}), SettingsError, "val_size=0.0: write a share between 0 and 1"),
        ((1.0, {"x": "x"}), SettingsError, "val_size=1.0"),
        ((True, {"x": "x"}), SettingsError, "val_size=True"),
        (("0.2", {"x": "x"}), SettingsError, "val_size='0.2'"),
        ((1000, {"x": "x"}), SettingsError, "val_size=1000"),
        ((0.2, {"x": "x", "seed": -1}), SettingsError, "seed=-1"),
        ((0.2, {"x": "x", "allow_external": "no"}), SettingsError, "write True or False"),
        ((0.2, {"x": "x", "rows": (3, 4)}), RowsError, "1 row cannot be split"),
        ((0.2, {"x": "x", "rows": [0, 300]}), SettingsError, "rows=(0, 300)"),
    ],
)
def test_refused(file: Path, arguments: Any, error: type[Exception], says: str) -> None:
    size, more = arguments[0], dict(*arguments[1:])
    with pytest.raises(error, match=re.escape(says)):
        prefetcher.split(file, size, **more)


def test_datasets_of_different_lengths(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "odd.h5", "w") as h5:
        h5["images"], h5["means"], h5["note"] = np.zeros((9, 2)), np.zeros(2), 5
    with pytest.raises(DatasetError, match=r"odd\.h5 have 2 different lengths: name one"):
        prefetcher.split(tmp_path / "odd.h5")
    assert_whole(prefetcher.split(tmp_path / "odd.h5", x="images"), range(9))
    with h5py.File(tmp_path / "odd.h5", "a") as h5:
        del h5["means"]
    assert_whole(prefetcher.split(tmp_path / "odd.h5"), range(9))


@pytest.mark.parametrize("k", [1, 0, N + 1, 2.0, True])
def test_a_number_of_folds_that_cannot_be(file: Path, k: Any) -> None:
    with pytest.raises(SettingsError, match=f"k={k}: write a whole number from 2 to"):
        prefetcher.folds(file, k, x="x")


def test_files_with_different_groups_need_a_name(tmp_path: Path) -> None:
    """The rows of those groups that the first file lacks would be left out in silence."""
    for number in range(2):
        with h5py.File(tmp_path / f"{number}.h5", "w") as file:
            for group in range(1 + number):
                file[f"d/g_{group}/x"] = np.arange(10)
    with pytest.raises(DatasetError, match=r"have different groups: name a dataset with x="):
        prefetcher.split(tmp_path / "?.h5")
    train, val = prefetcher.split(tmp_path / "?.h5", x="d/g_*/x")
    assert len(train) + len(val) == 30


def test_x_is_the_name_of_one_dataset(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["x"] = np.arange(10)
    with pytest.raises(SettingsError, match=r"x=\('x',\): write the name of one dataset"):
        prefetcher.split(tmp_path / "a.h5", x=("x",))  # type: ignore[arg-type]


def test_a_field_of_records_stratifies(tmp_path: Path) -> None:
    events = np.zeros(200, [("px", "f4"), ("of", [("kind", "i4")])])
    events["of"]["kind"] = np.arange(200) % 10 == 0
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["events"] = events
    _, val = prefetcher.split(tmp_path / "a.h5", 0.5, stratify="events[of][kind]")
    assert events["of"]["kind"][val].sum() == 10
    with pytest.raises(DatasetError, match=r"no field 'knd' in events\[of\]"):
        prefetcher.folds(tmp_path / "a.h5", 3, stratify="events[of][knd]")


def test_rows_of_a_split_are_told_from_samples_of_windows(tmp_path: Path) -> None:
    """And what the message says to write works."""
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["x"] = np.arange(100)
    windows = prefetcher.Window("x", 11)
    train, _ = prefetcher.split(tmp_path / "a.h5", 0.5)
    says = (
        r"has samples 0 to 89 .*outside\). rows= counts samples, of which there are 90 in 100 rows"
        r": have split and folds deal out those, with rows=\(0, 90\)"
    )
    with pytest.raises(RowsError, match=says):
        prefetcher.PrefetchSequence(tmp_path / "a.h5", windows, None, rows=train)
    with pytest.raises(RowsError, match=r"it has samples 0 to 90\. rows= counts samples"):
        prefetcher.PrefetchSequence(tmp_path / "a.h5", windows, None, rows=(0, 100))
    with pytest.raises(SettingsError, match="a mask of 90 booleans, one for each of the samples"):
        prefetcher.PrefetchSequence(tmp_path / "a.h5", windows, None, rows=np.ones(100, bool))
    train, val = prefetcher.split(tmp_path / "a.h5", 0.5, rows=(0, 90))
    for rows in (train, val):
        with prefetcher.PrefetchSequence(tmp_path / "a.h5", windows, None, rows=rows) as part:
            assert sorted(np.concatenate([x[:, 0] for (x,) in part])) == rows.tolist()
