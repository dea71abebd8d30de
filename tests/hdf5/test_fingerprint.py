"""A data set is known again by its storage and by some of its rows, at a bounded cost."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from prefetcher.hdf5 import fingerprint as module
from prefetcher.hdf5.fingerprint import Fingerprint, fingerprint, places
from prefetcher.hdf5.sharded import ShardedSource
from prefetcher.hdf5.shards import describe_all

N = 1000
IMAGES = np.random.default_rng(0).integers(0, 256, (N, 4000), np.uint8)
LABELS = np.arange(N) % 10


def write(path: Path, labels: Any = LABELS, images: Any = IMAGES, **how: Any) -> Path:
    with h5py.File(path, "w") as file:
        file.create_dataset("images", data=images, **how)
        file.create_dataset("labels", data=labels, **({"chunks": (100,)} if how else {}))
    return path


def of(*paths: Path) -> Fingerprint:
    return fingerprint(describe_all(paths), ["images", "labels"])


@pytest.mark.parametrize("how", [{}, {"chunks": (50, 4000), "compression": "gzip"}])
def test_a_copy_is_the_same_and_a_changed_label_is_not(tmp_path: Path, how: Any) -> None:
    path = write(tmp_path / "a.h5", **how)
    known = of(path)
    copy = Path(shutil.copy(path, tmp_path / "b.h5"))
    assert of(copy) == known
    for changed in (0, 500, 501, 999):
        with h5py.File(copy, "r+") as file:
            file["labels"][changed] += 1
        assert of(copy).rows != known.rows
        with h5py.File(copy, "r+") as file:
            file["labels"][changed] -= 1
    assert of(copy) == known


def test_most_labels_changed_around_those_that_lie_evenly(tmp_path: Path) -> None:
    """As was accepted once: a file of the same size, with every row changed but eight."""
    kept = np.linspace(0, N - 1, 8, dtype=np.int64)
    labels, images = LABELS + 1, IMAGES + 1
    labels[kept], images[kept] = LABELS[kept], IMAGES[kept]
    known = of(write(tmp_path / "a.h5"))
    assert of(write(tmp_path / "b.h5", labels=labels)).rows != known.rows
    assert of(write(tmp_path / "c.h5", images=images)).rows != known.rows


def test_rows_of_another_size_when_stored_are_seen_without_decoding(tmp_path: Path) -> None:
    """One storage chunk that takes other bytes, wherever it is."""
    how = {"chunks": (50, 4000), "compression": "gzip"}
    known = of(write(tmp_path / "a.h5", **how))
    images = IMAGES.copy()
    images[725:730] = 0
    assert of(write(tmp_path / "b.h5", images=images, **how)).storage != known.storage


def test_the_order_of_files_counts(tmp_path: Path) -> None:
    one, other = write(tmp_path / "a.h5"), write(tmp_path / "b.h5", labels=LABELS[::-1])
    assert of(one, other).rows != of(other, one).rows


@pytest.mark.parametrize("chunks", [None, (10, 4000), (500, 100), (N, 4000)])
def test_what_is_read_is_bounded(
    tmp_path: Path, chunks: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "WHOLE_BYTES", 40_000)
    monkeypatch.setattr(module, "DECODED_BYTES", 400_000)
    monkeypatch.setattr(module, "_PLACE_BYTES", 8_000)
    path = write(tmp_path / "a.h5", **({"chunks": chunks, "compression": "gzip"} if chunks else {}))
    read: list[tuple[int, int]] = []
    real = ShardedSource.read

    def noted(self: ShardedSource, name: str, runs: Sequence[Any], out: Sequence[Any]) -> None:
        read.extend(runs if name == "images" else [])
        real(self, name, runs, out)

    monkeypatch.setattr(ShardedSource, "read", noted)
    of(path)
    rows = chunks[0] if chunks else 1
    assert len(read) >= 8
    assert len(read) * rows * 4000 <= max(400_000, 8 * rows * 4000)
    assert max(stop - start for start, stop in read) * 4000 <= 40_000


@pytest.mark.parametrize("chunks", [None, (8, 100)])
def test_places_are_all_over_and_always_the_same(tmp_path: Path, chunks: Any) -> None:
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file.create_dataset("x", (10**9, 100), np.uint8, chunks=chunks)
    (shard,) = describe_all(tmp_path / "a.h5").files
    found = places(shard.dataset("x"))
    assert found == places(shard.dataset("x"))
    assert found[0][0] == 0
    assert found[-1][1] == 10**9
    assert {start * 64 // 10**9 for start, _ in found} == set(range(64))
    gaps = {later - earlier for (earlier, _), (later, _) in pairwise(found)}
    assert len(gaps) > 50
    assert all(0 < stop - start <= (8 if chunks else 655) for start, stop in found)
