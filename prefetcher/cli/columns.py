"""Which column makes arrays of rows that are not arrays of numbers yet: by a look at a few."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from dataclasses import replace
from io import BytesIO
from itertools import islice
from typing import Any

import numpy as np
from numpy.typing import NDArray

from prefetcher.columns.axis import Axis
from prefetcher.columns.column import Column
from prefetcher.columns.fields import Field
from prefetcher.columns.packed import Unpacked
from prefetcher.columns.padded import Padded
from prefetcher.columns.pictures import Picture
from prefetcher.columns.ragged import TEXT
from prefetcher.columns.sparse import Sparse
from prefetcher.errors import PrefetchError
from prefetcher.hdf5.dataset import Dataset
from prefetcher.hdf5.describe import FileDescription
from prefetcher.hdf5.sharded import ShardedSource
from prefetcher.hdf5.shards import Shards
from prefetcher.picture import size_of

_LOOKED_AT = 32  # rows: some milliseconds through h5py
_DATASETS = 32  # each takes some milliseconds: a file may have thousands of groups that look alike
_FEWEST_BYTES = 64  # of a row of bytes that may be a picture: no format has smaller ones


def columns_for(file: FileDescription) -> dict[str, Column]:
    """The columns of datasets that need one, by name; reads a few rows of the first such ones."""
    looked_at = islice(filter(_may, file.datasets), _DATASETS)
    found = {dataset.name: _column(file, dataset) for dataset in looked_at}
    return {name: column for name, column in found.items() if column is not None}


def as_python(names: Any) -> str:
    """What makes these names and columns, as Python."""
    if isinstance(names, tuple):
        inside = ", ".join(map(as_python, names))
        return f"({inside},)" if len(names) == 1 else f"({inside})"
    if isinstance(names, dict):
        return f"{{{', '.join(f'{key!r}: {as_python(each)}' for key, each in names.items())}}}"
    return _column_as_python(names) if isinstance(names, Column) else repr(names)


def _column_as_python(column: Column) -> str:
    if isinstance(column, Field | Sparse):
        return repr(column.dataset if isinstance(column, Sparse) else str(column))
    of = as_python(column.of)
    if isinstance(column, Picture):
        return f"prefetcher.Picture({of}, size={column.size})"
    if isinstance(column, Padded):
        return f"prefetcher.Padded({of}, {column.length})"
    if isinstance(column, Axis):
        return f"prefetcher.Axis({of}, {column.axis})"
    if isinstance(column, Unpacked):
        return f"prefetcher.Unpacked({of})"
    return f"prefetcher.{column!r}"


def _may(dataset: Dataset) -> bool:
    """Whether its rows are of variable length, or may be encoded pictures."""
    if dataset.refused or dataset.missing_filter or not dataset.rows or dataset.dtype.names:
        return False
    if dataset.elements is not None:
        return dataset.row_shape == () and dataset.elements != TEXT
    if dataset.row_bytes < _FEWEST_BYTES or dataset.dtype.subdtype:
        return False
    one_row = dataset.dtype == np.uint8 and len(dataset.row_shape) == 1
    return one_row or (dataset.dtype.kind in "VS" and dataset.row_shape == ())


def _column(file: FileDescription, dataset: Dataset) -> Column | None:
    try:
        rows = _some(file, dataset)
    except (PrefetchError, OSError):  # told where it is read
        return None
    if size := _size(rows):
        return Picture(dataset.name, size)
    if dataset.elements is None or dataset.elements.subdtype:
        return None
    return Padded(dataset.name, max(1, *map(len, rows)))


def _some(file: FileDescription, dataset: Dataset) -> list[NDArray[Any]]:
    """Rows from end to end of the dataset in this file; of rows of one size the first alone."""
    shards = Shards((replace(file, datasets=()),))  # which may be those of several files
    source = ShardedSource(shards, [dataset.name], retries=0)
    try:
        if dataset.elements is None:
            row = np.empty((1, dataset.row_bytes), np.uint8)
            source.read(dataset.name, [(0, 1)], [row])
            return [row[0]]
        last = shards.dataset(dataset.name).rows - 1
        wanted = np.unique(np.linspace(0, last, _LOOKED_AT, dtype=np.int64)).tolist()
        rows = np.empty(len(wanted), object)
        source.objects(dataset.name, [(row, row + 1) for row in wanted], rows)
        return list(rows)
    finally:
        source.close()


def _size(rows: Iterable[NDArray[Any]]) -> tuple[int, int] | None:
    """Height and width of the first row that is not empty, if it is an encoded picture."""
    first = next((row for row in rows if row.size), None)
    if first is not None and first.dtype.itemsize == 1:
        with suppress(Exception):  # whatever a decoder makes of bytes that are no picture
            return size_of(BytesIO(first.tobytes()))
    return None
