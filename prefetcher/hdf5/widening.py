"""Whole numbers that have other widths in other files, as the widest of them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np

from prefetcher.hdf5.places import Places, rows_in
from prefetcher.hdf5.source import Source
from prefetcher.order.runs import Run

_SLAB_BYTES = 128 << 10  # converted at once: in the processor's cache, and no memory to speak of


def widest(dtypes: Iterable[np.dtype[Any]]) -> np.dtype[Any] | None:
    """What holds whole numbers of all of these types; None where nothing does."""
    each = set(dtypes)
    if any(dtype.kind not in "iu" for dtype in each):
        return None
    found = np.result_type(*each)
    return found if found.kind in "iu" else None  # int64 and uint64 make float64


def read_wider(
    source: Source,
    name: str,
    runs: Sequence[Run],
    places: Places,
    dtypes: tuple[np.dtype[Any], np.dtype[Any]],
) -> None:
    """Reads runs of rows to the next of these places as numbers of another type.

    Args:
        source: The file.
        name: The dataset.
        runs: Its rows.
        places: Where they go.
        dtypes: Of the dataset, and of the places.

    Raises:
        PrefetchError: As `Source.read`.
    """
    stored, wanted = dtypes
    row_bytes = places.row_bytes * stored.itemsize // wanted.itemsize
    for slab in _slabs(runs, max(1, _SLAB_BYTES // max(row_bytes, 1))):
        rows = np.empty((rows_in(slab), row_bytes), np.uint8)
        source.read(name, slab, [rows])
        places.put(rows.view(stored).astype(wanted).view(np.uint8))
        places.done += len(rows)


def _slabs(runs: Iterable[Run], most: int) -> Iterator[list[Run]]:
    """The same runs, cut and put together so that so many rows at most are read at once."""
    slab: list[Run] = []
    room = most
    for start, stop in runs:
        first = start
        while first < stop:
            until = min(stop, first + room)
            slab.append((first, until))
            room -= until - first
            first = until
            if not room:
                yield slab
                slab, room = [], most
    if slab:
        yield slab
