"""A dataset that grows by whole storage chunks, and the checksums that prove what it holds."""

from __future__ import annotations

import zlib
from typing import Any, Self

import h5py
import numpy as np
from h5py._objects import phil
from numpy.typing import NDArray

from prefetcher.filters.encode import Encoded, encoder_for
from prefetcher.hdf5.properties import stored_filters
from prefetcher.writing.codec import CodecName, create_options

_WITNESSES = 64  # rows whose checksums are kept: reading them back costs a moment in any file


def storable(dtype: np.dtype[Any]) -> bool:
    """Whether HDF5 has elements of this dtype and of a fixed size."""
    if dtype.hasobject or not dtype.itemsize:
        return False
    try:
        h5py.h5t.py_create(dtype, logical=True)
    except (TypeError, ValueError):  # text of numpy's own, times, and what holds such
        return False
    return True


class Witness:
    """Checksums of a few rows, spread evenly over all that were written."""

    def __init__(self) -> None:
        self._sums: dict[int, int] = {}
        self._every = 1
        self._last: tuple[int, int] | None = None

    def see(self, start: int, rows: NDArray[Any]) -> None:
        """Takes note of rows that are written from row `start` on."""
        stop = start + len(rows)
        while stop > self._every * _WITNESSES:
            self._every *= 2
            self._sums = {row: crc for row, crc in self._sums.items() if row % self._every == 0}
        for row in range(-(-start // self._every) * self._every, stop, self._every):
            self._sums[row] = _checksum(rows[row - start : row - start + 1])
        self._last = stop - 1, _checksum(rows[-1:])

    def wrong_row(self, dataset: h5py.Dataset) -> int | None:
        """Reads the rows back: the first whose bytes are not those that were written."""
        for row, crc in [*self._sums.items(), *([self._last] if self._last else [])]:
            if row >= len(dataset) or _checksum(dataset[row : row + 1]) != crc:
                return row
        return None

    def state(self) -> dict[str, Any]:
        """All of it, in JSON's types."""
        return {"every": self._every, "sums": list(self._sums.items()), "last": self._last}

    @classmethod
    def of_state(cls, state: dict[str, Any], rows: int) -> Self:
        """The witness that `state` was taken of, for the first so many rows."""
        witness = cls()
        witness._every = state["every"]
        witness._sums = {row: crc for row, crc in state["sums"] if row < rows}
        if state["last"] and state["last"][0] < rows:
            witness._last = tuple(state["last"])
        return witness


def _checksum(row: NDArray[Any]) -> int:
    """Of an array of one row: numpy's scalars of fixed strings lack their trailing NULs."""
    return zlib.crc32(np.ascontiguousarray(row).tobytes())


class GrowingDataset:
    """Writes rows behind those that are there, whole storage chunks at a time.

    Rows that do not fill a storage chunk yet are held in memory, so that none is encoded twice.
    """

    def __init__(self, dataset: h5py.Dataset, witness: Witness | None = None) -> None:
        self._dataset = dataset
        self._room = np.zeros(dataset.chunks, dataset.dtype)
        self._held = 0
        self.witness = witness or Witness()
        self.written: int = len(dataset)
        """Rows that the file holds; those held in memory are not counted."""
        filters = stored_filters(dataset.id.get_create_plist())
        self.encoder = encoder_for(filters, len(self._room))
        """What encodes its storage chunks; None where HDF5 does."""

    @classmethod
    def create(
        cls,
        file: h5py.File,
        name: str,
        row_shape: tuple[int, ...],
        dtype: np.dtype[Any],
        storage_rows: int,
        codec: CodecName,
    ) -> Self:
        """Makes the dataset, empty, and the groups that its name asks for."""
        chunks = (storage_rows, *row_shape)
        nbytes = dtype.itemsize * int(np.prod(chunks))
        dataset = file.create_dataset(
            name,
            (0, *row_shape),
            dtype,
            maxshape=(None, *row_shape),
            chunks=chunks,
            **create_options(codec, dtype, nbytes),
        )
        return cls(dataset)

    def append(self, rows: NDArray[Any], encoded: Encoded | None = None) -> None:
        """Takes rows of the dataset's own shape and dtype.

        Args:
            rows: They are not changed afterwards.
            encoded: What `encoder` made of them, if they are a storage chunk's; it saves time.
        """
        size = len(self._room)
        if self.written % size:
            self._take_back()
        if encoded and not self._held and len(rows) == size:
            self._write(rows, encoded)
            return
        while len(rows):
            if not self._held and len(rows) >= size:
                count = size
                self._encode(rows[:count])
            else:
                count = min(len(rows), size - self._held)
                self._room[self._held : self._held + count] = rows[:count]
                self._held += count
                if self._held == size:
                    self.flush()
            rows = rows[count:]

    def flush(self) -> None:
        """Writes the rows held in memory too: no more are to come."""
        held, self._held = self._held, 0
        if held:
            self._encode(self._room[:held])

    def _take_back(self) -> None:
        """Holds the rows of the last storage chunk again, which was not full."""
        self._held = self.written % len(self._room)
        self._room[: self._held] = self._dataset[self.written - self._held :]
        self.written -= self._held

    def drop(self) -> None:
        """Gives up all rows, also those that HDF5 still has to write."""
        self._dataset.resize(0, axis=0)

    def _encode(self, rows: NDArray[Any]) -> None:
        self._write(rows, self.encoder.encode(rows) if self.encoder else None)

    def _write(self, rows: NDArray[Any], encoded: Encoded | None) -> None:
        """Writes the rows of one storage chunk; of the last one they may be fewer."""
        stop = self.written + len(rows)
        self._dataset.resize(stop, axis=0)
        if encoded:
            corner = (self.written, *[0] * (rows.ndim - 1))
            with phil:  # h5py's own lock, which it takes here itself since 3.16 only (its #2764)
                self._dataset.id.write_direct_chunk(corner, encoded.data, encoded.mask)
        else:
            self._dataset[self.written : stop] = rows
        self.witness.see(self.written, rows)
        self.written = stop
