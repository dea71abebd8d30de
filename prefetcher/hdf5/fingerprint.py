"""What tells a data set from another one of the same size, without reading all of it.

A copy of the files has the same fingerprint: names and times are no part of it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import closing
from hashlib import sha256
from typing import NamedTuple

import numpy as np

from prefetcher.hdf5.dataset import Dataset
from prefetcher.hdf5.sharded import ShardedSource
from prefetcher.hdf5.shards import Shards
from prefetcher.order.runs import Run

WHOLE_BYTES = 1 << 20
"""A dataset of up to 1 MiB, as most labels are, is read whole: that costs a millisecond."""
PLACES = 64
"""Places of a larger one whose storage is compared, one in each 64th of its rows."""
DECODED_BYTES = 8 << 20
"""What is decoded of a larger one, roughly: some 40 ms of gzip, in a start that takes seconds."""
_FEWEST = 8  # places that are read even where a storage chunk is larger than all that
_PLACE_BYTES = 64 << 10  # read at a place of a dataset that needs no decoding


class Fingerprint(NamedTuple):
    """Short checksums, as text."""

    storage: str
    """Of how each dataset is stored in each file, and where the bytes of its places lie."""
    rows: str
    """Of the rows at some of those places."""


def fingerprint(shards: Shards, names: Sequence[str]) -> Fingerprint:
    """Reads some rows of each dataset; the same ones each time. Blocks.

    Raises:
        FileError: A file changed since it was described, or cannot be opened.
        ReadError: It cannot be read.
    """
    stored, read, files = sha256(), sha256(), shards.files
    with closing(ShardedSource(shards, names)) as source:
        for name in names:
            dataset = shards.dataset(name)
            for number, path, part in zip(*shards.places(name), shards.parts(name), strict=True):
                about = (part.shape, part.layout, part.storage_chunk, part.filters)
                size = files[number].size
                stored.update(repr((size, path, *about, part.stored_bytes)).encode())
            runs = places(dataset)
            stored.update(repr(source.ranges(name, runs)).encode())
            for run in _affordable(dataset, runs):
                read.update(_rows(source, dataset, run))
    return Fingerprint(stored.hexdigest()[:16], read.hexdigest()[:16])


def places(dataset: Dataset) -> list[Run]:
    """The runs of rows that are compared: all, or the ends and one run in each 64th.

    Where in its part a run lies is drawn by a hash, so that no period in the data hides a change.
    """
    if dataset.rows * dataset.row_bytes <= WHOLE_BYTES:
        return [(0, dataset.rows)]
    drawn = [0, dataset.rows - 1]
    for number in range(PLACES):
        first, stop = (dataset.rows * edge // PLACES for edge in (number, number + 1))
        dice = int.from_bytes(sha256(f"{dataset.name} {number}".encode()).digest()[:8])
        drawn.append(first + dice % max(stop - first, 1))
    return sorted({_run(dataset, row) for row in drawn})


def _run(dataset: Dataset, row: int) -> Run:
    """The rows around this one that cost no more to read than it does."""
    chunked = dataset.storage_chunk is not None
    most = max(1, (WHOLE_BYTES if chunked else _PLACE_BYTES) // dataset.row_bytes)
    together = dataset.storage_rows if chunked else most
    begin = row // together * together
    first = row - (row - begin) % min(most, together)
    return first, min(first + most, begin + together, dataset.rows)


def _affordable(dataset: Dataset, runs: list[Run]) -> Iterator[Run]:
    """As many of the runs, spread evenly, as are read and decoded in a moment."""
    cost = max(dataset.storage_rows, runs[0][1] - runs[0][0]) * dataset.row_bytes
    count = min(len(runs), max(_FEWEST, DECODED_BYTES // cost))
    yield from (runs[at * len(runs) // count] for at in range(count))


def _rows(source: ShardedSource, dataset: Dataset, run: Run) -> bytes:
    if dataset.elements is not None:
        return b"".join(_objects(source, dataset, run))
    rows = np.empty((run[1] - run[0], dataset.row_bytes), np.uint8)
    source.read(dataset.name, [run], [rows])
    return rows.tobytes()


def _objects(source: ShardedSource, dataset: Dataset, run: Run) -> Iterator[bytes]:
    """Rows of variable length, each behind its size."""
    rows = np.empty((run[1] - run[0], *dataset.row_shape), object)
    source.objects(dataset.name, [run], rows)
    for row in rows.reshape(-1):
        content = bytes(row)
        yield len(content).to_bytes(8, "little") + content
