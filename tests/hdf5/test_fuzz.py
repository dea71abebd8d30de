"""Thousands of damaged files: our error or h5py's rows, never a crash, a hang or another error.

Runs in child processes with limits of time and memory, because a crash inside a decoder would take
the test runner with it.

The slow test damages files of every kind and of every writer. What it reports can be had again, as
each copy is a function of the file and a number: write the files with
``python -m helpers.foreign.LIBRARY FOLDER`` and the copy with
``python -m helpers.mutants FILE NUMBER COPY``, both with ``tests`` on the path.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator, Mapping
from itertools import chain
from pathlib import Path
from typing import Any

import h5py
import hdf5plugin
import numpy as np
import pytest
from helpers.beside_h5py import EQUAL, FAULTS, REFUSED, verdicts
from helpers.mutants import DAMAGES, Mutants

from prefetcher.errors import PrefetchError
from prefetcher.hdf5.describe import describe
from prefetcher.hdf5.source import Source

SEEN = "seen.json"
"""What the child found: a file, as plugins print on all that a process prints on."""
ROWS = (np.arange(40 * 48) % 50).astype("u1").reshape(40, 48)
CHECKED: list[Mapping[str, Any]] = [
    {"compression": "gzip"},
    {"compression": "gzip", "shuffle": True, "fletcher32": True},
    {"fletcher32": True},
    {**hdf5plugin.LZ4(nbytes=64), "fletcher32": True},
    {"compression": "lzf", "fletcher32": True},
    {**hdf5plugin.BZip2()},
]
UNCHECKED: list[Mapping[str, Any]] = [
    {},
    {"shuffle": True},
    {**hdf5plugin.LZ4(nbytes=64)},
    {**hdf5plugin.Zstd()},
    {**hdf5plugin.Blosc(cname="lz4", shuffle=hdf5plugin.Blosc.SHUFFLE)},
    {**hdf5plugin.Bitshuffle(cname="lz4", nelems=64)},
    {**hdf5plugin.Bitshuffle(cname="zstd", nelems=64)},
    {"compression": "lzf"},
    {"compression": "lzf", "shuffle": True},
    {"compression": "szip"},
    {"compression": "szip", "compression_opts": ("ec", 32)},
]

COPIES = 3 * len(DAMAGES)
"""Damaged copies of each file: three of each damage."""
COPY_LIMIT_S = 30.0
GROUPS = {
    "frames": ("netcdf", "pandas", "pytables"),
    "scientific": ("anndata", "matlab", "nexus", "other", "outside", "userblock"),
    "old": ("old",),
    "new": ("new",),
    "types": ("types",),
    "hostile-old": ("hostile old",),
    "hostile-new": ("hostile new",),
    "hostile": ("bomb", "external", "huge", "short", "twice", "virtual"),
}
"""What the names of the files of one test begin with."""
HARMFUL = GROUPS["hostile"]
"""Files that are damaged before they are damaged: nobody knows their right rows."""


def written(path: Path, options: Mapping[str, Any], libver: str) -> list[tuple[int, int]]:
    """Writes the rows; returns where their stored bytes lie."""
    spans: list[tuple[int, int]] = []
    with h5py.File(path, "w", libver=libver) as file:
        rows = file.create_dataset("x", data=ROWS, chunks=(8, 20), **options)
        rows.id.chunk_iter(lambda chunk: spans.append((chunk.byte_offset, chunk.size)))
    return spans


def outcome(path: Path) -> str:
    """What reading gives: "right", "wrong", or the name of our error."""
    try:
        description = describe(path)
        rows = description.dataset("x")
        if rows.rows * rows.row_bytes > 1 << 20:
            return "large"  # a shape that was damaged; the engine bounds what it asks for
        source = Source(description, ["x"])
        try:
            found = np.empty((rows.rows, rows.row_bytes), np.uint8)
            source.read("x", [(0, rows.rows)], [found])
        finally:
            source.close()
    except PrefetchError as error:
        return type(error).__name__
    return "right" if found.tobytes() == ROWS.tobytes() else "wrong"


def damaged_rows(
    rng: np.random.Generator, whole: bytes, spans: list[tuple[int, int]], count: int
) -> Iterator[bytes]:
    """Files with other bytes somewhere in their storage chunks."""
    for _ in range(count):
        file = bytearray(whole)
        offset, size = spans[rng.integers(len(spans))]
        file[offset + rng.integers(size)] ^= 1 << rng.integers(8)
        yield bytes(file)


def damaged_anywhere(rng: np.random.Generator, whole: bytes, count: int) -> Iterator[bytes]:
    """Files with bits flipped anywhere, and files cut short."""
    for number in range(count):
        file = bytearray(whole)
        for _ in range(rng.integers(1, 4)):
            file[rng.integers(len(file))] ^= 1 << rng.integers(8)
        yield bytes(file[: rng.integers(len(file))] if number % 5 == 0 else file)


def run(folder: Path, kind: str) -> Counter[str]:
    """Damages files of every kind 200 times each and counts what reading them gives."""
    rng = np.random.default_rng(7)
    path = folder / "damaged.h5"
    seen: Counter[str] = Counter()
    for libver in ("earliest", "latest"):
        for options in CHECKED if kind == "checked" else CHECKED + UNCHECKED:
            spans = written(path, options, libver)
            whole = path.read_bytes()
            files = [damaged_rows(rng, whole, spans, 100)]
            if kind == "any":
                files.append(damaged_anywhere(rng, whole, 100))
            for file in chain(*files):
                path.write_bytes(file)
                seen[outcome(path)] += 1
    return seen


def in_a_child(folder: Path, kind: str) -> Counter[str]:
    child = subprocess.run(
        [sys.executable, "-X", "faulthandler", __file__, str(folder), kind],
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},  # for `helpers`
        capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert child.returncode == 0, child.stderr[-2000:]
    return Counter(json.loads((folder / SEEN).read_text()))


def test_no_damage_passes_where_a_checksum_was_there_to_tell(tmp_path: Path) -> None:
    seen = in_a_child(tmp_path, "checked")
    assert seen["wrong"] == 0
    assert seen["CorruptError"] > 1050
    assert seen.total() == 1200


def test_no_damage_crashes_or_escapes_our_errors(tmp_path: Path) -> None:
    seen = in_a_child(tmp_path, "any")
    assert seen.total() == 6800
    assert min(seen["right"], seen["CorruptError"], seen["NotHDF5Error"]) > 100


@pytest.fixture(scope="module")
def originals(foreign: dict[str, Path], hostile: dict[str, Path]) -> dict[str, Path]:
    """The files that are damaged."""
    hostile_too = {
        f"hostile {name}" if name.startswith(("old", "new")) else name: path
        for name, path in hostile.items()
    }
    return foreign | hostile_too


@pytest.mark.slow
@pytest.mark.parametrize("group", GROUPS)
def test_no_damage_gives_rows_that_h5py_has_not_crashes_or_takes_memory(
    group: str, originals: dict[str, Path], tmp_path: Path
) -> None:
    """Each damaged file beside what h5py alone makes of it in another process."""
    told: dict[Path, str] = {}
    sound: dict[Path, Path] = {}
    for name, original in originals.items():
        if name.startswith(GROUPS[group]):
            mutants = Mutants(original)
            for number in range(COPIES):
                copy = tmp_path / f"{name.replace(' ', '-')}.{number}.h5"
                told[copy] = f"{original.name} copy {number} ({mutants.write(number, copy)})"
                sound[copy] = tmp_path / "none" if name.startswith(HARMFUL) else original
    found = list(verdicts(list(told), sound=sound, limit_s=COPY_LIMIT_S))
    faults = [f"{told[verdict.path]}: {verdict}" for verdict in found if verdict.kind in FAULTS]
    assert not faults, f"{len(faults)} faults:\n" + "\n".join(faults[:20])
    kinds = Counter(verdict.kind for verdict in found)
    assert kinds[REFUSED] > COPIES
    assert kinds[EQUAL] > (0 if group == "hostile" else COPIES)  # most of those are refused as made


@pytest.mark.slow
def test_thousands_of_copies_of_all_kinds_are_read(originals: dict[str, Path]) -> None:
    prefixes = tuple(prefix for group in GROUPS.values() for prefix in group)
    assert [name for name in originals if not name.startswith(prefixes)] == []
    assert len(originals) * COPIES >= 2000


if __name__ == "__main__":
    (Path(sys.argv[1]) / SEEN).write_text(json.dumps(run(Path(sys.argv[1]), sys.argv[2])))
