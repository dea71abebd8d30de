"""What is made of stored rows: the values of names and columns, bound to what files hold."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from functools import partial

import numpy as np
from numpy.typing import NDArray

from prefetcher.batch import Made
from prefetcher.columns.column import Column, Packing, Stored, Value
from prefetcher.columns.packed import Unpacked
from prefetcher.columns.rowmap import RowMap
from prefetcher.columns.rows import Row
from prefetcher.columns.varied import Varied
from prefetcher.errors import DatasetError
from prefetcher.hdf5.shards import Shards
from prefetcher.pipeline.lane import Need


def value_of(leaf: str | Column, shards: Shards) -> Value:
    """What a batch holds for a name or a column.

    Raises:
        PrefetchError: There is no such dataset, or no such value can be made of it.
    """
    return _values_of(leaf, shards)[0]


def _values_of(leaf: str | Column, shards: Shards) -> list[Value]:
    """The same for each way of packing that its shards have, in the order of `_packings_of`.

    Raises:
        PrefetchError: As `value_of`.
    """
    name = leaf if isinstance(leaf, str) else leaf.dataset
    dataset = shards.dataset(name)
    column = Row(leaf) if isinstance(leaf, str) else leaf
    packings = list(dict.fromkeys(_packings_of(column, shards)))
    sparse, varied = dataset.csr is not None, len(packings) > 1
    return [
        column.value(Stored(dataset.dtype, dataset.row_shape, sparse, packing, varied))
        for packing in packings
    ]


def _packings_of(column: Column, shards: Shards) -> list[Packing | None]:
    """How the numbers of each shard are packed; one for all where that makes no difference.

    Raises:
        DatasetError: Those of some are not packed at all.
    """
    name = column.dataset
    if not any(isinstance(each, Unpacked) for each in nested(column)):
        return [shards.dataset(name).packing]
    packings = [part.packing for part in shards.parts(name)]
    if None in packings and any(packings):
        bare, packed = packings.index(None), next(at for at, each in enumerate(packings) if each)
        raise DatasetError(
            f"{shards.path(name)} is packed in {shards.where(packed, name)} ({packings[packed]}), "
            f"and not in {shards.where(bare, name)}: give it the attributes there too, or make a "
            "sequence for each"
        )
    return packings


def nested(column: str | Column) -> Iterator[Column]:
    """Yields a column and those that it stands over; nothing for a name."""
    while isinstance(column, Column):
        yield column
        column = column.of


def by_file(
    made: Mapping[str | Column, Made], shards: Shards, needs: Iterable[Need]
) -> dict[str | Column, Made]:
    """The same, but as the file of each sample wants it where files are packed in several ways.

    Args:
        made: Which rows each name and column needs, and what is made of them.
        shards: The files.
        needs: What samples need of each dataset.
    """
    rows = {need.dataset.name: need.rows for need in needs}
    found = dict(made)
    for leaf, (view, _) in made.items():
        if isinstance(leaf, Column) and len(values := _values_of(leaf, shards)) > 1:
            packings = _packings_of(leaf, shards)
            ways = {packing: way for way, packing in enumerate(dict.fromkeys(packings))}
            of_shard = np.array([ways[packing] for packing in packings])
            ends = np.cumsum([part.rows for part in shards.parts(view.dataset)])
            which = partial(_way_of, rows[view.dataset], ends, of_shard)
            found[leaf] = view, Varied([value.make for value in values], which)
    return found


def _way_of(
    rows: RowMap, ends: NDArray[np.int64], of_shard: NDArray[np.intp], samples: NDArray[np.int64]
) -> NDArray[np.intp]:
    """The way of each sample's shard."""
    first, _ = rows.bounds(samples)  # no sample reaches into another shard
    way: NDArray[np.intp] = of_shard[np.searchsorted(ends, first, side="right")]
    return way
