"""Which rows of several datasets belong together: in pieces that no sample reaches out of.

A piece lies between two edges, where any of the files begins or ends. Where all files hold all of
the datasets a piece is a file. Files of different keys may be cut at different rows.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import groupby
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from prefetcher.columns.axis import Axis
from prefetcher.errors import DatasetError
from prefetcher.hdf5.axes import to_turn
from prefetcher.hdf5.dataset import Dataset
from prefetcher.hdf5.shards import Shards
from prefetcher.messages.suggestions import listed


class _Places(NamedTuple):
    """How many samples may stand in a shard: a last one may have its rows or not."""

    least: int
    most: int


def rows_together(shards: Shards, strides: Mapping[str, int]) -> dict[str, list[int]]:
    """The rows that each dataset has in each piece. Piece by piece they belong together.

    Args:
        shards: The files.
        strides: For each dataset, how many rows of it one sample goes on by.

    Raises:
        DatasetError: The datasets do not have as many rows, or one has none.
    """
    names: dict[str, list[str]] = {}
    for name in strides:
        names.setdefault(shards.key(name), []).append(name)
    places = {key: _places(shards, of_key, strides) for key, of_key in names.items()}
    if _fit(places.values()):
        return {name: [part.rows for part in shards.parts(name)] for name in strides}
    _check_cuts(shards, names, places)
    ends = {key: np.cumsum([each.most for each in own]) for key, own in places.items()}
    edges = np.unique(np.concatenate(list(ends.values())))
    return {
        name: _cut([part.rows for part in shards.parts(name)], strides[name], ends[key], edges)
        for key, of_key in names.items()
        for name in of_key
    }


def _cut(
    rows: Sequence[int], stride: int, ends: NDArray[np.int64], edges: NDArray[np.int64]
) -> list[int]:
    """The rows of one dataset between edges. `ends` are those of its own shards."""
    of_shard = np.asarray(rows, np.int64)
    shard = np.searchsorted(ends, edges)
    begins, stops = np.cumsum(of_shard) - of_shard, np.cumsum(of_shard)
    first = np.concatenate([[0], ends[:-1]])
    # A shard's last sample may lack some of its rows.
    at = np.minimum(begins[shard] + (edges - first[shard]) * stride, stops[shard])
    at = np.where(edges == ends[shard], stops[shard], at)
    found: list[int] = np.diff(at, prepend=0).tolist()
    return found


def _fit(places: Iterable[Sequence[_Places]]) -> bool:
    """Whether the shards of each key belong together as they are."""
    of_keys = list(places)
    if len(of_keys) == 1:
        return True
    if len(set(map(len, of_keys))) > 1:
        return False
    return all(
        max(each.least for each in shard) <= min(each.most for each in shard)
        for shard in zip(*of_keys, strict=True)
    )


def _check_cuts(
    shards: Shards, names: Mapping[str, Sequence[str]], places: Mapping[str, Sequence[_Places]]
) -> None:
    """Refuses files of several keys that cannot belong together.

    Raises:
        DatasetError: They do not have as many samples, or are not in the same order.
    """
    totals = {key: sum(each.most for each in own) for key, own in places.items()}
    if len(set(totals.values())) > 1:
        found = listed([_rows(shards.dataset(of_key[0])) for of_key in names.values()])
        raise DatasetError(
            f"{shards.name} have {found}, which make {listed(list(map(str, totals.values())))} "
            "samples: x, y and sample_weight need as many each"
        )
    cuts = [[each.most for each in own] for own in places.values()]
    if all(sorted(own) == sorted(cuts[0]) for own in cuts):
        keys = list(names)
        raise DatasetError(
            f"the files of {keys[0]} have {listed(list(map(str, cuts[0])))} rows, and those of "
            f"{keys[-1]} the same numbers in another order: name the files in one order"
        )


def _places(shards: Shards, names: Sequence[str], strides: Mapping[str, int]) -> list[_Places]:
    """How many samples may stand in each shard of some datasets that all of its files hold."""
    found = []
    known: dict[tuple[int, ...], _Places] = {}  # of datasets alike, as most files have
    for shard, parts in enumerate(zip(*map(shards.parts, names), strict=True)):
        alike = tuple(map(id, parts))
        if alike not in known:
            where = shards.where(shard, names[0])
            by_stride = [(strides[name], part) for name, part in zip(names, parts, strict=True)]
            known[alike] = _places_of(where, by_stride)
        found.append(known[alike])
    return found


def _places_of(where: str, datasets: Sequence[tuple[int, Dataset]]) -> _Places:
    """The same of one shard: row i of every dataset must belong to the same sample."""
    found = listed([_rows(dataset) for _, dataset in datasets])
    if any(dataset.rows * dataset.row_bytes == 0 for _, dataset in datasets):
        raise DatasetError(f"{where} has {found}: there is nothing to batch")
    by_stride = sorted((stride, dataset.rows) for stride, dataset in datasets)
    places = []
    for stride, group in groupby(by_stride, key=lambda pair: pair[0]):
        rows = {count for _, count in group}
        if len(rows) > 1:
            other = _other_axis([dataset for _, dataset in datasets])
            raise DatasetError(
                f"{where} has {found}: x, y and sample_weight need as many rows each{other}"
            )
        (count,) = rows
        places.append((count // stride, -(-count // stride), stride))
    least, most = max(low for low, _, _ in places), min(high for _, high, _ in places)
    if least > most:
        made = listed([f"{low} of stride {stride}" for low, _, stride in places])
        raise DatasetError(
            f"{where} has {found}, which make {made}: x, y and sample_weight need as many samples "
            "each, so correct the strides"
        )
    return _Places(least, most)


def _other_axis(datasets: Sequence[Dataset]) -> str:
    """What to write where samples lie along the last axis."""
    count, names = to_turn(datasets)
    if not names:
        return ""
    columns = ", ".join(str(Axis(name)) for name in names)
    return f". {count} lie along the last axis of {listed(names)}: if so, write {columns}"


def _rows(dataset: Dataset) -> str:
    return f"{dataset.name} {dataset.rows} rows"
