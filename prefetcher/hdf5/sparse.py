"""Groups of sparse rows: which groups are some, and what they say of themselves.

Rows are compressed (CSR) if row i has the elements indptr[i] to indptr[i + 1] of data and indices.
AnnData and scipy store matrices so, and 10x Genomics stores its genes by cells with the columns
compressed (CSC), which is the same as cells by genes with the rows compressed.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import h5py
import numpy as np

from prefetcher.errors import PrefetchError
from prefetcher.hdf5.attributes import attribute
from prefetcher.hdf5.faults import RAISED, system_error
from prefetcher.hdf5.links import Refused, find, names_of

_BY_ROWS, _BY_COLUMNS = ("csr_matrix", "csr"), ("csc_matrix", "csc")
_PARTS = {"data", "indices", "indptr"}
NO_PARTS = "a group of sparse rows needs the datasets data, indices and indptr in it"

_NO_SHAPE = (
    "it has no shape: write the numbers of rows and columns as its attribute "
    '(group.attrs["shape"] = rows, columns)'
)
_NOT_BY_ROWS = (
    "it is compressed by columns (CSC), so that a row lies all over the file: write it by rows, as "
    "in adata.X = adata.X.tocsr(), or matrix.tocsr() of scipy.sparse"
)

Kind = tuple[tuple[int, ...], np.dtype[np.generic]]
"""Shape and dtype of a dataset."""


class SparseGroup(NamedTuple):
    """What a group of sparse rows says of itself.

    Attributes:
        rows: How many rows it has.
        columns: How many elements a row has, the zeros included.
        said: Whether the group says by its format that it has sparse rows.
    """

    rows: int
    columns: int
    said: bool


def sparse_group(group: h5py.Group) -> SparseGroup | Refused | None:
    """What a group of sparse rows says; a reason if it cannot be used, None if it is none.

    Raises:
        OSError: The system could not read it.
    """
    names = set(names_of(group))
    kind = _text(group, "encoding-type") or _text(group, "h5sparse_format")
    if not kind and not names >= _PARTS:
        return None
    kind = kind or _text(group, "format")
    if kind not in ("", *_BY_ROWS, *_BY_COLUMNS):
        return None
    shape = _shape(group)
    if not names >= _PARTS or kind in _BY_COLUMNS or shape is None:
        return Refused(_why_not(names, kind))
    if not kind and "barcodes" in names:  # 10x Genomics, whose columns are the cells
        return SparseGroup(shape[1], shape[0], said=True)
    return SparseGroup(*shape, said=bool(kind))


def _why_not(names: set[str], kind: str) -> str:
    if not names >= _PARTS:
        return NO_PARTS
    return _NOT_BY_ROWS if kind in _BY_COLUMNS else _NO_SHAPE


def why_no_rows(group: SparseGroup, data: Kind, indices: Kind, indptr: Kind) -> str:
    """Why its datasets do not make sparse rows; "" where they do."""
    if any(len(shape) != 1 for shape, _ in (data, indices, indptr)):
        return "data, indices and indptr are not all of one dimension"
    if indices[1].kind not in "iu" or indptr[1].kind not in "iu":
        return f"indices ({indices[1]}) and indptr ({indptr[1]}) are not both whole numbers"
    if data[0] != indices[0]:
        return f"data has {data[0][0]} elements and indices {indices[0][0]}"
    have, rows, columns = indptr[0][0] - 1, group.rows, group.columns
    if have == rows:
        return ""
    if have == columns and not group.said:
        return _NOT_BY_ROWS
    return f"it says that it has {rows} rows, and indptr has {have}"


def _shape(group: h5py.Group) -> tuple[int, int] | None:
    found = attribute(group, "shape")
    if found is None:
        found = attribute(group, "h5sparse_shape")
    if found is None:
        found = _small(group, "shape")
    try:
        rows, columns = (int(each) for each in np.asarray(found).tolist())
    except (TypeError, ValueError):
        return None
    return (rows, columns) if rows >= 0 and columns >= 0 else None


def _text(group: h5py.Group, name: str) -> str:
    """An attribute, or a dataset of one value, that is text; "" where it is none."""
    found = attribute(group, name)
    if found is None and name == "format":
        found = _small(group, name)
    if isinstance(found, np.ndarray) and found.size == 1:
        found = found.item()
    if isinstance(found, bytes):
        return found.decode(errors="replace")
    return found if isinstance(found, str) else ""


def _small(group: h5py.Group, name: str) -> Any:
    """What is in a dataset of two values at most; None where there is none in this very file."""
    found = find(group.file, f"{group.name}/{name}", allow_external=False)
    if not isinstance(found, h5py.Dataset) or found.shape is None or found.size > 2:
        return None
    try:
        return found[()]
    except PrefetchError:
        raise
    except RAISED as error:
        if system_error(error):
            raise
        return None
