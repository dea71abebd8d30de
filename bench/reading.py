"""Loaders alone: how fast each system reads each file, and what the machine would allow."""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from statistics import mean, median
from typing import Any

from bench.attempt import attempt
from bench.files import Kind, kinds, make
from bench.part import Options, Part, Result, rotated
from bench.reading_page import plots, tables
from bench.systems import ARTICLE, OURS, OURS_2, SYSTEMS
from prefetcher.cli import output
from prefetcher.machine.limits import cpus_allowed

CHUNK_SIZE = 3200
LIMIT_S = 120
"""A reading that takes longer than this hangs: the slowest takes a quarter of it."""
COMPARED = ("contiguous", "gzip-4", "lz4")
"""Files on which all systems are compared (the first alone, if it is to be quick)."""
OUTLINE = (ARTICLE, OURS, OURS_2)
"""The systems that read every file, warm and cold."""
COLD = {"contiguous": 4, "gzip-4": 1}
"""Times the samples, for a pass out of a cold cache. It is a first pass, whose first chunks the
system gives fresh memory: where decoding does not take longer anyway, the file is to be so large
that this is a small share, as with one that fits no memory."""
_SLOW = ("gzip", "lzf", "szip", "bzip2", "zstd")
"""Words in the names of files whose decoding takes most of the time."""
FEW_ROWS, FEWEST_ROWS = 8, 32
"""Parts of the file for whoever reads single rows: of a contiguous one, and of storage chunks."""
Runs = dict[str, list[dict[str, Any]]]


@dataclass(frozen=True)
class Reading:
    """One file, and how much of it is read."""

    kind: Kind
    path: Path
    samples: int

    def passes(self, system: str) -> int:
        """The first pass meets fresh memory, the later ones show the steady pace.

        Where decoding takes most of the time one later pass is enough. Single rows are so slow that
        fresh memory does not matter, and their passes so short that reading ahead would.
        """
        if SYSTEMS[system].by_rows:
            return 1
        return 2 if any(word in self.kind.name for word in _SLOW) else 3

    def rows(self, system: str) -> int:
        """Rows in a pass of this system."""
        rows = self.kind.rows(self.samples)
        if SYSTEMS[system].by_rows:
            rows //= FEWEST_ROWS if self.kind.storage else FEW_ROWS
        return rows


def measure(options: Options) -> Result:
    """Every system on every file, in turn, round after round."""
    result = Result({"chunk_size": CHUNK_SIZE, "files": [], "cold": []})
    readings = [
        Reading(kind, make(options.folder, kind, options.samples), options.samples)
        for kind in _chosen(options.only)
    ]
    os.sync()  # the disk would otherwise still be writing while others read
    systems = list(OUTLINE) if options.alone else _installed(result)
    for reading in readings:
        everyone = reading.kind.name in (COMPARED[:1] if options.quick else COMPARED)
        chosen = systems if everyone else [name for name in systems if name in OUTLINE]
        result.data["files"].append(_warm(reading, chosen, options.rounds, result))
    for kind in (reading.kind for reading in readings if reading.kind.name in COLD):
        samples = COLD[kind.name] * options.samples
        reading = Reading(kind, make(options.folder, kind, samples), samples)
        result.data["cold"].append(_cold(reading, options.rounds, result))
    return result


def _chosen(only: str) -> list[Kind]:
    """The files with these words in their name; if one is called so, that alone."""
    found = [kind for kind in kinds() if only in kind.name]
    return [kind for kind in found if kind.name == only] or found


def joined(earlier: Mapping[str, Any], again: Mapping[str, Any]) -> dict[str, Any]:
    """Figures of all files, of some of them those that were measured again."""

    def rows(name: str) -> list[Any]:
        newer = {row["file"]: row for row in again[name]}
        older = [newer.pop(row["file"], row) for row in earlier[name]]
        return [*older, *newer.values()]

    return {**earlier, "files": rows("files"), "cold": rows("cold")}


def _installed(result: Result) -> list[str]:
    """The systems that can be measured; the others are noted."""
    for name, system in SYSTEMS.items():
        if system.missing:
            result.notes.append(f"{name}: left out, not installed: {', '.join(system.missing)}")
    return [name for name, system in SYSTEMS.items() if not system.missing]


def _warm(reading: Reading, systems: list[str], rounds: int, result: Result) -> dict[str, Any]:
    """One file, out of the page cache."""
    limits = _limits(reading)
    runs: Runs = {name: [] for name in [*systems, *limits]}
    with output.progress(f"Reading {reading.kind.name}", rounds * len(runs)) as advance:
        for turn in range(rounds):
            for name in rotated(list(runs), turn):
                _read_once(reading.path)  # some machines reclaim what was not used for a while
                run = (
                    _limit(f"bench.limits:{name.split(',')[0]}", name, reading, result)
                    if name in limits
                    else _read(name, reading, reading.passes(name), result)
                )
                runs[name] += [run] if run else []
                advance(1)
    return {
        "file": reading.kind.name,
        "dtype": reading.kind.dtype,
        "stored_bytes": reading.path.stat().st_size,
        "systems": {name: _summary(runs[name]) for name in systems if runs[name]},
        "limits": {name: _summary(runs[name]) for name in limits if runs[name]},
        "ours_to_article": _ratio(runs, OURS_2, ARTICLE),
        "two_readers_to_one": _ratio(runs, OURS_2, OURS),
    }


