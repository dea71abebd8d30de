"""Storage chunks encoded outside HDF5's lock, by whichever thread or process has their rows."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import deflate
import numpy as np
from numpy.typing import NDArray

from prefetcher.filters import plugins
from prefetcher.filters.compressors import GZIP
from prefetcher.filters.decode import SHUFFLE, Bytes, StoredFilter
from prefetcher.filters.shuffle import shuffled


class Encoded(NamedTuple):
    """A storage chunk as it lies in the file."""

    data: Bytes
    mask: int
    """Bit i tells that filter i was skipped."""


@dataclass(frozen=True, slots=True)
class Encoder:
    """Applies the filters of one dataset. Small and picklable; any number of threads may use it."""

    filters: tuple[StoredFilter, ...]
    """In the order in which they are applied; none for a dataset that is stored as it is."""
    rows: int
    """Rows of a storage chunk."""

    def encode(self, rows: NDArray[Any]) -> Encoded:
        """The same bytes for the same rows.

        Args:
            rows: Those of one storage chunk, in the dataset's dtype; of the last one fewer. Zeros
                fill it then, as HDF5 itself would.
        """
        plain = np.ascontiguousarray(rows).reshape(-1).view(np.uint8)
        if len(rows) < self.rows:
            # Bytes, not rows: numpy's concatenate would give them another byte order.
            missing = (self.rows - len(rows)) * (len(plain) // len(rows))
            plain = np.append(plain, np.zeros(missing, np.uint8))
        data = plain
        for stored in self.filters:
            stage = _stage(stored)
            assert stage, f"{stored.name} was checked by encoder_for"
            data = stage(data)
        if len(data) < len(plain):
            return Encoded(data, 0)
        return Encoded(plain, (1 << len(self.filters)) - 1)  # nothing to decode, then


def encoder_for(filters: Sequence[StoredFilter], rows: int) -> Encoder | None:
    """The encoder of storage chunks of so many rows, None if HDF5 has to encode them."""
    return Encoder(tuple(filters), rows) if all(map(_stage, filters)) else None


def _stage(stored: StoredFilter) -> Callable[[Bytes], Bytes] | None:
    if stored.code == GZIP:
        return partial(_deflated, stored.values[0])
    if stored.code == SHUFFLE:
        return partial(shuffled, stored.values[0])
    return plugins.encoder(stored.code, stored.values)


def _deflated(level: int, data: Bytes) -> Bytes:
    # Twice zlib's speed at the same level and size; the GIL is released meanwhile.
    return np.frombuffer(deflate.zlib_compress(data, level), np.uint8)
