"""A file as HDF5 has it open, and opened anew after a read that failed."""

from __future__ import annotations

import os
import threading
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path

import h5py
import numpy as np

from prefetcher.errors import FileChangedError
from prefetcher.hdf5.faults import damage_reported
from prefetcher.hdf5.links import raw
from prefetcher.hdf5.opening import open_file
from prefetcher.hdf5.virtual import open_sources
from prefetcher.hdf5.ways import dtype_of
from prefetcher.storage.protocol import Identity, check_identity

Kind = tuple[tuple[int, ...], np.dtype[np.generic]]
"""The shape and the dtype of a dataset."""


class Handle:
    """The datasets of one file, for reading through h5py. Hold `lock` to use it.

    Whatever HDF5 has in memory after a read that failed is not to be trusted: buffers that it never
    filled answer the next read. So `drop` it then, and the next request opens the file anew.

    Args:
        path: The file.
        identity: The state of the file that is expected.
        kinds: What is expected of each dataset that will be asked for.

    Raises:
        FileError: As `dataset` does.
        OSError: As `dataset` does.

    Attributes:
        lock: Held by whoever uses the handle or a dataset of it, as HDF5 does one thing at a time.
    """

    def __init__(self, path: Path, identity: Identity, kinds: Mapping[str, Kind]) -> None:
        # Re-entrant: a finalizer may close the source on a thread that holds it.
        self.lock = threading.RLock()
        self._path = path.absolute()  # the process may change its folder meanwhile
        self._identity = identity
        self._kinds = kinds
        self._undo = ExitStack()
        self._file: h5py.File | None = None
        self._datasets: dict[str, h5py.Dataset] = {}
        self._sources: dict[str, list[h5py.Dataset]] = {}
        self._whole_file()

    def dataset(self, name: str) -> h5py.Dataset:
        """The dataset of that name, opened if it is not.

        Raises:
            FileChangedError: The file, or what the dataset is made of, is not what it was.
            FileError: The file cannot be used.
            OSError: The system could not read it.
        """
        found = self._datasets.get(name)
        if found is None:
            with damage_reported(self._path):
                found = self._datasets[name] = self._opened(name)
        return found

    def sources(self, name: str) -> list[h5py.Dataset]:
        """What a virtual dataset is made of, once it is opened; nothing for another one."""
        return self._sources[name]

    @property
    def file(self) -> h5py.File:
        """The file itself, opened if it is not. Raises as `dataset`."""
        return self._whole_file()

    @property
    def files(self) -> int:
        """Other files that are open for a virtual dataset."""
        return len({each.file.filename for found in self._sources.values() for each in found})

    def _opened(self, name: str) -> h5py.Dataset:
        dataset = self._whole_file()[raw(name)]
        self._sources[name] = self._undo.enter_context(open_sources(dataset))
        kind = dataset.shape, dtype_of(dataset)
        if not self._is_expected(kind, self._kinds[name]):
            raise FileChangedError(
                f"{name} in {self._path.name} was {_text(self._kinds[name])} and is {_text(kind)}: "
                "a file that it is made of was written to"
            )
        return dataset

    def _is_expected(self, kind: Kind, expected: Kind) -> bool:
        """Whether it is what was described, or has become longer where it may."""
        if not self._identity.grows:
            return kind == expected
        (shape, dtype), (before, dtype_before) = kind, expected
        return (shape[1:], dtype) == (before[1:], dtype_before) and shape[:1] >= before[:1]

    def _whole_file(self) -> h5py.File:
        if self._file is None:
            with ExitStack() as undo:
                file = undo.enter_context(open_file(self._path, swmr=self._identity.grows))
                opened = os.fstat(file.id.get_vfd_handle())
                check_identity(self._path.name, opened, self._identity)
                self._file, self._undo = file, undo.pop_all()
        return self._file

    def drop(self) -> None:
        """Closes everything; the next request opens it anew."""
        self._datasets.clear()
        self._sources.clear()
        self._file = None
        self._undo.close()

    close = drop


def _text(kind: Kind) -> str:
    shape, dtype = kind
    return f"{dtype} {shape}"
