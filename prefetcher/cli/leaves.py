"""What may stand in x or y: datasets that train as they are or by a column, fields of records."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from prefetcher.batch import not_numbers
from prefetcher.columns.column import Column, Stored
from prefetcher.hdf5.dataset import Dataset

_OBSERVATIONS = ("obs", "observation", "observations")


@dataclass(frozen=True)
class Leaf:
    """A name for x or y.

    Attributes:
        name: As `PrefetchSequence` takes it: "images", "events[px]".
        dataset: The dataset that it is made of.
        nbytes: Bytes of one sample.
        column: What makes arrays of the rows, where they need one.
        field: Of a field of records, "px" or "pos[x]"; "" of any other.
        is_byte: Whether one sample is one number of a byte, as classes and flags are.
    """

    name: str
    dataset: Dataset
    nbytes: int
    column: Column | None = None
    field: str = ""
    is_byte: bool = False

    @property
    def own(self) -> str:
        """The last part of the name, in lower case: "px" of "run/events[px]"."""
        return (self.field or self.dataset.name.rpartition("/")[2]).lower()

    @property
    def is_complex(self) -> bool:
        """Whether it holds complex numbers, of which a transform has to make two channels."""
        return self.column is None and not self.field and self.dataset.dtype.kind == "c"

    @property
    def family(self) -> str:
        """Where inputs and their targets lie: the group; of a pattern, the groups that it names.

        Observations lie in a group of their own, beside the actions.
        """
        parts = self.dataset.name.split("/")
        inside = next((at for at, part in enumerate(parts) if part in _OBSERVATIONS), -1)
        named = self.dataset.name.rpartition("*")[0]
        if named:
            return f"{named}*"
        return "/".join(parts[:inside])

    @property
    def is_observation(self) -> bool:
        """Whether it is what a robot or an agent sees, by its name."""
        return any(part in _OBSERVATIONS for part in self.dataset.name.split("/"))


def leaves_of(
    datasets: Iterable[Dataset], columns: Mapping[str, Column], axes: Collection[str] = ()
) -> Iterator[Leaf]:
    """Yields all that a model could take of these datasets.

    Args:
        datasets: Those of a file.
        columns: What makes arrays of the rows of those that need it.
        axes: Those that only number the rows or columns of others.
    """
    for dataset in datasets:
        if dataset.name in axes:
            continue
        column = columns.get(dataset.name)
        if column is not None:
            stored = Stored(
                dataset.dtype, dataset.row_shape, dataset.csr is not None, dataset.packing
            )
            yield Leaf(dataset.name, dataset, column.value(stored).nbytes, column)
        elif _is_readable(dataset) and dataset.dtype.names:
            if "[" not in dataset.name and not dataset.dtype.hasobject:
                yield from _fields(dataset, dataset.name, dataset.dtype)
        elif _is_readable(dataset) and _are_numbers(dataset.dtype, complex_too=True):
            is_byte = dataset.row_bytes == 1
            yield Leaf(dataset.name, dataset, dataset.row_bytes, is_byte=is_byte)


def trains(dataset: Dataset) -> bool:
    """Whether it holds rows that Keras takes as they are."""
    return _is_readable(dataset) and _are_numbers(dataset.dtype)


def _is_readable(dataset: Dataset) -> bool:
    return not (dataset.refused or dataset.missing_filter) and dataset.rows * dataset.row_bytes > 0


def _are_numbers(dtype: np.dtype[Any], *, complex_too: bool = False) -> bool:
    if dtype.subdtype or not_numbers(dtype):
        return False
    return complex_too or dtype.kind != "c"  # complex numbers lose a part without a word


def _fields(dataset: Dataset, name: str, dtype: np.dtype[Any], within: str = "") -> Iterator[Leaf]:
    """The numbers in records, those of records within them included."""
    for field, (kind, *_) in (dtype.fields or {}).items():
        written, (base, shape) = f"{name}[{field}]", kind.subdtype or (kind, ())
        own = f"{within}[{field}]" if within else field
        if not field or "[" in field or "]" in field:
            continue  # which no name can be written for
        if base.names and not shape:
            yield from _fields(dataset, written, base, own)
        elif _are_numbers(base):
            nbytes = base.itemsize * math.prod((*dataset.row_shape, *shape))
            yield Leaf(written, dataset, nbytes, field=own, is_byte=nbytes == 1)
