"""Whole passes of one system: timed, and every row accounted for. Runs in a child's process."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from time import perf_counter
from typing import Any

from bench.files import numbers_in
from bench.systems import SYSTEMS, Batch, Feed, opened
from bench.usage import Memory, cpu_seconds

BEYOND = 2
"""Passes that are there to be read ahead, and never taken."""


@dataclass
class Count:
    """What came in a pass: enough to show a row that is missing, doubled, or has another's target.

    Attributes:
        rows: How many rows came.
        total: Sum of the numbers in their targets.
        mixed: Rows whose picture carries another number than its target.
        nbytes: Decoded bytes.
    """

    rows: int = 0
    total: int = 0
    mixed: int = 0
    nbytes: int = 0

    def add(self, batch: Batch) -> None:
        """Counts a batch of pictures and ids."""
        pictures, ids = batch
        self.rows += len(ids)
        self.total += int(ids.sum())
        self.mixed += int((numbers_in(pictures) != ids).sum())
        self.nbytes += pictures.nbytes

    def problem(self, rows: int) -> str | None:
        """What is wrong, if this was to be a pass over the rows 0 to `rows`."""
        if self.rows != rows:
            return f"{self.rows} rows instead of {rows}"
        if self.total != rows * (rows - 1) // 2:
            return "some rows twice, others not at all"
        return f"{self.mixed} rows with another's target" if self.mixed else None


def read(system: str, path: str, rows: int, passes: int, chunk_size: int) -> dict[str, Any]:
    """Reads the first rows of a file with one system.

    Args:
        system: Its name in `SYSTEMS`.
        path: A file of `bench.files`.
        rows: Rows in a pass.
        passes: How many.
        chunk_size: Samples that are shuffled together.

    Returns:
        ``first_batch_s`` from before the file was opened; ``seconds``, ``cpu_s`` (with worker
        processes) and ``nbytes`` of each pass, the first from before the file was opened;
        ``peak_bytes`` of memory, and ``added_bytes`` of it since the modules were imported;
        ``problem`` with the rows, or None.
    """
    # More passes than are measured: whoever reads ahead does so until the last moment, and does not
    # owe its last pass to time that the earlier ones were charged with.
    feed = Feed(Path(path), passes + BEYOND, rows, chunk_size=chunk_size)
    SYSTEMS[system].load()
    memory, told = Memory(), []
    begun, cpu = perf_counter(), cpu_seconds()
    with opened(system, feed) as batches:
        first = next(batches)
        first_batch_s = perf_counter() - begun
        for count in _passes(chain([first], batches), rows, passes):
            now, used = perf_counter(), cpu_seconds()
            told.append((now - begun, used - cpu, count))
            memory.look()
            begun, cpu = perf_counter(), cpu_seconds()
    return {
        "first_batch_s": first_batch_s,
        "seconds": [seconds for seconds, _, _ in told],
        "cpu_s": [used for _, used, _ in told],
        "nbytes": told[-1][2].nbytes,
        "peak_bytes": memory.peak,
        "added_bytes": memory.added,
        "problem": next(filter(None, (count.problem(rows) for _, _, count in told)), None),
    }


def _passes(batches: Iterator[Batch], rows: int, passes: int) -> Iterator[Count]:
    """The count of each pass, given as soon as its last row was there."""
    for _ in range(passes):
        count = Count()
        for batch in batches:
            count.add(batch)
            if count.rows >= rows:
                break
        yield count
