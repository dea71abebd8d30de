"""Where the elements of sparse rows lie in their datasets, for the rows of all files."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from prefetcher.errors import CorruptError, DatasetError
from prefetcher.hdf5.dataset import Csr
from prefetcher.hdf5.describe import FileDescription
from prefetcher.hdf5.shards import Shards
from prefetcher.hdf5.source import Source
from prefetcher.machine.limits import memory_allowed

Numbers = NDArray[np.int64]


class Between(NamedTuple):
    """The elements of rows: the first of each, and one past its last."""

    begin: Numbers
    stop: Numbers


class Elements:
    """The elements of each row of a group of sparse rows. Rows and elements count over all files.

    Args:
        where: The group of each file, for messages: "X in cells.h5ad".
        pointers: What `indptr` holds in each, int64 (rows + 1,).
        stored: Elements in each, also those that no row has.
    """

    def __init__(self, where: list[str], pointers: list[Numbers], stored: list[int]) -> None:
        self._where = where
        self._ends = np.cumsum([len(each) - 1 for each in pointers])
        before = np.cumsum([0, *stored[:-1]])
        # One number more than rows for each file: a file may have elements behind its last row.
        self._pointers: Numbers = (
            pointers[0]
            if len(pointers) == 1
            else np.concatenate([each + at for each, at in zip(pointers, before, strict=True)])
        )

        self._known: dict[Hashable, int] = {}

    def once(self, key: Hashable, work_out: Callable[[], int]) -> int:
        """A number that depends on these elements and on `key`; worked out once."""
        if key not in self._known:
            self._known[key] = work_out()
        return self._known[key]

    @property
    def longest(self) -> int:
        """Elements of the longest row."""
        counts = np.diff(self._pointers)
        if len(self._where) > 1:  # a step from one file to the next is no row
            counts[self._ends[:-1] + np.arange(len(self._where) - 1)] = 0
        return int(counts.max(initial=0))

    @property
    def nbytes(self) -> int:
        """Memory that this takes: 8 bytes a row."""
        return self._pointers.nbytes

    def of(self, rows: Numbers) -> Between:
        """The elements of these rows."""
        at = rows + self._files_of(rows)
        return Between(self._pointers[at], self._pointers[at + 1])

    def where(self, row: int) -> str:
        """One row as a message names it."""
        number = int(self._files_of(np.array([row]))[0])
        own = row - (int(self._ends[number - 1]) if number else 0)
        return f"rows {own} to {own + 1} of {self._where[number]}"

    def _files_of(self, rows: Numbers) -> Numbers:
        if len(self._where) == 1:
            return np.zeros(len(rows), np.int64)
        found: Numbers = np.searchsorted(self._ends, rows, side="right")
        return found


def elements_of(shards: Shards, name: str) -> Elements:
    """Reads where the rows of a group begin, in every file. Blocks.

    Raises:
        CorruptError: `indptr` does not ascend, or goes beyond the elements.
        DatasetError: There are more rows than memory has room to know.
        FileError: A file changed since it was described, or cannot be opened.
        ReadError: The system could not read it.
    """
    where, pointers, stored, files = [], [], [], shards.files
    for number, path, part in zip(*shards.places(name), shards.parts(name), strict=True):
        file, csr = files[number], part.csr
        if csr is None:
            raise TypeError(f"{name} has no sparse rows")
        where.append(f"{path} in {file.path.name}")
        pointers.append(_checked(file, path, csr))
        stored.append(csr.data.rows)
    return Elements(where, pointers, stored)


def _checked(file: FileDescription, name: str, csr: Csr) -> Numbers:
    where = f"of {name} in {file.path.name} are damaged"
    pointers = _read(file, name, csr)
    falls = np.flatnonzero(pointers[1:] < pointers[:-1])
    if len(falls):
        row = int(falls[0])
        raise CorruptError(
            f"rows {row} to {row + 1} {where}: {csr.indptr.name} falls from {pointers[row]} to "
            f"{pointers[row + 1]}; copy or write the file again"
        )
    outside = np.flatnonzero((pointers < 0) | (pointers > csr.data.rows))
    if len(outside):
        row = max(0, int(outside[0]) - 1)
        raise CorruptError(
            f"rows {row} to {row + 1} {where}: {csr.indptr.name} holds {pointers[outside[0]]}, and "
            f"there are elements 0 to {csr.data.rows}; copy or write the file again"
        )
    return pointers


def _read(file: FileDescription, name: str, csr: Csr) -> Numbers:
    indptr = csr.indptr
    needed, have = 2 * indptr.rows * 8, memory_allowed()
    if needed > have:
        raise DatasetError(
            f"{name} in {file.path.name} says that it has {indptr.rows - 1:,} rows: where they "
            f"begin takes {needed / 1e9:.1f} GB, and this process may have {have / 1e9:.1f}"
        )
    out = np.empty((indptr.rows, indptr.row_bytes), np.uint8)
    source = Source(file, [indptr.name], retries=file.retries)
    try:
        source.read(indptr.name, [(0, indptr.rows)], [out])
    finally:
        source.close()
    found: Numbers = out.view(indptr.dtype)[:, 0].astype(np.int64)
    return found
