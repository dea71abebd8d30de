"""What is in a file, how each dataset is stored, and which way of reading fits it."""

from __future__ import annotations

import math
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import h5py
import numpy as np

from prefetcher.columns.ragged import OBJECT_BYTES, elements_of, shown
from prefetcher.config import normal_path
from prefetcher.errors import (
    DatasetError,
    FileError,
    NoDatasetError,
    PrefetchError,
    UnsafeFileError,
)
from prefetcher.filters import plugins
from prefetcher.hdf5.faults import RAISED, damage_reported, system_error
from prefetcher.hdf5.general import SCRATCH_BYTES
from prefetcher.hdf5.links import Item, Refused, find, names_of, walk
from prefetcher.hdf5.opening import open_file
from prefetcher.hdf5.properties import (
    layout_of,
    missing_storage,
    storage_files,
    stored_filters,
    unavailable,
)
from prefetcher.hdf5.storage_chunks import most_stored
from prefetcher.hdf5.virtual import open_sources
from prefetcher.hdf5.ways import Way, choose, dtype_of, why_no_dtype
from prefetcher.messages.suggestions import listed, missing
from prefetcher.storage.protocol import Identity, check_identity, identity_of
from prefetcher.storage.retry import Retry


@dataclass(frozen=True, slots=True)
class Dataset:
    """One dataset of a file, as it was when the file was described."""

    name: str
    """The path within the file without the leading slash: "images", "train/images"."""
    shape: tuple[int, ...]
    """Rows first; () for a scalar, which cannot be cut into batches."""
    dtype: np.dtype[np.generic]
    """Exactly the dtype that h5py gives, byte order included; of rows of variable length object."""
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
    outside: bool = False
    """Whether that is because it lies outside the file, and `allow_external` is False."""
    heap_bytes: int = 0
    """What rows of variable length take together at most: HDF5 does not say how much of the file is
    theirs, so all of it. 0 for other rows."""

    @property
    def elements(self) -> np.dtype[np.generic] | None:
        """The dtype of the elements of rows of variable length; None for rows of one size."""
        return elements_of(self.dtype)

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
        """Bytes of one row in memory; of rows of variable length the most that one may average."""
        if self.elements is None:
            return self.dtype.itemsize * math.prod(self.row_shape)
        objects = math.prod(self.row_shape)
        return objects * OBJECT_BYTES + (-(-self.heap_bytes // self.rows) if self.rows else 0)

    @property
    def storage_rows(self) -> int:
        """Rows of one storage chunk, which are decoded together; 1 where there are none."""
        return self.storage_chunk[0] if self.storage_chunk else 1

    @property
    def scratch_bytes(self) -> int:
        """The most memory that one thread holds, beside the caller's arrays, to read this."""
        if self.way == "contiguous":
            return 0
        if self.elements is not None:
            return max(SCRATCH_BYTES, self.row_bytes)
        chunk = self.dtype.itemsize * math.prod(self.storage_chunk or (0,))
        slab = self.storage_rows * self.row_bytes
        if self.way == "general":
            return max(SCRATCH_BYTES, slab)
        # The stored bytes, two steps of decoding, and what is put together of them.
        return most_stored(chunk) + 2 * chunk + slab

    def __str__(self) -> str:
        return f"{self.name} {shown(self.dtype)} {self.shape}"


@dataclass(frozen=True, slots=True)
class FileDescription:
    """A file and its datasets as they were at one moment."""

    path: Path
    size: int
    """Bytes of the whole file."""
    identity: Identity
    """What a change of the file cannot keep; compared at opening and after every read."""
    datasets: tuple[Dataset, ...]
    """Every dataset of every group, in the file's own order; also what cannot be read."""
    allow_external: bool = False
    """As it was described with, like the next."""
    retries: int = 3

    def dataset(self, name: str) -> Dataset:
        """The dataset of that name, if it can be cut into batches.

        Any path that HDF5 follows is a name. One that `datasets` has not, as it leads through links
        to groups, is looked up in the file.

        Raises:
            NoDatasetError: there is none; the message names the nearest of those there are.
            DatasetError: it is a scalar, its elements are not of one fixed size, or it cannot be
                read.
            UnsafeFileError: it lies outside the file, and `allow_external` is False.
            FileError: the file was asked, and cannot be used or is no longer the same.
            ReadError: the file was asked, and the system could not read it.
        """
        wanted = normal_path(name)
        listed = next((each for each in self.datasets if each.name == wanted), None)
        found = listed or Retry(self.retries).opening(
            self.path.name, partial(_looked_up, self, wanted)
        )
        _check_batchable(self.path.name, found)
        return found

    def has_group(self, name: str) -> bool:
        """Whether a path leads to a group, through whatever links. Raises as `dataset` does."""
        look = partial(_leads_to_group, self, normal_path(name))
        return Retry(self.retries).opening(self.path.name, look)

    def including(self, names: Iterable[str]) -> FileDescription:
        """The same with these in `datasets`, so that they need not be looked up again.

        Raises:
            PrefetchError: As `dataset`.
        """
        found = {each.name: each for each in map(self.dataset, names)}
        new = [each for each in found.values() if each not in self.datasets]
        return replace(self, datasets=(*self.datasets, *new)) if new else self


def _check_batchable(file: str, dataset: Dataset) -> None:
    if dataset.outside:
        raise UnsafeFileError(
            f"{file} points outside itself: {dataset.refused}; pass allow_external=True "
            "(--allow-external on the command line) if you trust it to read other files of this "
            "machine"
        )
    if dataset.refused:
        raise DatasetError(f"{dataset.name} in {file} cannot be read: {dataset.refused}")
    if not dataset.shape:
        raise DatasetError(
            f"{dataset.name} in {file} is one value without rows and cannot be cut into batches: "
            "store one row for each sample"
        )
    if dataset.dtype.hasobject and dataset.elements is None:
        raise DatasetError(
            f"{dataset.name} in {file} has elements without a fixed size in numpy (references, "
            "variable length within records or within each other): store them with one, such as "
            "'S32', or as rows of variable length"
        )
    if dataset.dtype.subdtype:
        base, inner = dataset.dtype.subdtype
        raise DatasetError(
            f"{dataset.name} in {file} has arrays of shape {inner} as elements: "
            f"store it as {base} {dataset.shape + inner}"
        )
    if dataset.missing_filter:
        raise DatasetError(
            f"{dataset.name} in {file} needs the HDF5 {plugins.wanting(dataset.missing_filter)}"
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
    return Retry(retries).opening(path.name, partial(_described, path, allow_external, retries))


def _described(
    path: Path,
    allow_external: bool,  # noqa: FBT001 - for partial
    retries: int,
) -> FileDescription:
    with open_file(path) as file, damage_reported(path):
        status = path.stat()
        datasets = tuple(
            _describe(file, name, found, allow_external=allow_external)
            for name, found in walk(file, allow_external=allow_external)
        )
    identity = identity_of(status)
    return FileDescription(path, status.st_size, identity, datasets, allow_external, retries)


@contextmanager
def _found(description: FileDescription, name: str) -> Iterator[tuple[h5py.File, Item | None]]:
    """What a path leads to, and the file, which is open meanwhile."""
    path, allow_external = description.path, description.allow_external
    with open_file(path) as file, damage_reported(path):
        opened = os.fstat(file.id.get_vfd_handle())
        check_identity(path.name, opened, description.identity)
        yield file, None if "\0" in name else find(file, name, allow_external=allow_external)


def _leads_to_group(description: FileDescription, name: str) -> bool:
    with _found(description, name) as (_, found):
        if isinstance(found, Refused):
            refused = _refused(name, np.dtype(object), "unknown", found)
            _check_batchable(description.path.name, refused)
        return isinstance(found, h5py.Group)


def _looked_up(description: FileDescription, name: str) -> Dataset:
    """The dataset that a path leads to, under that name."""
    path = description.path
    with _found(description, name) as (file, found):
        if isinstance(found, h5py.Dataset | Refused):
            return _describe(file, name, found, allow_external=description.allow_external)
        have = {dataset.name: str(dataset) for dataset in description.datasets}
        if found is None or any(each.startswith(f"{name}/") for each in have):
            raise NoDatasetError(missing("dataset", name, path.name, have))
        raise NoDatasetError(f"{name or '/'!r} in {path.name} is {_other_kind(found, name)}")


def _other_kind(found: h5py.HLObject, name: str) -> str:
    if not isinstance(found, h5py.Group):
        return "a named type, not a dataset"
    inside = [normal_path(f"{name}/{each}") for each in names_of(found)]
    return f"a group of {listed(inside)}: name a dataset in it" if inside else "an empty group"


def _describe(
    file: h5py.File, name: str, found: h5py.Dataset | Refused, *, allow_external: bool
) -> Dataset:
    if isinstance(found, Refused):
        return _refused(name, np.dtype(object), "unknown", found)
    try:
        with open_sources(found, allow_external=allow_external) as sources:
            return _readable(file, name, found, sources)
    except UnsafeFileError as error:
        refused = Refused(f"{name} is a virtual dataset, and {error}", outside=True)
    except (DatasetError, FileError) as error:
        refused = Refused(str(error))
    except PrefetchError:
        raise
    except RAISED as error:
        if system_error(error):
            raise
        refused = Refused(f"HDF5 cannot tell how it is stored: {error}")
    # HDF5 is not asked for more than it knows without its sources.
    return _refused(name, dtype_of(found), layout_of(found.id.get_create_plist()), refused)


def _refused(name: str, dtype: np.dtype[np.generic], layout: str, refused: Refused) -> Dataset:
    return Dataset(
        name, (), dtype, layout, None, (), 0, "general", refused.why,
        refused=refused.why, outside=refused.outside,
    )  # fmt: skip


def _readable(
    file: h5py.File, name: str, dataset: h5py.Dataset, sources: list[h5py.Dataset]
) -> Dataset:
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
        refused=why_no_dtype(dataset) or missing_storage(storage_files(dataset)),
        heap_bytes=_most_heap(dataset, sources) if elements_of(dtype_of(dataset)) else 0,
    )


def _most_heap(dataset: h5py.Dataset, sources: list[h5py.Dataset]) -> int:
    """Bytes of the files that rows of variable length lie in."""
    files = {each.file.filename: each.file for each in (dataset, *sources)}
    return sum(file.id.get_filesize() for file in files.values())
