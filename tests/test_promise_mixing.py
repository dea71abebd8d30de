"""A file sorted by class trains as well as a mixed one, however it is stored; or we say so."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from numpy.typing import NDArray

from prefetcher import PrefetchSequence
from prefetcher.cli import main

CLASSES = 10


def write(path: Path, shape: tuple[int, ...], dtype: str, **storage: Any) -> Path:
    """A file sorted by class, with what h5py takes for storage chunks unless told otherwise."""
    with h5py.File(path, "w") as file:
        file.create_dataset("x", data=np.zeros(shape, dtype), **storage)
        file["y"] = np.arange(shape[0]) * CLASSES // shape[0]
    return path


def entropy(batches: list[NDArray[np.int64]]) -> float:
    counts = np.stack([np.bincount(batch, minlength=CLASSES) for batch in batches])
    shares = counts / counts.sum(axis=1, keepdims=True)
    logs = np.log2(shares, where=shares > 0, out=np.zeros_like(shares))
    return float(-(shares * logs).sum(axis=1).mean())


@pytest.mark.parametrize(
    ("shape", "dtype", "storage"),
    [
        pytest.param((100_000, 16), "float32", {"compression": "gzip"}, id="table"),
        pytest.param((50_000, 784), "uint8", {"compression": "gzip"}, id="pictures"),
        pytest.param((100_000, 16), "float32", {"chunks": (100_000, 16)}, id="one storage chunk"),
        pytest.param((20_000, 16), "float32", {}, id="contiguous"),
    ],
)
def test_a_sorted_file_is_mixed_however_it_is_stored(
    tmp_path: Path,
    shape: tuple[int, ...],
    dtype: str,
    storage: dict[str, Any],
) -> None:
    path = write(tmp_path / "sorted.h5", shape, dtype, **storage)
    with PrefetchSequence(path) as train:
        labels = [y for _, y in train]
        assert train.memory_bytes < 400e6
        assert train.plan.mixing > 0.95
    full = np.random.default_rng(0).permutation(np.concatenate(labels))
    best = entropy(np.split(full, np.arange(32, len(full), 32)))
    assert entropy(labels) > 0.95 * best


@pytest.fixture
def heavy(tmp_path: Path) -> Path:
    """Rows of 48 KiB in storage chunks that hold 400 of them: eight to a chunk. Never written."""
    path = tmp_path / "heavy.h5"
    with h5py.File(path, "w") as file:
        file.create_dataset("x", (12_800, 128, 128, 3), "uint8", chunks=(400, 8, 8, 3))
        file["y"] = np.arange(12_800) * CLASSES // 12_800
    return path


def test_where_memory_does_not_reach_it_is_said(heavy: Path) -> None:
    with pytest.warns(UserWarning, match="shuffled less") as caught:
        train = PrefetchSequence(heavy)
    with train:
        assert train.plan.mixing < 0.9
    (told,) = (str(each.message) for each in caught)
    repacked = heavy.with_name("heavy-repacked.h5")
    assert "no more blocks than 8, of 400 neighbouring rows" in told
    assert f"keep {100 * train.plan.mixing:.0f} % of the label entropy" in told
    assert f"`prefetcher convert {heavy} {repacked} --x x --y y`" in told


@pytest.mark.parametrize("how", [{"shuffle": False}, {"block_size": 3200}, {"chunk_size": 12_800}])
def test_nothing_is_said_where_the_order_was_asked_for(heavy: Path, how: dict[str, Any]) -> None:
    """A warning would be an error here."""
    PrefetchSequence(heavy, **how).close()


def test_inspect_says_it_too(heavy: Path, capsys: pytest.CaptureFixture[str]) -> None:
    repacked = heavy.with_name("heavy-repacked.h5")
    assert main(["inspect", str(heavy)]) == 0
    assert f"`prefetcher convert {heavy} {repacked} --x x --y y`" in capsys.readouterr().out
