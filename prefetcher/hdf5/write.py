"""Rows into a new HDF5 file, a step at a time, so that memory does not depend on its size."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

import h5py
import numpy as np
from numpy.typing import NDArray

STORAGE_CHUNK_BYTES = 1 << 20
"""About 1 MiB to a storage chunk: from there on, a random read costs what a sequential one does."""


def write_steps(path: Path, steps: Iterable[Mapping[str, NDArray[np.generic]]]) -> int:
    """Writes datasets that grow by one step after the other.

    The file appears under its name only when it is whole: until then it is called
    ``NAME.partial``, which is removed if a step fails. A file of that name is replaced.

    Args:
        path: The file to make.
        steps: For each dataset its next rows. Every step names the same datasets, with equally
            many rows in each; shapes and dtypes are those of the first step.

    Returns:
        How many rows were written.

    Raises:
        OSError: The file cannot be written.
    """
    partial = path.with_name(path.name + ".partial")
    try:
        with h5py.File(partial, "w") as file:
            rows = sum(_append(file, step) for step in steps)
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)
    return rows


def _append(file: h5py.File, step: Mapping[str, NDArray[np.generic]]) -> int:
    """Writes one step behind the rows that are there; the first step makes the datasets."""
    if not file.keys():
        _create(file, step)
    count = 0
    for name, rows in step.items():
        dataset, count = file[name], len(rows)
        dataset.resize(len(dataset) + count, axis=0)
        dataset[-count:] = rows
    return count


def _create(file: h5py.File, step: Mapping[str, NDArray[np.generic]]) -> None:
    # As many rows to a storage chunk in every dataset: a block of the plan is whole in all of them.
    sample_bytes = sum(rows[0].nbytes for rows in step.values())
    together = max(1, STORAGE_CHUNK_BYTES // max(sample_bytes, 1))
    for name, rows in step.items():
        shape = rows.shape[1:]
        file.create_dataset(
            name, (0, *shape), rows.dtype, maxshape=(None, *shape), chunks=(together, *shape)
        )
