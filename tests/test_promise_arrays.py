"""Arrays in memory as parts of batches: what is done to them outside changes nothing within."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from helpers.sequences import small
from numpy.typing import NDArray

import prefetcher
from prefetcher import PrefetchSequence
from prefetcher.errors import SettingsError

N = 200


@pytest.fixture
def path(tmp_path: Path) -> Path:
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["x"] = np.arange(N)
    return tmp_path / "a.h5"


@pytest.mark.parametrize("of", [lambda array: array, lambda array: array[:], np.asfortranarray])
def test_an_array_that_changes_changes_no_batch(
    path: Path, of: Callable[[NDArray[Any]], NDArray[Any]]
) -> None:
    array = np.arange(2 * N).reshape(N, 2)
    with small(path, "x", of(array), seed=3) as train:
        before = [y.copy() for _, y in train]
        state = train.state_dict(1)
        array[:] = -1
        after = [y for _, y in train]
    assert all((y >= 0).all() for y in after)
    assert sorted(map(tuple, np.concatenate(after))) == sorted(map(tuple, np.concatenate(before)))
    with small(path, "x", np.arange(2 * N).reshape(N, 2), seed=3) as again:
        again.load_state_dict(state)
        assert (next(iter(again))[1] == before[1]).all(), "it is known by what it held"


@pytest.mark.parametrize("shuffle", [True, False])
@pytest.mark.parametrize("rows", [None, (10, 190), slice(None, None, 2)])
def test_no_batch_is_a_view_of_it(path: Path, *, shuffle: bool, rows: Any) -> None:
    array = np.arange(N)
    array.flags.writeable = False
    with small(path, "x", array, shuffle=shuffle, rows=rows) as train:
        for x, y in train:
            assert not np.shares_memory(y, array)
            y[:] = -1
            assert (x >= 0).all()
        for x, y in train:
            assert (x == y).all()


def test_its_copy_is_counted(path: Path, tmp_path: Path) -> None:
    much = np.zeros((N, 1001))
    np.save(tmp_path / "much.npy", much)
    mapped = np.load(tmp_path / "much.npy", mmap_mode="r")
    with small(path, "x", much) as copied, small(path, "x", mapped) as not_copied:
        assert copied.memory_bytes - not_copied.memory_bytes == much.nbytes
    with small(path, "x", mapped[:9], rows=(3, 12)) as some, small(path, "x", mapped) as every:
        spread = len(mapped) * mapped[0].nbytes  # by the number of the sample
        assert some.memory_bytes - every.memory_bytes <= spread


def masked(masks: int) -> Any:
    return np.ma.array(np.arange(N), mask=np.arange(N) < masks)


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"y": masked(3)}, r"y is a masked array, and 3 of its 200 values are .*filled\(value\)"),
        ({"x": masked(3), "y": "x"}, "x is a masked array, and 3 of its 200"),
        ({"sample_weight": masked(3)}, "sample_weight is a masked array"),
        ({"weights": masked(3)}, r"weights is a masked array, .*filled\(0\)"),
        ({"rows": masked(3)}, r"rows is a masked array, .*compressed\(\)"),
        ({"rows": masked(3) >= 0}, r"rows is a masked array, .*filled\(False\)"),
    ],
)
def test_a_mask_is_not_lost_in_silence(path: Path, settings: dict[str, Any], says: str) -> None:
    with pytest.raises(SettingsError, match=says):
        PrefetchSequence(path, **{"x": "x", "y": "x", **settings})


def test_a_mask_is_not_lost_in_a_split(path: Path) -> None:
    with pytest.raises(SettingsError, match=r"stratify is a masked array, .*filled\(value\)"):
        prefetcher.split(path, stratify=masked(3))


def test_nothing_is_lost_where_nothing_is_masked(path: Path) -> None:
    """As netCDF4 gives masked arrays of whatever it reads."""
    with small(path, "x", masked(0)) as train:
        assert all((x == y).all() for x, y in train)
