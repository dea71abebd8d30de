"""Whether MATLAB wrote a file: HDF5 then shows its axes in reverse order."""

from __future__ import annotations

from functools import partial
from itertools import islice
from pathlib import Path

import h5py

from prefetcher.hdf5.attributes import attribute
from prefetcher.hdf5.faults import damage_reported
from prefetcher.hdf5.links import find, names_of
from prefetcher.hdf5.opening import open_file
from prefetcher.storage.retry import Retry

_LOOKED_AT = 8  # of its variables: MATLAB marks each


def is_matlab(path: Path, *, swmr: bool = False) -> bool:
    """Whether one of the first variables of a file says its class in MATLAB.

    Raises:
        FileError: The file cannot be opened.
        ReadError: The system could not read it.
    """
    return Retry().opening(path.name, partial(_is_marked, path, swmr))


def _is_marked(path: Path, swmr: bool) -> bool:  # noqa: FBT001 - for partial
    with open_file(path, swmr=swmr) as file, damage_reported(path):
        found = (
            find(file, name, allow_external=False) for name in islice(names_of(file), _LOOKED_AT)
        )
        return any(
            isinstance(each, h5py.HLObject) and attribute(each, "MATLAB_class") is not None
            for each in found
        )
