"""Which samples a data set has, and which rows of which dataset they need."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from itertools import accumulate

import numpy as np

from prefetcher.columns.column import Span, View
from prefetcher.columns.rowmap import Numbers, RowMap
from prefetcher.errors import DatasetError, SettingsError
from prefetcher.hdf5.elements import elements_of
from prefetcher.hdf5.shards import Shards
from prefetcher.pieces import rows_together
from prefetcher.pipeline.lane import Need


def needs_of(shards: Shards, views: Iterable[View]) -> tuple[tuple[Need, ...], int]:
    """What samples need of each dataset, and how many samples there are in all files.

    Raises:
        DatasetError: Datasets do not fit together, or have no sample.
        SettingsError: Two columns of one dataset have different strides.
        ReadError: Where sparse rows begin cannot be read, or is damaged.
    """
    by_dataset: dict[str, list[View]] = {}
    for view in dict.fromkeys(views):
        by_dataset.setdefault(view.dataset, []).append(view)
    for name, of_one in by_dataset.items():
        _check_strides(name, of_one)
    strides = {name: of_one[0].span.stride for name, of_one in by_dataset.items()}
    rows = rows_together(shards, strides)
    first, samples = _samples(rows, by_dataset)
    if not sum(samples):
        raise DatasetError(f"{shards.name} has no sample: {_shortest(shards, by_dataset)}")
    needs = []
    for name, of_one in by_dataset.items():
        rows_map = RowMap(rows[name], samples, first, strides[name])
        dataset = shards.dataset(name)
        elements = elements_of(shards, name) if dataset.csr else None
        needs.append(Need(dataset, tuple(of_one), rows_map, len(samples), elements))
    return tuple(needs), sum(samples)


def _samples(
    rows: Mapping[str, Sequence[int]], views: Mapping[str, Sequence[View]]
) -> tuple[list[int], list[int]]:
    """The first place of each piece at which there is a sample, and how many samples it has.

    Place i stands at row ``i * stride`` of each dataset.
    """
    first, samples = [], []
    known: dict[tuple[int, ...], tuple[int, int]] = {}  # of pieces alike, as most files are
    for piece in zip(*map(rows.__getitem__, views), strict=True):
        if piece not in known:
            bounds = [
                _bounds(count, view.span)
                for count, of_one in zip(piece, views.values(), strict=True)
                for view in of_one
            ]
            known[piece] = max(begin for begin, _ in bounds), min(end for _, end in bounds)
        begin, end = known[piece]
        first.append(begin)
        samples.append(max(0, end - begin))
    return first, samples


def standing(
    shards: Shards, needs: Sequence[Need], beside: View, name: str
) -> Callable[[Numbers], Numbers] | None:
    """Gives the row of a dataset at which each sample stands: where `beside` begins.

    Args:
        shards: The files.
        needs: What samples need, the dataset of `beside` among them.
        beside: The view of the targets.
        name: A dataset. Where it has not as many rows as that of `beside`, samples stand in it as
            in another that has.

    Returns:
        From the numbers of samples to rows over all files; None where no dataset of the samples
        has as many rows.
    """
    rows = [part.rows for part in shards.parts(name)]
    first = sorted(needs, key=lambda need: need.dataset.name != beside.dataset)
    for need in first:
        if [part.rows for part in shards.parts(need.dataset.name)] == rows:
            view = beside if beside in need.views else need.views[0]
            return partial(_standing, need.rows, view.span.ahead)
    return None


def _standing(rows: RowMap, ahead: int, samples: Numbers) -> Numbers:
    low, high = rows.bounds(samples)
    return np.clip(rows.rows(samples) + ahead, low, high - 1)


def row_text(shards: Shards, needs: Iterable[Need], view: View, sample: int, step: int) -> str:
    """A row of a sample as messages name it: "row 17 of images in a.h5".

    Args:
        shards: The files.
        needs: What samples need, the dataset of the view among them.
        view: Which rows.
        sample: The sample's number.
        step: Which of its rows.
    """
    rows = next(need.rows for need in needs if need.dataset.name == view.dataset)
    row = rows.row_of(sample, view.span.ahead + step)
    ends = list(accumulate(part.rows for part in shards.parts(view.dataset)))
    shard = bisect_right(ends, row)
    where = shards.where(shard, view.dataset)
    own = "" if shards.is_pattern(view.dataset) else f"{shards.path(view.dataset)} in "
    return f"row {row - (ends[shard - 1] if shard else 0)} of {own}{where}"


def _check_strides(name: str, views: Sequence[View]) -> None:
    strides = sorted({view.span.stride for view in views})
    if len(strides) > 1:
        raise SettingsError(
            f"{name} has columns of stride {strides[0]} and of stride {strides[1]}: sample i must "
            "stand at one row of it, so write one stride for all"
        )


def _bounds(rows: int, span: Span) -> tuple[int, int]:
    stands = -(-rows // span.stride)  # places that are rows of the file
    if span.pad:
        return 0, stands
    begin = max(0, -(span.ahead // span.stride))
    return begin, min(stands, (rows - span.stop) // span.stride + 1)


def _shortest(shards: Shards, views: Mapping[str, Sequence[View]]) -> str:
    longest = max((view for of_one in views.values() for view in of_one), key=_rows_needed)
    name, rows = longest.dataset, _rows_needed(longest)
    place = "group" if shards.is_pattern(name) else "file"
    return f"one needs {rows} rows of {name}, and no {place} has so many"


def _rows_needed(view: View) -> int:
    return max(view.span.stop, 0) - min(view.span.ahead, 0)
