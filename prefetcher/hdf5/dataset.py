"""What is known of one dataset, and whether its rows can be cut into batches."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from prefetcher.columns.column import Packing
from prefetcher.columns.ragged import OBJECT_BYTES, elements_of, shown
from prefetcher.errors import (
    DatasetError,
    UnsafeFileError,
)
from prefetcher.filters import plugins
from prefetcher.hdf5.contiguous import ContiguousWay, span_bytes
from prefetcher.hdf5.general import SCRATCH_BYTES
from prefetcher.hdf5.index import grid_of, moved_back
from prefetcher.hdf5.storage_chunks import kept_bytes, most_stored
from prefetcher.hdf5.turning import contiguous_bytes, rows_together, turning_bytes
from prefetcher.hdf5.ways import Way


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
    packing: Packing | None = None
    """How its numbers were packed, by its attributes; None if they were not."""
    csr: Csr | None = None
    """What it is made of, if it is a group of sparse rows; None for a dataset."""
    heap_bytes: int = 0
    """What rows of variable length take together at most: HDF5 does not say how much of the file is
    theirs, so all of it. 0 for other rows."""
    axis: int = 0
    """Along which its rows lie in the file; it comes first in `shape` and `storage_chunk`."""
    turned: str = ""
    """Its path, where the name says an axis too; "" where the name is the path."""

    @property
    def path(self) -> str:
        """Where it is in the file."""
        return self.turned or self.name

    @property
    def stored_shape(self) -> tuple[int, ...]:
        """Its axes in the order in which they are stored."""
        return moved_back(self.shape, self.axis) if self.axis else self.shape

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
        """Bytes of one row in memory; of rows that differ in size the most that they average."""
        if self.csr is not None:
            return self.csr.row_bytes(self.shape)
        objects = math.prod(self.row_shape)
        if self.elements is None:
            return self.dtype.itemsize * objects
        return objects * OBJECT_BYTES + (-(-self.heap_bytes // self.rows) if self.rows else 0)

    @property
    def storage_rows(self) -> int:
        """Rows of one storage chunk, which are decoded together; 1 where there are none."""
        return self.storage_chunk[0] if self.storage_chunk else 1

    @property
    def least_rows(self) -> int:
        """Neighbouring rows that cost little more to read than one of them alone."""
        if not self.axis or self.storage_chunk:
            return 1
        return rows_together(self.piece_bytes, self.row_bytes)

    @property
    def piece_bytes(self) -> int:
        """Bytes that lie side by side of a row along `axis`."""
        return self.dtype.itemsize * math.prod(self.stored_shape[self.axis + 1 :])

    @property
    def scratch_bytes(self) -> int:
        """The most memory that one thread holds, beside the caller's arrays, to read this."""
        if self.axis:
            return self._turning_bytes
        if self.way == "contiguous":
            return span_bytes(self.row_bytes)
        if self.elements is not None:
            return max(SCRATCH_BYTES, self.row_bytes)
        chunk = self.dtype.itemsize * math.prod(self.storage_chunk or (0,))
        slab = self.storage_rows * self.row_bytes
        if self.way == "general":
            return max(SCRATCH_BYTES, slab)
        # The stored bytes, two steps of decoding, and what is put together of them.
        return most_stored(chunk) + 2 * chunk + slab

    @property
    def _turning_bytes(self) -> int:
        """The same, where rows lie along another axis than the first."""
        if self.way == "contiguous":
            return contiguous_bytes(self.piece_bytes, self.row_bytes, self.rows)
        if self.way == "general" or self.storage_chunk is None:
            return turning_bytes(self.row_bytes, self.storage_rows, self.rows)
        chunk = self.dtype.itemsize * math.prod(self.storage_chunk)
        band = self.dtype.itemsize * math.prod((*self.storage_chunk[:2], *self.shape[2:]))
        return most_stored(chunk) + 3 * chunk + band

    @property
    def kept_bytes(self) -> int:
        """What stays in memory of it once it was read, whether the file is open or not: roughly."""
        if self.csr is not None:
            return sum(part.kept_bytes for part in self.parts)
        if self.way == "contiguous":
            return ContiguousWay.kept_bytes
        if self.way == "general" or self.storage_chunk is None:
            return 0
        grid = math.prod(grid_of(self.shape, self.storage_chunk))
        return kept_bytes(min(grid, self.stored_bytes))  # of most of it nothing may be stored

    @property
    def parts(self) -> tuple[Dataset, ...]:
        """The datasets that are read for it."""
        return (self,) if self.csr is None else (self.csr.data, self.csr.indices)

    def __str__(self) -> str:
        return f"{self.name} {shown(self.dtype)} {self.shape}"


@dataclass(frozen=True, slots=True)
class Csr:
    """The datasets of a group of sparse rows. Row i has the elements indptr[i] to indptr[i + 1]."""

    data: Dataset
    """The values of the elements."""
    indices: Dataset
    """The column of each."""
    indptr: Dataset
    """Where each row begins, and where the last one ends."""
    said: bool
    """Whether the group itself says that it holds sparse rows."""

    def row_bytes(self, shape: tuple[int, ...]) -> int:
        """The mean of what a row takes; 0 where there is nothing to batch."""
        rows, columns = shape
        if not rows or not columns:
            return 0
        element = self.data.dtype.itemsize + self.indices.dtype.itemsize
        return max(1, -(-self.data.rows * element // rows))

    @property
    def storage_rows(self) -> int:
        """Rows that lie in one storage chunk, in the mean; at least 1."""
        rows = max(1, self.indptr.rows - 1)
        together = max(self.data.storage_rows, self.indices.storage_rows)
        return max(1, together * rows // max(1, self.data.rows))


def check_batchable(file: str, dataset: Dataset) -> None:
    """Raises what is wrong with a dataset whose rows are wanted; see `FileDescription.dataset`."""
    if dataset.csr is not None:
        for part in (dataset.csr.data, dataset.csr.indices, dataset.csr.indptr):
            check_batchable(file, part)
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
