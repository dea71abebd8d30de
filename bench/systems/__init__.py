"""The systems that are compared: each gives batches of shuffled samples, pass after pass.

One module each, imported only in the process that measures it. Its function takes a `Feed`, and
whatever `System.settings` has, and yields ``(x, y)`` as numpy arrays; a pass ends within a batch's
bounds, so whoever takes the batches can tell passes apart by counting samples. Closing the iterator
ends its threads and processes.
"""

from __future__ import annotations

import importlib
import importlib.util
import math
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

    @property
    def batches(self) -> int:
        """Batches in a pass, where `rows` is known."""
        assert self.rows is not None
        return math.ceil(self.rows / self.batch_size)

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
        by_rows: Whether it asks for single rows, each of which costs a whole storage chunk: it is
            so slow that a part of the file has to be enough.
    """

    about: str
    target: str
    needs: tuple[str, ...] = ()
    settings: Mapping[str, Any] = field(default_factory=dict)
    by_rows: bool = False

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
    OURS: System("`PrefetchSequence`, as it comes", "ours:batches", ("keras",)),
    OURS_2: System(
        "`PrefetchSequence(readers=2)`", "ours:batches", ("keras",), settings={"readers": 2}
    ),
    ARTICLE: System("slices of a chunk through h5py, shuffled, cut", "article:batches"),
    "two threads": System("the same in two threads, a `queue.Queue`", "two_threads:batches"),
    "tf.data, usual": System(
        "`from_generator`, `shuffle`, `batch`, `prefetch`",
        "tfdata:usual",
        ("tensorflow",),
        by_rows=True,
    ),
    "tf.data, expert": System(
        "chunks read and shuffled in parallel calls, cut in C++", "tfdata:expert", ("tensorflow",)
    ),
    "PyDataset": System("Keras's own, 2 workers, slices of 32", "pydataset:batches", ("keras",)),
    "DataLoader, rows": System(
        "PyTorch, 2 workers, single rows", "torch_loader:rows", ("torch",), by_rows=True
    ),
    "DataLoader, chunks": System(
        "PyTorch, 2 workers that read chunks", "torch_loader:chunks", ("torch",)
    ),
    "Grain, rows": System("16 threads, single rows", "grain_loader:rows", ("grain",), by_rows=True),
    "Grain, chunks": System("2 threads that read chunks", "grain_loader:chunks", ("grain",)),
    "SPDL": System("a pipeline whose threads read chunks", "spdl_loader:batches", ("spdl",)),
}
"""In the order of the tables."""


@contextmanager
def opened(name: str, feed: Feed) -> Iterator[Iterator[Batch]]:
    """A system's batches; leaving the block ends its threads and processes."""
    system = SYSTEMS[name]
    with closing(system.load()(feed, **system.settings)) as batches:
        yield batches
