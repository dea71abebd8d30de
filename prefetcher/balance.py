"""Whether a range of rows has other classes than the rest: a cheap look at a few labels.

A file that is sorted by class and split by ranges trains on classes that validation never has, and
nothing else would say so.
"""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from contextlib import closing
from typing import Any

import numpy as np
from numpy.typing import NDArray

from prefetcher.arguments import KeyedFiles
from prefetcher.errors import PrefetchError
from prefetcher.hdf5.dataset import Dataset
from prefetcher.hdf5.sharded import ShardedSource
from prefetcher.labels import has_single
from prefetcher.messages.suggestions import listed
from prefetcher.order.runs import runs_of
from prefetcher.order.samples import Samples
from prefetcher.pipeline.stream import Feed

_PLACES = 5  # on each side, so ten reads in all: a few milliseconds, once
_LABELS = 32  # neighbours that are read at each place: they show whether the labels are sorted
_SHOWN = 4  # files that the message names: more is no longer read
_LARGEST_READ = 1 << 20  # bytes decoded at each place, at most

_Rows = NDArray[np.int64]


def warning(feed: Feed) -> str | None:
    """What to warn of: a range of rows whose classes are not those of the rows left out.

    Looks at 320 integer labels at most, in ten places, and only where a read decodes 1 MiB or less.
    Labels in any other order than sorted ones give no warning.
    """
    inside = _range(feed.plan.samples)
    name = feed.settings.y
    if inside is None or not isinstance(name, str):
        return None
    dataset = feed.shards.dataset(name)
    # Fewer rows than a batch are left out to make batches whole, not to validate with.
    if dataset.rows - len(inside) < feed.settings.batch_size or not _looked_at(dataset):
        return None
    rows = _places(inside, dataset.rows)
    try:
        labels = _read(feed, dataset, rows)
    except (PrefetchError, OSError):  # training meets it at its place, and names the rows
        return None
    if not _sorted(labels) or not _are_classes(labels, dataset.rows):
        return None
    used = (rows >= inside.start) & (rows < inside.stop)
    differing = _differing(labels[used], labels[~used])
    return _message(feed, name, inside, differing) if differing else None


def _range(samples: Samples) -> range | None:
    """The rows, if they follow each other in the file."""
    if isinstance(samples, range):
        return samples if samples.step == 1 else None
    first, last = int(samples[0]), int(samples[-1])
    if last - first + 1 != len(samples) or not (np.diff(samples) == 1).all():
        return None
    return range(first, last + 1)


def _looked_at(dataset: Dataset) -> bool:
    """Whether it holds class numbers that are cheap to read."""
    chunk = dataset.dtype.itemsize * math.prod(dataset.storage_chunk or ())
    return has_single(dataset) and dataset.dtype.kind in "biu" and chunk <= _LARGEST_READ


def _places(inside: range, rows: int) -> _Rows:
    """Rows to look at on both sides, ascending."""
    outside = rows - len(inside)
    within = inside.start + _spread(len(inside))
    beside = _spread(outside)
    return np.union1d(within, np.where(beside < inside.start, beside, beside + len(inside)))


def _spread(count: int) -> _Rows:
    """Neighbours at places from end to end of range(count)."""
    size = min(_LABELS, count)
    starts = np.linspace(0, count - size, _PLACES, dtype=np.int64)
    return np.unique(starts[:, None] + np.arange(size))


def _read(feed: Feed, dataset: Dataset, rows: _Rows) -> NDArray[Any]:
    out = np.empty((len(rows), dataset.row_bytes), np.uint8)
    with closing(ShardedSource(feed.shards, [dataset.name], retries=0)) as source:
        source.read(dataset.name, runs_of(rows), [out])
    return out.view(dataset.dtype)[:, 0]


def _sorted(labels: NDArray[Any]) -> bool:
    """Whether each class lies in one piece, and the labels are classes, not numbers of their own.

    A rare class in mixed labels begins and ends, and then the others come again; unless it is one
    label at an end.
    """
    counts = np.unique(labels, return_counts=True)[1]
    pieces = 1 + int(np.count_nonzero(labels[1:] != labels[:-1]))
    chance = len(counts) == 2 and counts.min() == 1
    return pieces == len(counts) and 2 <= pieces <= len(labels) // 2 and not chance


def _are_classes(labels: NDArray[Any], rows: int) -> bool:
    """Whether sorted labels are so few that they are classes, not numbers of sessions or frames.

    Where ten places show fewer than ten labels there are no more. Else their range tells how many
    there are: a class has more rows than there are classes (ImageNet: 1,281 for each of 1,000).
    """
    count = int(labels.max()) - int(labels.min()) + 1
    return len(np.unique(labels)) < 2 * _PLACES or count * count <= rows


def _differing(inside: NDArray[Any], outside: NDArray[Any]) -> str:
    """Which classes are on one side only; "" if none is."""
    left_out, alone = np.setdiff1d(outside, inside), np.setdiff1d(inside, outside)
    if len(left_out):
        return f"{_named(left_out)} only in the rows that are left out"
    return f"{_named(alone)} only in these rows" if len(alone) else ""


def _named(classes: NDArray[Any]) -> str:
    names = listed([str(each) for each in classes])
    return f"classes {names} are" if len(classes) > 1 else f"class {names} is"


def _pasteable(file: KeyedFiles) -> str:
    """The files as they can be written in Python; where they are many, what stands for them."""
    if isinstance(file, Mapping):
        return f"{{{', '.join(f'{key!r}: {_pasteable(files)}' for key, files in file.items())}}}"
    if isinstance(file, str | os.PathLike):
        return repr(os.fspath(file))
    paths = [repr(os.fspath(path)) for path in file]
    return f"[{', '.join(paths)}]" if len(paths) <= _SHOWN else f"<the same {len(paths)} files>"


def _message(feed: Feed, name: str, inside: range, differing: str) -> str:
    written = _pasteable(feed.settings.file)
    return (
        f"rows={inside.start, inside.stop} of {feed.shards.name}: as a sample of {name} shows, "
        f"{differing}. The file is sorted by class, so a split by ranges trains on "
        f"other classes than it validates on. Write train, val = prefetcher.split({written}, 0.2, "
        f"stratify={name!r}), and rows=train and rows=val"
    )
