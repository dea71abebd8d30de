"""One value for each row of a dataset, read slab by slab."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from helpers.files import STORAGES, write_samples

from prefetcher.hdf5.shards import describe_all
from prefetcher.labels import each_row, single


@pytest.mark.parametrize("at_once", [1, 40, 1 << 20])
@pytest.mark.parametrize("storage", STORAGES)
def test_every_row_is_read_whatever_the_slabs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, storage: str, at_once: int
) -> None:
    monkeypatch.setattr("prefetcher.labels._BYTES_AT_ONCE", at_once)
    paths = [write_samples(tmp_path / f"{part}.h5", 33, storage) for part in "ab"]
    shards = describe_all([str(path) for path in paths])
    twice = np.tile(np.arange(33), 2)
    sums = each_row(shards, "x", np.int64, lambda rows: rows.sum(axis=1))
    assert sums.tolist() == (4 * twice).tolist()
    assert each_row(shards, "y", np.float32, single).tolist() == twice.tolist()
    assert each_row(shards, "label", np.int32, single).tolist() == (twice % 33 % 3).tolist()
