"""Compares what prefetcher reads with what h5py alone reads, each in a process of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from numpy.typing import NDArray

from helpers.readings import NO_CACHE

FILE_LIMIT_S = 60.0
"""Seconds for one file in one process; longer counts as a hang."""
SLACK_BYTES = 64 << 20
"""What HDF5, numpy and the allocator may hold beside the rows and the scratch memory."""
BATCH = 50
"""Files that one process reads: few enough that little is done again after a crash."""

CHILD = ("-m", "helpers.readings")
"""What a child runs."""

EQUAL, REFUSED, UNCOMPARED = "equal", "refused", "not compared"
WRONG, ESCAPED, CRASH, MEMORY = "wrong", "another exception", "crash", "memory"
FAULTS = (WRONG, ESCAPED, CRASH, MEMORY)
"""The verdicts that must not be."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What came of one dataset, or of a whole file.

    Attributes:
        path: The file.
        dataset: Its path in the file, "" for the file as a whole.
        kind: One of the words above.
        detail: The class of the error that refused it, or what is wrong.
    """

    path: Path
    dataset: str
    kind: str
    detail: str = ""

    def __str__(self) -> str:
        return f"{self.path.name} {self.dataset or '(file)'}: {self.kind}: {self.detail}"


@dataclass(slots=True)
class _Seen:
    """What one process said of one file."""

    opening: dict[str, Any] | None = None
    datasets: dict[str, dict[str, Any]] = field(default_factory=dict)
    grown: int = 0
    crash: str = ""


def verdicts(
    paths: Sequence[Path],
    *,
    sound: Mapping[Path, Path] | None = None,
    allow_external: bool = False,
    limit_s: float = FILE_LIMIT_S,
) -> Iterator[Verdict]:
    """A verdict for every dataset of these files, also for those of a file that does not open.

    What is the matter with a file as a whole has "" for its dataset.

    Args:
        paths: The files.
        sound: For damaged copies, the sound file of each. Where prefetcher reads such a copy
            through HDF5 too, the two may differ by what HDF5 did not find in the file: only rows
            that h5py reads as they are in the sound file are compared.
        allow_external: Whether links and storage outside a file are followed.
        limit_s: Seconds for one file in one process.
    """
    sound = sound or {}
    for start in range(0, len(paths), BATCH):
        batch = paths[start : start + BATCH]
        originals = sorted({sound[path] for path in batch if path in sound})
        with TemporaryDirectory(prefix="verdicts-") as folder:
            jobs = [
                {"number": number, "path": os.fspath(path), "names": [],
                 "allow_external": allow_external, "limit_s": limit_s}
                for number, path in enumerate([*batch, *originals])
            ]  # fmt: skip
            alone = _run("alone", jobs, Path(folder))
            for job, seen in zip(jobs, alone, strict=True):
                job["names"] = list(seen.datasets)
            ours = _run("ours", jobs[: len(batch)], Path(folder))
            right = dict(zip(originals, alone[len(batch) :], strict=True))
            for path, mine, theirs in zip(batch, ours, alone, strict=False):
                known = right[sound[path]] if path in sound else None
                yield from _compared(path, mine, theirs, known)


def _run(role: str, jobs: Sequence[dict[str, Any]], folder: Path) -> list[_Seen]:
    """Reads the files in as many processes as it takes; one more after each crash."""
    seen = [_Seen() for _ in jobs]
    left = list(jobs)
    while left:
        results = folder / f"{role}-{len(left)}.jsonl"
        errors = folder / f"{role}-{len(left)}.stderr"
        status = _child(role, left, results, errors)
        ended = _collect(results, seen)
        begun = [job for job in left if job["number"] not in ended]
        if not begun:
            break
        if status == 0:
            raise RuntimeError(f"a child left files out: {errors.read_text()[-2000:]}")
        crashed = begun[0]["number"]
        seen[crashed].crash = _crash(status, errors.read_text(errors="replace"))
        left = [job for job in left if job["number"] > crashed]
    return seen


def _child(role: str, jobs: Sequence[dict[str, Any]], results: Path, errors: Path) -> int:
    path = os.pathsep.join([str(Path(__file__).parents[1]), *sys.path])
    with errors.open("w") as stderr:
        child = subprocess.run(
            [sys.executable, "-X", "faulthandler", *CHILD, role, str(results)],
            input=json.dumps(jobs), text=True, stdout=subprocess.DEVNULL, stderr=stderr,
            env=os.environ | NO_CACHE | {"PYTHONPATH": path}, check=False,
            timeout=60 + sum(job["limit_s"] for job in jobs),
        )  # fmt: skip
    if not results.exists():
        raise RuntimeError(f"a child could not start: {errors.read_text()[-2000:]}")
    return child.returncode


def _collect(results: Path, seen: Sequence[_Seen]) -> set[int]:
    """Takes over the lines of a child; the files that it finished."""
    ended = set()
    for text in results.read_text().splitlines():
        line = json.loads(text)
        file = seen[line["file"]]
        if "opening" in line:
            file.opening, file.grown = line["opening"], line["grown"]
        elif "dataset" in line:
            file.datasets[line["dataset"]] = line
        elif "ended" in line:
            ended.add(line["file"])
    return ended


def _crash(status: int, stderr: str) -> str:
    what = "hang" if "Timeout (" in stderr else f"status {status}"
    stack = [line.strip() for line in stderr.splitlines() if line.startswith("  File")]
    last = [line for line in stderr.splitlines() if line.strip()][-1:]
    return f"{what}: {' < '.join(stack[:8]) or last}"


def _compared(path: Path, ours: _Seen, alone: _Seen, known: _Seen | None) -> Iterator[Verdict]:
    if ours.crash and alone.crash:
        yield Verdict(path, "", UNCOMPARED, f"h5py alone crashes too ({alone.crash})")
    elif ours.crash:
        yield Verdict(path, "", CRASH, ours.crash)
    if ours.grown > alone.grown + SLACK_BYTES:
        yield Verdict(path, "", MEMORY, f"opening it takes {ours.grown:,} bytes")
    if ours.opening:
        for name in alone.datasets or [""]:
            yield _refusal(path, name, ours.opening)
    for name, mine in ours.datasets.items():
        right = known.datasets.get(name, {}) if known else None
        yield _judged(path, name, mine, alone.datasets.get(name), right)


def _refusal(path: Path, name: str, error: dict[str, Any]) -> Verdict:
    if error["own"]:
        return Verdict(path, name, REFUSED, f"{error['class']}: {error['message']}")
    return Verdict(path, name, ESCAPED, error["stack"])


def _judged(
    path: Path,
    name: str,
    ours: dict[str, Any],
    alone: dict[str, Any] | None,
    right: dict[str, Any] | None = None,
) -> Verdict:
    if ours["grown"] > ours.get("allowed", 0) + SLACK_BYTES:
        return Verdict(path, name, MEMORY, f"it takes {ours['grown']:,} bytes")
    if "error" in ours:
        return _refusal(path, name, ours["error"])
    if "large" in ours:
        return Verdict(path, name, UNCOMPARED, "its rows or storage chunks are large")
    if alone is None or "error" in alone:
        return Verdict(path, name, UNCOMPARED, "h5py cannot read it")
    if "uncompared" in alone:
        return Verdict(path, name, UNCOMPARED, alone["uncompared"])
    for fact in ("shape", "dtype"):
        if ours[fact] != alone[fact]:
            return Verdict(path, name, WRONG, f"{fact} {ours[fact]}, h5py has {alone[fact]}")
    if ours["way"] != "general" or right is None:
        return _bytes_judged(path, name, ours, alone, alone)
    if any(right.get(fact) != alone[fact] for fact in ("shape", "dtype")):
        return Verdict(path, name, UNCOMPARED, "h5py reads another dataset than the sound file's")
    return _bytes_judged(path, name, ours, alone, right)


def _bytes_judged(
    path: Path, name: str, ours: dict[str, Any], alone: dict[str, Any], right: dict[str, Any]
) -> Verdict:
    """Equal, or which byte is the first to differ where the file gives it a value."""
    row_bytes = ours["row_bytes"]
    over_zeros, over_ones = _blob(alone, row_bytes)
    whole, again = _blob(ours, row_bytes)
    valued = over_zeros == over_ones
    if right is not alone:
        valued[(_blob(right, row_bytes)[0] != over_zeros).any(axis=1)] = False
    for how, found in (("all rows", whole), ("random runs", again)):
        wrong = np.flatnonzero(valued & (found != over_zeros))
        if wrong.size:
            detail = (
                f"{how} ({ours['way']}): {wrong.size} bytes differ from h5py's, the first is "
                f"byte {wrong[0]} of those compared"
            )
            return Verdict(path, name, WRONG, detail)
    return Verdict(path, name, EQUAL, ours["way"])


def _blob(told: dict[str, Any], row_bytes: int) -> NDArray[np.uint8]:
    """The two readings that a child left of a dataset, by rows."""
    return np.fromfile(told["blob"], np.uint8).reshape(2, -1, max(row_bytes, 1))
