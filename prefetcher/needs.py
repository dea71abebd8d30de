"""Which samples a data set has, and which rows of which dataset they need."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import groupby

from prefetcher.columns.column import Span, View
from prefetcher.columns.rowmap import RowMap
from prefetcher.errors import DatasetError, SettingsError
from prefetcher.hdf5.dataset import Dataset
from prefetcher.hdf5.elements import elements_of
from prefetcher.hdf5.shards import Shards
from prefetcher.messages.suggestions import listed
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
    first, samples = _samples(shards, by_dataset)
    if not sum(samples):
        raise DatasetError(f"{shards.name} has no sample: {_shortest(by_dataset)}")
    needs = []
    for name, of_one in by_dataset.items():
        rows_of = [part.rows for part in shards.parts(name)]
        rows_map = RowMap(rows_of, samples, first, of_one[0].span.stride)
        dataset = shards.dataset(name)
        elements = elements_of(shards, name) if dataset.csr else None
        needs.append(Need(dataset, tuple(of_one), rows_map, len(rows_of), elements))
    return tuple(needs), sum(samples)


def _samples(shards: Shards, views: Mapping[str, Sequence[View]]) -> tuple[list[int], list[int]]:
    """The first place of each shard at which there is a sample, and how many samples it has."""
    first, samples = [], []
    known: dict[tuple[int, ...], tuple[int, int]] = {}  # of datasets alike, as most files have
    for shard, parts in enumerate(zip(*map(shards.parts, views), strict=True)):
        alike = tuple(map(id, parts))
        if alike not in known:
            datasets = dict(zip(views, parts, strict=True))
            known[alike] = _places(shards.where(shard, next(iter(views))), datasets, views)
        begin, end = known[alike]
        first.append(begin)
        samples.append(max(0, end - begin))
    return first, samples


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
    shard, row = rows.row_of(sample, view.span.ahead + step)
    where = shards.where(shard, view.dataset)
    own = "" if shards.is_pattern(view.dataset) else f"{view.dataset} in "
    return f"row {row} of {own}{where}"


def _check_strides(name: str, views: Sequence[View]) -> None:
    strides = sorted({view.span.stride for view in views})
    if len(strides) > 1:
        raise SettingsError(
            f"{name} has columns of stride {strides[0]} and of stride {strides[1]}: sample i must "
            "stand at one row of it, so write one stride for all"
        )


def _places(
    file: str, datasets: Mapping[str, Dataset], views: Mapping[str, Sequence[View]]
) -> tuple[int, int]:
    """The first place of a file at which there is a sample, and one past the last.

    Place i stands at row ``i * stride`` of each dataset.
    """
    _check_rows(file, datasets, views)
    bounds = [
        _bounds(datasets[name].rows, view.span) for name, of_one in views.items() for view in of_one
    ]
    return max(begin for begin, _ in bounds), min(end for _, end in bounds)


def _bounds(rows: int, span: Span) -> tuple[int, int]:
    stands = -(-rows // span.stride)  # places that are rows of the file
    if span.pad:
        return 0, stands
    begin = max(0, -(span.ahead // span.stride))
    return begin, min(stands, (rows - span.stop) // span.stride + 1)


def _check_rows(
    file: str, datasets: Mapping[str, Dataset], views: Mapping[str, Sequence[View]]
) -> None:
    """Row i of every dataset must belong to the same sample."""
    found = listed([f"{dataset.name} {dataset.rows} rows" for dataset in datasets.values()])
    if any(dataset.rows * dataset.row_bytes == 0 for dataset in datasets.values()):
        raise DatasetError(f"{file} has {found}: there is nothing to batch")
    by_stride = sorted((views[name][0].span.stride, each.rows) for name, each in datasets.items())
    places = []
    for stride, group in groupby(by_stride, key=lambda pair: pair[0]):
        rows = {count for _, count in group}
        if len(rows) > 1:
            raise DatasetError(f"{file} has {found}: x, y and sample_weight need as many rows each")
        (count,) = rows
        places.append((count // stride, -(-count // stride), stride))
    if max(low for low, _, _ in places) > min(high for _, high, _ in places):
        made = listed([f"{low} of stride {stride}" for low, _, stride in places])
        raise DatasetError(
            f"{file} has {found}, which make {made}: x, y and sample_weight need as many samples "
            "each, so correct the strides"
        )


def _shortest(views: Mapping[str, Sequence[View]]) -> str:
    longest = max((view for of_one in views.values() for view in of_one), key=_rows_needed)
    return f"one needs {_rows_needed(longest)} rows of {longest.dataset}, and no file has so many"


def _rows_needed(view: View) -> int:
    return max(view.span.stop, 0) - min(view.span.ahead, 0)
