"""Interleaved rounds: every way in turn, again and again, so that a slow moment hits them all."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from time import perf_counter, process_time

from bench.ways import Way
from prefetcher.cli.output import Advance


@dataclass(frozen=True)
class Run:
    """One way's reading of one file.

    Attributes:
        seconds: From before the file is opened until its last row was there and it is closed.
        cpu_s: CPU seconds of this process in that time, all threads.
        nbytes: Decoded bytes that were read.
        correct: Whether every row came exactly `passes` times.
    """

    seconds: float
    cpu_s: float
    nbytes: int
    correct: bool

    @property
    def gb_per_s(self) -> float:
        """Decoded gigabytes a second."""
        return self.nbytes / self.seconds / 1e9


@dataclass(frozen=True)
class Plan:
    """What a measurement does.

    Attributes:
        rounds: Times that every way reads every file.
        passes: Passes in one reading.
        chunk_size: Samples in a chunk.
        cold: Drops the file from the page cache before every reading.
    """

    rounds: int
    passes: int
    chunk_size: int
    cold: bool


def measure(
    path: Path, rows: int, ways: Mapping[str, Way], plan: Plan, advance: Advance
) -> dict[str, list[Run]]:
    """Reads one file in every way, in every round; gives the runs of each way, in their order."""
    runs: dict[str, list[Run]] = {name: [] for name in ways}
    if not plan.cold:
        _read_once(path)
    for turn in range(plan.rounds):
        for name in _rotated(list(ways), turn):
            if plan.cold:
                _drop_from_cache(path)
            runs[name].append(_timed(ways[name], path, rows, plan))
            advance(1)
    return runs


def _rotated(names: list[str], turn: int) -> Iterator[str]:
    """Every name, from another one on in each round: none always follows the same neighbour."""
    start = turn % len(names)
    yield from names[start:] + names[:start]


def _timed(way: Way, path: Path, rows: int, plan: Plan) -> Run:
    started, cpu = perf_counter(), process_time()
    count = way(path, plan.chunk_size, plan.passes)
    seconds, cpu_s = perf_counter() - started, process_time() - cpu
    wanted = plan.passes * rows, plan.passes * (rows * (rows - 1) // 2)
    return Run(seconds, cpu_s, count.nbytes, (count.rows, count.total) == wanted)


def _read_once(path: Path) -> None:
    with path.open("rb", buffering=0) as file:
        while file.read(1 << 24):
            pass


def _drop_from_cache(path: Path) -> None:
    """Asks the system to forget the file's pages; those not yet on the disk are written first."""
    file = os.open(path, os.O_RDONLY)
    try:
        os.fsync(file)
        os.posix_fadvise(file, 0, 0, os.POSIX_FADV_DONTNEED)
    finally:
        os.close(file)


def speed(runs: list[Run]) -> float:
    """Median of the runs, decoded GB/s."""
    return median(run.gb_per_s for run in runs)


def ratio(runs: list[Run], others: list[Run]) -> float:
    """How many times as fast as `others`: the median over the rounds."""
    pairs = zip(runs, others, strict=True)
    return median(run.gb_per_s / other.gb_per_s for run, other in pairs)


def cpu_per_gb(runs: list[Run]) -> float:
    """CPU seconds for each decoded GB, the median of the runs."""
    return median(run.cpu_s / (run.nbytes / 1e9) for run in runs)
