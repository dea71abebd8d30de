"""Whether a file is the one that was described, and holds what its manifest says."""

from __future__ import annotations

import os
from collections.abc import Mapping

import h5py

from prefetcher.errors import FileChangedError
from prefetcher.hdf5.dataset import Dataset, check_batchable
from prefetcher.hdf5.links import Refused, find
from prefetcher.hdf5.looking import dataset_of
from prefetcher.storage.protocol import Identity, check_identity, identity_of, is_same


def check_same(file: str, identity: Identity, manifest: str, status: os.stat_result) -> None:
    """Compares the state of a file with the one that was described.

    Args:
        file: The file's name.
        identity: What it was known by.
        manifest: The name of the manifest that described it; "" for none.
        status: What the system says of it.

    Raises:
        FileChangedError: It is another one.
    """
    if manifest and not is_same(status, identity):
        raise FileChangedError(
            f"{file} is not the file that {manifest} describes ({_state(identity_of(status))}, not "
            f"{_state(identity)}): {_ANEW}"
        )
    check_identity(file, status, identity)


_ANEW = "if it is the right one, make the manifest anew with `prefetcher manifest`"


def _state(identity: Identity) -> str:
    size, mtime_ns, _ = identity
    return f"{size} bytes, time {mtime_ns / 1e9:.6f}" if mtime_ns else f"{size} bytes"


def check_told(
    name: str, file: h5py.File, told: Mapping[str, Dataset | None], manifest: str
) -> None:
    """Compares with the open file what a manifest says of some datasets.

    Args:
        name: The file's name.
        file: The file.
        told: What the manifest says of each dataset, by its path; None for nothing.
        manifest: The manifest's name.

    Raises:
        FileChangedError: It says something else than the file.
        PrefetchError: A dataset cannot be read here; see `FileDescription.dataset`.
    """
    for path, said in told.items():
        found = find(file, path, allow_external=False)
        actual = (
            dataset_of(file, path, found, allow_external=False)
            if isinstance(found, h5py.Dataset | Refused)
            else None
        )
        if actual is not None:
            check_batchable(name, actual)
        if said is None or actual is None or _facts(actual) != _facts(said):
            raise FileChangedError(
                f"{name} holds {_stored(actual) if actual else f'no {path}'}, but {manifest} says "
                f"{_stored(said) if said else 'nothing'}: {_ANEW}"
            )


def _facts(dataset: Dataset) -> tuple[object, ...]:
    return (
        dataset.shape, dataset.dtype, dataset.layout, dataset.storage_chunk, dataset.filters,
        dataset.stored_bytes, dataset.way,
    )  # fmt: skip


def _stored(dataset: Dataset) -> str:
    filters = f" ({', '.join(dataset.filters)})" if dataset.filters else ""
    return f"{dataset}, {dataset.layout}{filters}, {dataset.stored_bytes} bytes"
