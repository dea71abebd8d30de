"""The systems that are compared: each gives batches of shuffled samples, pass after pass.

One module each, imported only in the process that measures it. Its function takes a `Feed`, and
whatever `System.settings` has, and yields ``(x, y)`` as numpy arrays; a pass ends within a batch's
bounds, so whoever takes the batches can tell passes apart by counting samples. Closing the iterator
ends its threads and processes.
"""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

Array = NDArray[Any]
Batch = tuple[Array, Array]


@dataclass(frozen=True)
class Feed:
    """What a system is asked to read.

    Attributes:
        path: The HDF5 file.
        passes: Times through its rows.
        rows: The first so many rows of the file; None for all.
        x: Dataset of the inputs.
        y: Dataset of the targets.
        batch_size: Samples in a batch; the last of a pass may be short.
        chunk_size: Samples that are shuffled together, by whoever shuffles in parts.
        seed: Of the order.
    """

    path: Path
    passes: int
    rows: int | None = None
    x: str = "images"
    y: str = "ids"
    batch_size: int = 32
    chunk_size: int = 3200
    seed: int = 0

    def spans(self, rows: int) -> list[tuple[int, int]]:
        """The chunks of a pass over so many rows: (start, stop) of each."""
        step = self.chunk_size
        return [(start, min(start + step, rows)) for start in range(0, rows, step)]


@dataclass(frozen=True)
class System:
    """One way of getting batches.

    Attributes:
        about: What it does, for the reader of a table.
        target: ``module:function`` within this package.
        needs: Modules that must be installed.
        settings: Arguments of the function besides the feed.
        share: Share of the rows that is enough to measure it, where it is slow: 1 for all.
    """

    about: str
    target: str
    needs: tuple[str, ...] = ()
    settings: Mapping[str, Any] = field(default_factory=dict)
    share: float = 1.0

    @property
    def missing(self) -> list[str]:
        """Modules that are needed and not installed."""
        return [name for name in self.needs if importlib.util.find_spec(name) is None]

    def load(self) -> Callable[..., Generator[Batch]]:
        """Imports its module, so that start-up is in nobody's time; gives its function."""
        module, _, function = self.target.partition(":")
        made: Callable[..., Generator[Batch]]
        made = getattr(importlib.import_module(f"{__name__}.{module}"), function)
        return made


ARTICLE, OURS, OURS_2 = "article", "ours", "ours, 2 readers"

SYSTEMS: dict[str, System] = {
    OURS: System("PrefetchSequence, as it comes", "ours:batches"),
    OURS_2: System("PrefetchSequence(readers=2)", "ours:batches", settings={"readers": 2}),
    ARTICLE: System("slices of a chunk through h5py, shuffled, cut", "article:batches"),
}


@contextmanager
def opened(name: str, feed: Feed) -> Iterator[Iterator[Batch]]:
    """A system's batches; leaving the block ends its threads and processes."""
    system = SYSTEMS[name]
    with closing(system.load()(feed, **system.settings)) as batches:
        yield batches
