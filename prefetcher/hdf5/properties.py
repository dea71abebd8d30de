"""What a dataset's creation properties say: its layout, its filters, whether gaps have a value."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from pathlib import Path

import h5py
import numpy as np

from prefetcher.filters import plugins
from prefetcher.filters.decode import StoredFilter

_LAYOUTS = {
    h5py.h5d.COMPACT: "compact",
    h5py.h5d.CONTIGUOUS: "contiguous",
    h5py.h5d.CHUNKED: "chunked",
    h5py.h5d.VIRTUAL: "virtual",
}


def layout_of(properties: h5py.h5p.PropDCID) -> str:
    """contiguous, chunked, compact, virtual or external."""
    if properties.get_external_count():
        return "external"
    return _LAYOUTS.get(properties.get_layout(), "unknown")


def stored_filters(properties: h5py.h5p.PropDCID) -> tuple[StoredFilter, ...]:
    """The filters in the order in which they were applied when the dataset was written."""
    found = (properties.get_filter(i) for i in range(properties.get_nfilters()))
    return tuple(StoredFilter(code, tuple(values)) for code, _, values, _ in found)


def unavailable(filters: Sequence[StoredFilter]) -> StoredFilter | None:
    """The first filter that neither HDF5 nor an installed plugin package can decode."""
    missing = _missing(filters)
    if any(stored.from_plugin for stored in missing) and plugins.register():
        missing = _missing(filters)
    return missing[0] if missing else None


def _missing(filters: Sequence[StoredFilter]) -> list[StoredFilter]:
    return [stored for stored in filters if not h5py.h5z.filter_avail(stored.code)]


def storage_files(dataset: h5py.Dataset) -> list[Path]:
    """The files of a dataset's external storage, where HDF5 looks for them."""
    properties = dataset.id.get_create_plist()
    names = (properties.get_external(at)[0] for at in range(properties.get_external_count()))
    return [_external_path(dataset, os.fsdecode(name)) for name in names]


def missing_storage(files: Iterable[Path]) -> str:
    """Which of these files is not there, as what is wrong with a dataset; "" where all are."""
    gone = next((path for path in files if not path.exists()), None)
    return f"it keeps its bytes in {gone}, which is missing" if gone else ""


def _external_path(dataset: h5py.Dataset, name: str) -> Path:
    """Where HDF5 looks for a file of external storage: not beside the file, if it is not told."""
    prefix = os.environ.get("HDF5_EXTFILE_PREFIX", "")
    if prefix.startswith("${ORIGIN}"):
        folder = Path(dataset.file.filename).absolute().parent
        prefix = str(folder) + prefix.removeprefix("${ORIGIN}")
    return Path(prefix, name).absolute()


def has_fill_value(properties: h5py.h5p.PropDCID) -> bool:
    """Whether HDF5 fills what was never written with a value."""
    return bool(
        properties.get_fill_time() != h5py.h5d.FILL_TIME_NEVER
        and properties.fill_value_defined() != h5py.h5d.FILL_VALUE_UNDEFINED
    )


def leaves_gaps(dataset: h5py.Dataset) -> bool:
    """Whether HDF5 may leave some of the memory that it reads to as it was.

    It does so with elements that were never written and have no value, and with the bytes between
    the fields of a record.
    """
    return not has_fill_value(dataset.id.get_create_plist()) or _has_padding(dataset.dtype)


def _has_padding(dtype: np.dtype[np.generic]) -> bool:
    if dtype.subdtype:
        return _has_padding(dtype.subdtype[0])
    if not dtype.fields:
        return False
    fields = [field[0] for field in dtype.fields.values()]
    filled = sum(field.itemsize for field in fields)
    return filled < dtype.itemsize or any(map(_has_padding, fields))
