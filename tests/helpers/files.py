"""HDF5 files in which every sample carries its own number (its id), small and written once."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

WIDTH = 4
"""Columns of `x`: all hold the sample's id, so a row glued from two samples shows."""

CLASSES = 3

STORAGES: Mapping[str, Mapping[str, Any]] = {
    "contiguous": {},
    "chunked": {"chunks": (8, WIDTH)},
    "split": {"chunks": (8, 2), "compression": "gzip"},
    "gzip": {"chunks": (8, WIDTH), "compression": "gzip", "shuffle": True, "fletcher32": True},
    "scaleoffset": {"chunks": (8, WIDTH), "scaleoffset": 0},
}
"""Ways to store `x`, one for each way of reading it."""


def ids_of(x: NDArray[np.generic]) -> list[int]:
    """The ids in a batch of `x`, in its order; fails on a row that mixes samples."""
    whole = (x == x[:, :1]).all(axis=1)
    assert whole.all(), f"rows mixed from several samples: {x[~whole]}"
    return [int(i) for i in x[:, 0]]


def write_samples(path: Path, n: int, storage: str = "contiguous") -> Path:
    """Writes `n` samples to `path`.

    Datasets: `x` (n, WIDTH) and `y` (n, 1) hold the id, `other` (n, 2) and `half` (n, 1) the
    id + 0.5, `double` (n, 1) twice the id, `weight` (n,) the id + 1 and `label` (n,) the id
    modulo CLASSES.
    """
    ids = np.arange(n, dtype=np.float32)
    kind = np.int32 if storage == "scaleoffset" else np.float32
    with h5py.File(path, "w") as file:
        file.create_dataset("x", data=_columns(ids, WIDTH).astype(kind), **STORAGES[storage])
        file["y"] = _columns(ids, 1)
        file["other"] = _columns(ids + 0.5, 2)
        file["half"] = _columns(ids + 0.5, 1)
        file["double"] = _columns(ids * 2, 1)
        file["weight"] = ids + 1
        file["label"] = np.arange(n, dtype=np.int32) % CLASSES
    return path


def _columns(values: NDArray[np.float32], width: int) -> NDArray[np.float32]:
    return np.repeat(values[:, None], width, axis=1)
