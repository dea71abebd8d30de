"""What HDF5 says of one dataset, or of one group of sparse rows."""

from __future__ import annotations

import h5py
import numpy as np

from prefetcher.columns.ragged import elements_of
from prefetcher.errors import DatasetError, FileError, PrefetchError, UnsafeFileError
from prefetcher.hdf5.dataset import Csr, Dataset
from prefetcher.hdf5.faults import RAISED, system_error
from prefetcher.hdf5.links import Item, Refused, find
from prefetcher.hdf5.packing import packing_of
from prefetcher.hdf5.properties import (
    layout_of,
    missing_storage,
    storage_files,
    stored_filters,
    unavailable,
)
from prefetcher.hdf5.sparse import NO_PARTS, SparseGroup, sparse_group, why_no_rows
from prefetcher.hdf5.virtual import open_sources
from prefetcher.hdf5.ways import choose, dtype_of, why_no_dtype


def look_at(file: h5py.File, name: str, *, allow_external: bool) -> Dataset | Item | None:
    """The dataset at a path, sparse rows included; else what lies there.

    Raises:
        PrefetchError: The file cannot be used.
        OSError: The system could not read it. Or another builtin of h5py: see `faults`.
    """
    found = find(file, name, allow_external=allow_external)
    if isinstance(found, h5py.Dataset | Refused):
        return dataset_of(file, name, found, allow_external=allow_external)
    if isinstance(found, h5py.Group) and (group := sparse_group(found)):
        return _sparse(file, name, group, allow_external=allow_external)
    return found


def dataset_of(
    file: h5py.File, name: str, found: h5py.Dataset | Refused, *, allow_external: bool
) -> Dataset:
    """What is known of a dataset that a path led to, whatever can be done with it.

    Raises:
        OSError: The system could not read the file.
    """
    if isinstance(found, Refused):
        return refused_dataset(name, np.dtype(object), "unknown", found)
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
    return refused_dataset(name, dtype_of(found), layout_of(found.id.get_create_plist()), refused)


def _sparse(
    file: h5py.File, name: str, group: SparseGroup | Refused, *, allow_external: bool
) -> Dataset:
    """Sparse rows, which count as a dataset of whole ones."""
    if isinstance(group, Refused):
        return refused_dataset(name, np.dtype(object), "csr", group)
    found = [
        find(file, f"{name}/{part}", allow_external=allow_external)
        for part in ("data", "indices", "indptr")
    ]
    if not all(isinstance(each, h5py.Dataset | Refused) for each in found):
        return refused_dataset(name, np.dtype(object), "csr", Refused(NO_PARTS))
    data, indices, indptr = (
        dataset_of(file, f"{name}/{part}", each, allow_external=allow_external)
        for part, each in zip(("data", "indices", "indptr"), found, strict=True)
    )
    parts = (data, indices, indptr)
    if why := next((f"{part.name}: {part.refused}" for part in parts if part.refused), ""):
        return refused_dataset(
            name, data.dtype, "csr", Refused(why, any(part.outside for part in parts))
        )
    if why := why_no_rows(group, *((part.shape, part.dtype) for part in parts)):
        return refused_dataset(name, data.dtype, "csr", Refused(why))
    slowest = max((data, indices), key=lambda part: part.way == "general")
    return Dataset(
        name, (group.rows, group.columns), data.dtype, "csr", None, data.filters,
        sum(part.stored_bytes for part in parts), slowest.way, slowest.why,
        csr=Csr(data, indices, indptr, group.said),
    )  # fmt: skip


def refused_dataset(
    name: str, dtype: np.dtype[np.generic], layout: str, refused: Refused
) -> Dataset:
    """A dataset whose rows cannot be read, and why."""
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
        # What is decoded outside HDF5 needs no filter of HDF5's.
        missing_filter=missing.name if missing and way == "general" else "",
        packing=packing_of(dataset),
        refused=why_no_dtype(dataset) or missing_storage(storage_files(dataset)),
        heap_bytes=_most_heap(dataset, sources) if elements_of(dtype_of(dataset)) else 0,
    )


def _most_heap(dataset: h5py.Dataset, sources: list[h5py.Dataset]) -> int:
    """Bytes of the files that rows of variable length lie in."""
    files = {each.file.filename: each.file for each in (dataset, *sources)}
    return sum(file.id.get_filesize() for file in files.values())
