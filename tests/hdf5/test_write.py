"""The writer: datasets that grow step by step, and a file that appears only when it is whole."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import h5py
import numpy as np
import pytest
from numpy.typing import NDArray

from prefetcher.hdf5.write import STORAGE_CHUNK_BYTES, write_steps

Step = dict[str, NDArray[np.generic]]

X = np.arange(11 * 6, dtype=np.int16).reshape(11, 2, 3)
Y = np.arange(11, dtype=np.float32)


def steps(*sizes: int) -> Iterator[Step]:
    start = 0
    for size in sizes:
        yield {"x": X[start : start + size], "y": Y[start : start + size]}
        start += size


@pytest.mark.parametrize("sizes", [(11,), (4, 4, 3), (1,) * 11])
def test_any_steps_give_the_same_datasets(tmp_path: Path, sizes: tuple[int, ...]) -> None:
    path = tmp_path / "data.h5"
    assert write_steps(path, steps(*sizes)) == 11
    with h5py.File(path) as file:
        assert np.array_equal(file["x"][:], X)
        assert np.array_equal(file["y"][:], Y)
        assert (file["x"].dtype, file["y"].dtype) == (X.dtype, Y.dtype)
    assert list(tmp_path.iterdir()) == [path]


def test_every_dataset_has_equally_many_rows_to_a_storage_chunk(tmp_path: Path) -> None:
    large = np.zeros((2, STORAGE_CHUNK_BYTES // 10), np.uint8)
    write_steps(tmp_path / "data.h5", [{"large": large, "small": np.zeros(2)}])
    with h5py.File(tmp_path / "data.h5") as file:
        assert file["large"].chunks == (9, large.shape[1])
        assert file["small"].chunks == (9,)


def test_a_failing_step_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "data.h5"
    write_steps(path, steps(11))
    before = path.read_bytes()

    def failing() -> Iterator[Step]:
        yield from steps(4)
        raise ValueError("no more")

    with pytest.raises(ValueError, match="no more"):
        write_steps(path, failing())
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]