def _limits(reading: Reading) -> list[str]:
    """What bounds this file, by function and threads."""
    if reading.kind.name not in COMPARED:
        return []
    threads = sorted({1, cpus_allowed()})
    flat, stored = ("preadv", "scatter", "memcpy"), ("preadv", "decode", "unpack")
    known = stored if reading.kind.storage else flat
    return [f"{name}, {count}" for name in known for count in threads]


def _read(name: str, reading: Reading, passes: int, result: Result) -> dict[str, Any] | None:
    rows = reading.rows(name)
    # Any backend will do, as nothing is computed: this one is imported the fastest.
    backend = "jax" if importlib.util.find_spec("jax") else ""
    chunk_size = min(reading.kind.rows(CHUNK_SIZE), rows)
    what = {"system": name, "rows": rows, "passes": passes, "chunk_size": chunk_size}
    run = _called("bench.passes:read", name, reading, result, backend=backend, **what)
    if run and run["problem"]:
        result.wrong_rows.append(f"{name} on {reading.kind.name}: {run['problem']}")
    return run


def _limit(target: str, name: str, reading: Reading, result: Result) -> dict[str, Any] | None:
    """A limit: function and threads are in its name."""
    threads = int(name.rpartition(",")[2])
    rows, passes = reading.rows(OURS), reading.passes(OURS)
    return _called(target, name, reading, result, rows=rows, passes=passes, threads=threads)


def _called(
    target: str, name: str, reading: Reading, result: Result, backend: str = "", **what: Any
) -> dict[str, Any] | None:
    """A child's run of this file; None if it failed."""
    told = f"{name} on {reading.kind.name}"
    path = str(reading.path)
    run: dict[str, Any] | None = attempt(
        result, told, target, timeout_s=LIMIT_S, backend=backend, path=path, **what
    )
    return run


def _cold(reading: Reading, rounds: int, result: Result) -> dict[str, Any]:
    """One pass of a file that the page cache was made to forget, against the disk itself."""
    disk = "sequential read"
    runs: Runs = {name: [] for name in (disk, *OUTLINE)}
    with output.progress(f"Reading {reading.kind.name}, cold", rounds * len(runs)) as advance:
        for turn in range(rounds):
            for name in rotated(list(runs), turn):
                _drop_from_cache(reading.path)
                run = (
                    _called("bench.limits:sequential", name, reading, result)
                    if name == disk
                    else _read(name, reading, 1, result)
                )
                runs[name] += [run] if run else []
                advance(1)
    return {
        "file": reading.kind.name,
        "stored_bytes": reading.path.stat().st_size,
        "seconds_per_stored_gb": {
            name: [
                run["seconds"][0] / (reading.path.stat().st_size / 1e9) / _part(reading, name, disk)
                for run in of_name
            ]
            for name, of_name in runs.items()
        },
    }


def _part(reading: Reading, name: str, disk: str) -> float:
    """Share of the file that a run read."""
    return 1 if name == disk else reading.rows(name) / reading.kind.rows(reading.samples)


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


def _summary(runs: list[dict[str, Any]]) -> dict[str, Any]:
    """Medians over the rounds."""
    nbytes = runs[0]["nbytes"]
    summary: dict[str, Any] = {
        "pass_bytes": nbytes,
        "first_pass_gb_per_s": median(_speed(run, first=True) for run in runs),
        "gb_per_s": median(_speed(run) for run in runs),
        "gb_per_s_each": [round(_speed(run), 3) for run in runs],
    }
    if "cpu_s" in runs[0]:
        summary |= {
            "first_batch_s": median(run["first_batch_s"] for run in runs),
            "cpu_s_per_gb": median(mean(_steady(run["cpu_s"])) / nbytes * 1e9 for run in runs),
            "peak_bytes": median(run["peak_bytes"] for run in runs),
            "added_bytes": median(run["added_bytes"] for run in runs),
            "rows_correct": all(run["problem"] is None for run in runs),
        }
    return summary


def _speed(run: Mapping[str, Any], *, first: bool = False) -> float:
    """Decoded GB/s of the first pass, or of the later ones."""
    seconds = run["seconds"][:1] if first else _steady(run["seconds"])
    return float(run["nbytes"] / mean(seconds) / 1e9)


def _steady(each: list[float]) -> list[float]:
    """Of the passes after the first, where there are any."""
    return each[1:] or each


def _ratio(runs: Runs, name: str, other: str) -> dict[str, float] | None:
    """How many times as fast, in the first pass and in the later ones; median over the rounds."""
    pairs = list(zip(runs.get(name, []), runs.get(other, []), strict=False))
    if not pairs:
        return None
    return {
        "first_pass": median(
            _speed(one, first=True) / _speed(two, first=True) for one, two in pairs
        ),
        "later": median(_speed(one) / _speed(two) for one, two in pairs),
    }


PART = Part("reading", "Loaders alone", measure, tables, plots, joined)
