"""Which rows of several datasets belong together, however their files are cut."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
import pytest

from prefetcher.errors import DatasetError
from prefetcher.hdf5.shards import Shards, describe_all
from prefetcher.pieces import rows_together


def keyed(folder: Path, **rows: list[int]) -> Shards:
    """Files of a dataset "a" with these numbers of rows, for each key."""
    found = {}
    for key, counts in rows.items():
        found[key] = [folder / f"{key}{number}.h5" for number in range(len(counts))]
        for path, count in zip(found[key], counts, strict=True):
            with h5py.File(path, "w") as file:
                file["a"] = np.arange(count)
    return describe_all(found)


def test_files_are_cut_where_any_of_them_ends(tmp_path: Path) -> None:
    shards = keyed(tmp_path, x=[7, 1, 12], y=[20], z=[10, 10])
    found = rows_together(shards, {"x:a": 1, "y:a": 1, "z:a": 1})
    assert found == {name: [7, 1, 2, 10] for name in ("x:a", "y:a", "z:a")}


def test_strides_are_counted_in_samples(tmp_path: Path) -> None:
    """A file's last sample may lack rows."""
    shards = keyed(tmp_path, x=[42, 38], y=[5, 16])
    assert rows_together(shards, {"x:a": 4, "y:a": 1}) == {"x:a": [20, 22, 38], "y:a": [5, 6, 10]}


def test_rows_that_no_sample_needs_stay_in_their_file(tmp_path: Path) -> None:
    """42 frames and 10 labels in each file of x: the last two frames belong to no sample."""
    keyed(tmp_path, x=[42, 42], y=[20])
    for number in range(2):
        with h5py.File(tmp_path / f"x{number}.h5", "a") as file:
            file["b"] = np.arange(10)
    shards = describe_all({key: [str(tmp_path / f"{key}*.h5")] for key in ("x", "y")})
    found = rows_together(shards, {"x:a": 4, "x:b": 1, "y:a": 1})
    assert found == {"x:a": [42, 42], "x:b": [10, 10], "y:a": [10, 10]}


def test_files_that_fit_pairwise_stay_whole(tmp_path: Path) -> None:
    """Nobody knows whether the label of the last two rows of 42 was left out: both are right."""
    shards = keyed(tmp_path, x=[42, 38], y=[10, 10])
    assert rows_together(shards, {"x:a": 4, "y:a": 1}) == {"x:a": [42, 38], "y:a": [10, 10]}


@pytest.mark.parametrize(
    ("y", "message"),
    [
        ([19], "have x:a 20 rows, y:a 19 rows, which make 20, 19 samples"),
        ([13, 7], r"files of x have 7, 13 rows, and those of y the same numbers in another order"),
    ],
)
def test_what_cannot_belong_together_is_refused(tmp_path: Path, y: list[int], message: str) -> None:
    with pytest.raises(DatasetError, match=message):
        rows_together(keyed(tmp_path, x=[7, 13], y=y), {"x:a": 1, "y:a": 1})
