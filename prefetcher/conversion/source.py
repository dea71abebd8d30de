"""What every source of rows offers: its fields, and parts that can be loaded anywhere."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from prefetcher.hdf5.attributes import Names

RowNumbers = NDArray[np.int64]


class Field(NamedTuple):
    """What rows of one dataset are like."""

    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    packed: Mapping[str, Any] = MappingProxyType({})
    """Attributes that say how its numbers were packed: without them nobody can undo it."""


class Failure(NamedTuple):
    """A row that could not be had, and why."""

    name: str
    """The file, or the line of a table."""
    reason: str


@dataclass(frozen=True)
class Loaded:
    """The rows of a part."""

    arrays: Mapping[str, NDArray[Any]]
    """For each dataset the rows that could be loaded, in order."""
    failures: Mapping[int, Failure] = field(default_factory=dict)
    """The others, by their place in the part."""


class Part(Protocol):
    """Some rows still to be loaded: small, picklable, loadable in any thread or process."""

    def load(self) -> Loaded:
        """Loads them; the same whenever and wherever it is called."""


class Source(Protocol):
    """Where rows come from: a fixed number of them, each with a value in every dataset."""

    @property
    def about(self) -> tuple[str, ...]:
        """What was found, for the plan: one line each."""

    @property
    def name(self) -> str:
        """What the source is called in the file: no path, so the bytes are the same elsewhere."""

    @property
    def rows(self) -> int:
        """How many there are, unusable ones included."""

    @property
    def unusable(self) -> Mapping[int, Failure]:
        """Rows that are known to be missing before anything is loaded."""

    @property
    def fields(self) -> Mapping[str, Field]:
        """The datasets."""

    @property
    def x(self) -> Names:
        """The inputs among them."""

    @property
    def y(self) -> Names | None:
        """The targets among them."""

    @property
    def class_names(self) -> Mapping[str, tuple[str, ...]]:
        """For each dataset of class numbers, the names of the classes."""

    @property
    def strata(self) -> NDArray[Any] | None:
        """For each row its class, None where there are no classes."""

    @property
    def fingerprint(self) -> str:
        """Changes when the rows are other ones."""

    def part(self, rows: RowNumbers) -> Part:
        """These rows, in this order."""

    def close(self) -> None:
        """Gives up what it holds open."""
