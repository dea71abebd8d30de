"""Datasets that only say which row or column of others is which: dimension scales, and indices."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import h5py

from prefetcher.hdf5.dataset import Dataset
from prefetcher.hdf5.describe import FileDescription
from prefetcher.hdf5.faults import RAISED, damage_reported, system_error
from prefetcher.hdf5.links import find
from prefetcher.hdf5.opening import open_file
from prefetcher.storage.retry import Retry

_PYTABLES_INDEX = "_i_"  # what PyTables reserves such names for


def scales_of(file: FileDescription) -> frozenset[str]:
    """The names of HDF5's dimension scales, as NetCDF has them, and of PyTables' indices.

    Opens the file, and looks at its datasets of one dimension.

    Raises:
        FileError: The file cannot be used.
        ReadError: The system could not read it, also not after the retries.
    """
    indices = {each.name for each in file.datasets if _is_index(each.name)}
    vectors = [each for each in file.datasets if len(each.shape) == 1 and not each.refused]
    look = partial(_scales, file, vectors)
    return frozenset(indices | Retry(file.retries).opening(file.path.name, look))


def _is_index(name: str) -> bool:
    return any(part.startswith(_PYTABLES_INDEX) for part in name.split("/"))


def _scales(description: FileDescription, vectors: Sequence[Dataset]) -> set[str]:
    path = description.path
    with open_file(path, swmr=description.swmr) as file, damage_reported(path):
        return {
            each.name
            for each in vectors
            if _is_scale(find(file, each.name, allow_external=description.allow_external))
        }


def _is_scale(found: object) -> bool:
    try:
        return isinstance(found, h5py.Dataset) and bool(h5py.h5ds.is_scale(found.id))
    except RAISED as error:
        if system_error(error):
            raise
        return False  # damaged attributes: its rows can be read all the same
