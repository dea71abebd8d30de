"""A range of rows out of a file that is sorted by class: a warning, and none without reason."""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import ArrayLike

import prefetcher
from prefetcher import PrefetchSequence, balance
from prefetcher.hdf5.sharded import ShardedSource

N = 1000
SORTED = np.repeat(np.arange(10), N // 10)

Make = Callable[..., Path]


@pytest.fixture
def make(tmp_path: Path) -> Make:
    """Writes a file of such labels."""

    def write(labels: ArrayLike, **storage: Any) -> Path:
        with h5py.File(tmp_path / "data.h5", "w") as file:
            file.create_dataset("labels", data=labels, **storage)
            file["x"] = np.zeros((len(file["labels"]), 2), np.uint8)
        return tmp_path / "data.h5"

    return write


def told(file: Any, rows: Any, **settings: Any) -> list[str]:
    """The warnings at construction."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        PrefetchSequence(file, "x", **{"y": "labels", "rows": rows, **settings}).close()
    return [str(each.message) for each in caught]


@pytest.mark.parametrize(
    ("rows", "says"),
    [
        ((0, 800), "shows, classes 8, 9 are only in the rows that are left out"),
        ((800, 1000), "classes 0, 1, 2, 3 and 4 others are only in the rows that are left out"),
        (slice(None, 950), "classes 0, 2, 4, 6, 7 are only in these rows"),
        (range(100, 900), "classes 0, 9 are only in the rows that are left out"),
        (np.arange(800), "classes 8, 9 are only"),
    ],
)
def test_a_sorted_file_is_told_once_with_the_remedy(make: Make, rows: Any, says: str) -> None:
    file = make(SORTED)
    (text,) = told(file, rows)
    assert says in text
    assert f"prefetcher.split({str(file)!r}, 0.2, stratify='labels')" in text


def test_the_warning_points_at_the_line_that_made_the_sequence(make: Make) -> None:
    with pytest.warns(UserWarning, match=re.escape("rows=(0, 800) of data.h5")) as caught:
        PrefetchSequence(make(SORTED), "x", "labels", rows=(0, 800))
    assert caught[0].filename == __file__


def test_the_remedy_is_one(make: Make) -> None:
    file = make(SORTED)
    for rows in prefetcher.split(file, 0.2, stratify="labels"):
        assert not told(file, rows)


@pytest.mark.parametrize(
    "labels",
    [
        SORTED[::-1],
        SORTED[:, None],
        np.repeat([3, 1, 2], N // 3),
        SORTED.astype(">u2"),
        SORTED > 4,
        [0] * 990 + [1] * 10,
    ],
    ids=["falling", "column", "any order", "big-endian", "booleans", "few"],
)
def test_sorted_in_any_way(make: Make, labels: ArrayLike) -> None:
    assert len(told(make(labels), (0, 800))) == 1


@pytest.mark.parametrize(
    ("labels", "rows"),
    [
        pytest.param(SORTED, None, id="all rows"),
        pytest.param(SORTED, slice(None, None, 2), id="every second"),
        pytest.param(SORTED, (0, 990), id="less than a batch left out"),
        pytest.param(SORTED, np.arange(N) % 5 > 0, id="a mask of no range"),
        pytest.param(np.arange(N) % 10, (0, 800), id="mixed"),
        pytest.param(np.arange(N), (0, 800), id="numbers of their own"),
        pytest.param(SORTED / 2, (0, 800), id="no classes"),
        pytest.param(np.zeros(N, int), (0, 800), id="one class"),
        pytest.param(np.repeat([0, 1], N // 2), (300, 700), id="both on both sides"),
        pytest.param(np.eye(10, dtype=int)[SORTED], (0, 800), id="one-hot"),
        pytest.param(np.tile(SORTED[::10], 10), (0, 800), id="sorted within parts"),
    ],
)
def test_no_warning_without_reason(make: Make, labels: ArrayLike, rows: Any) -> None:
    assert not told(make(labels), rows)


@given(st.integers(0, 2**32 - 1), st.integers(2, 1000), st.floats(0.0, 4.0))
def test_shuffled_labels_never_look_sorted(seed: int, classes: int, skew: float) -> None:
    """Also with rare classes, of which a sample holds one or two."""
    rng = np.random.default_rng(seed)
    weights = np.arange(1, classes + 1) ** -skew
    labels = rng.choice(classes, 20_000, p=weights / weights.sum())
    rows = balance._places(range(16_000), len(labels))
    assert len(rows) <= 320
    assert not balance._sorted(labels[rows])


def test_one_label_at_an_end_is_chance() -> None:
    assert not balance._sorted(np.array([0] * 319 + [1]))
    assert balance._sorted(np.array([0] * 318 + [1] * 2))
    assert balance._sorted(np.array([0] * 200 + [2] * 119 + [1]))


def test_several_names_and_none_are_not_looked_at(make: Make) -> None:
    file = make(SORTED)
    assert not told(file, (0, 800), y=None)
    assert not told(file, (0, 800), y=("labels", "labels"))


def test_what_is_dear_to_read_is_not_looked_at(make: Make) -> None:
    labels = np.repeat(np.arange(10), 30_000)
    cheap = make(labels, chunks=(100_000,), compression="gzip")
    assert len(told(cheap, (0, 240_000))) == 1
    assert not told(make(labels, chunks=(300_000,), compression="gzip"), (0, 240_000))


def test_ten_reads_at_most(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    runs: list[Any] = []
    read = ShardedSource.read

    def counted(self: ShardedSource, name: str, asked: Any, out: Any) -> None:
        runs.extend(asked)
        read(self, name, asked, out)

    monkeypatch.setattr(ShardedSource, "read", counted)
    assert told(make(np.repeat(np.arange(10), 30_000)), (100, 240_000))
    assert len(runs) <= 11  # one place may lie on both sides of the range
    assert sum(stop - start for start, stop in runs) <= 320


def test_labels_that_cannot_be_read_are_left_to_training(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: Any) -> None:
        raise prefetcher.ReadError("EIO")

    monkeypatch.setattr(ShardedSource, "read", broken)
    assert not told(make(SORTED), (0, 800))


def test_several_files_are_one(make: Make, tmp_path: Path) -> None:
    first = make(SORTED[:500]).rename(tmp_path / "a.h5")
    second = make(SORTED[500:]).rename(tmp_path / "b.h5")
    (text,) = told([first, second], (0, 500))
    assert "rows=(0, 500) of a.h5 and 1 more" in text
    assert f"prefetcher.split([{str(first)!r}, {str(second)!r}], 0.2" in text


def test_very_many_files_are_plainly_a_placeholder(make: Make, tmp_path: Path) -> None:
    files = [
        make(SORTED[number * 100 :][:100]).rename(tmp_path / f"{number}.h5") for number in range(10)
    ]
    (text,) = told(files, (0, 500))
    assert "prefetcher.split(<the same 10 files>, 0.2" in text


def test_one_class_is_one(make: Make) -> None:
    (text,) = told(make(SORTED > 4), (0, 500))
    assert "shows, class True is only in the rows that are left out." in text


@pytest.mark.parametrize(("each", "warns"), [(100, False), (1000, True)])
def test_sorted_numbers_with_fewer_rows_each_than_there_are_of_them_are_no_classes(
    make: Make, each: int, warns: bool
) -> None:
    """Sessions, and frames of them; a data set of 150 classes has more of each."""
    labels = np.arange(150 * each) // each
    assert bool(told(make(labels), (0, 100 * each))) == warns


def test_few_classes_may_have_any_numbers(make: Make) -> None:
    assert told(make(np.repeat([7, 5_000, 2**40], N // 3)), (0, 600))
