"""What is in a file, how each dataset is stored, and which way of reading fits it."""

from __future__ import annotations

import math
import os
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import h5py
import numpy as np

from prefetcher.errors import DatasetError, FileError, NoDatasetError
from prefetcher.hdf5.faults import damage_reported
from prefetcher.hdf5.general import SCRATCH_BYTES
from prefetcher.hdf5.opening import open_file, walk
from prefetcher.hdf5.properties import layout_of, stored_filters, unavailable
from prefetcher.hdf5.storage_chunks import most_stored
from prefetcher.hdf5.virtual import open_sources
from prefetcher.hdf5.ways import Way, choose, dtype_of
from prefetcher.storage.protocol import Identity, identity_of
from prefetcher.storage.retry import Retry
from prefetcher.suggestions import missing


@dataclass(frozen=True, slots=True)
class Dataset:
    """One dataset of a file, as it was when the file was described."""

    name: str
    """The path within the file without the leading slash: "images", "train/images"."""
    shape: tuple[int, ...]
    """Rows first; () for a scalar, which cannot be cut into batches."""
    dtype: np.dtype[np.generic]
    """Exactly the dtype that h5py gives, byte order included."""
    layout: str
    """contiguous, chunked, compact, virtual or external."""
    storage_chunk: tuple[int, ...] | None
    """The shape of one storage chunk, None where the layout has none."""
    filters: tuple[str, ...]
    """Readable names in the order they were applied: ("shuffle", "gzip-4")."""
    stored_bytes: int
    """Bytes that the dataset takes in the file."""
    way: Way
    """How its rows are read: "contiguous", "storage chunks" or "general"."""
    why: str
    """One clause: why this way."""
    missing_filter: str = ""
    """The filter that nothing installed can decode; "" where all can be."""
    refused: str = ""
    """Why its rows cannot be read at all, although the rest of the file can; "" where they can."""

    @property
    def rows(self) -> int:
        """The number of rows, 0 for a scalar."""
        return self.shape[0] if self.shape else 0

    @property
    def row_shape(self) -> tuple[int, ...]:
        """The shape of one row."""
        return self.shape[1:]

    @property
    def row_bytes(self) -> int:
        """Bytes of one row in memory."""
        return self.dtype.itemsize * math.prod(self.row_shape)

    @property
    def storage_rows(self) -> int:
        """Rows of one storage chunk, which are decoded together; 1 where there are none."""
        return self.storage_chunk[0] if self.storage_chunk else 1

    @property
    def scratch_bytes(self) -> int:
        """The most memory that one thread holds, beside the caller's arrays, to read this."""
        if self.way == "contiguous":
            return 0
        chunk = self.dtype.itemsize * math.prod(self.storage_chunk or (0,))
        slab = self.storage_rows * self.row_bytes
        if self.way == "general":
            return max(SCRATCH_BYTES, slab)
        # The stored bytes, two steps of decoding, and what is put together of them.
        return most_stored(chunk) + 2 * chunk + slab

    def __str__(self) -> str:
        return f"{self.name} {self.dtype} {self.shape}"


@dataclass(frozen=True, slots=True)
class FileDescription:
    """A file and its datasets as they were at one moment."""

    path: Path
    size: int
    """Bytes of the whole file."""
    identity: Identity
    """What a change of the file cannot keep; compared at opening and after every read."""
    datasets: tuple[Dataset, ...]
    """Every dataset of every group, in the file's own order."""

    def dataset(self, name: str) -> Dataset:
        """The dataset of that name, if it can be cut into batches.

        Raises:
            NoDatasetError: there is none; the message names the nearest of those there are.
            DatasetError: it is a scalar, or its elements are not of one fixed size.
        """
        wanted = name.strip("/")
        for dataset in self.datasets:
            if dataset.name == wanted:
                _check_batchable(self.path.name, dataset)
                return dataset
        have = {dataset.name: str(dataset) for dataset in self.datasets}
        raise NoDatasetError(missing("dataset", wanted, self.path.name, have))


def _check_batchable(file: str, dataset: Dataset) -> None:
    if dataset.refused:
        raise DatasetError(f"{dataset.name} in {file} cannot be read: {dataset.refused}")
    if not dataset.shape:
        raise DatasetError(
            f"{dataset.name} in {file} is one value without rows and cannot be cut into batches: "
            "store one row for each sample"
        )
    if dataset.dtype.hasobject:
        raise DatasetError(
            f"{dataset.name} in {file} has elements without a fixed size in numpy (variable "
            "length, references): store them with one, such as 'S32' or arrays padded to one length"
        )
    if dataset.dtype.subdtype:
        base, inner = dataset.dtype.subdtype
        raise DatasetError(
            f"{dataset.name} in {file} has arrays of shape {inner} as elements: "
            f"store it as {base} {dataset.shape + inner}"
        )
    if dataset.missing_filter:
        raise DatasetError(
            f"{dataset.name} in {file} needs the HDF5 filter {dataset.missing_filter}, which "
            "is not installed: pip install hdf5plugin"
        )


def describe(
    path: str | os.PathLike[str], *, allow_external: bool = False, retries: int = 3
) -> FileDescription:
    """Opens the file, looks at every dataset in every group, and closes it again.

    Args:
        path: An HDF5 file.
        allow_external: Whether to follow external links, external storage and virtual datasets
            into other files. Off, because a data set from a stranger could read anything that
            this user can read.
        retries: How often it is tried again after EIO, ESTALE or ETIMEDOUT.

    Raises:
        FileError: a subclass for each thing that can be wrong with the file.
        ReadError: the system could not read it, also not after the retries.
    """
    path = Path(path)
    return Retry(retries).opening(path.name, partial(_described, path, allow_external))


def _described(path: Path, allow_external: bool) -> FileDescription:  # noqa: FBT001 - for partial
    with open_file(path) as file, damage_reported(path):
        status = path.stat()
        datasets = tuple(
            _describe(file, name, dataset)
            for name, dataset in walk(file, allow_external=allow_external)
        )
    return FileDescription(path, status.st_size, identity_of(status), datasets)


def _describe(file: h5py.File, name: str, dataset: h5py.Dataset) -> Dataset:
    try:
        with open_sources(dataset):
            return _readable(file, name, dataset)
    except (DatasetError, FileError) as error:
        return _refused(name, dataset, str(error))


def _refused(name: str, dataset: h5py.Dataset, why: str) -> Dataset:
    """HDF5 is not asked for more than it knows without its sources."""
    layout = layout_of(dataset.id.get_create_plist())
    dtype = dtype_of(dataset)
    return Dataset(name, (), dtype, layout, None, (), 0, "general", why, refused=why)


def _readable(file: h5py.File, name: str, dataset: h5py.Dataset) -> Dataset:
    properties = dataset.id.get_create_plist()
    filters = stored_filters(properties)
    missing = unavailable(filters)
    way, why = choose(file, dataset)
    return Dataset(
        name=name,
        shape=dataset.shape or (),
        dtype=dtype_of(dataset),
        layout=layout_of(properties),
        storage_chunk=dataset.chunks,
        filters=tuple(stored.name for stored in filters),
        stored_bytes=dataset.id.get_storage_size(),
        way=way,
        why=why,
        missing_filter=missing.name if missing else "",
    )
