"""Compares what prefetcher reads with what h5py reads, over every HDF5 file of a folder.

``make corpus FOLDER=...`` runs it. Exit status: 0 if every dataset gives h5py's bytes or an error
of prefetcher's own, 2 if there is nothing to compare, 4 if anything is wrong.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

from helpers.beside_h5py import EQUAL, FAULTS, FILE_LIMIT_S, REFUSED, UNCOMPARED, Verdict, verdicts

HDF5 = b"\x89HDF\r\n\x1a\n"
USERBLOCKS = (0, *(512 << power for power in range(14)))
"""Where HDF5 looks for its signature, as far as files with a userblock go in practice."""


def hdf5_files(folder: Path) -> Iterator[Path]:
    """Every regular file in the folder and below that has HDF5's signature, in order of names."""
    for parent, folders, names in os.walk(folder):
        folders.sort()
        for name in sorted(names):
            path = Path(parent, name)
            if path.is_file() and not path.is_symlink() and _is_hdf5(path):
                yield path


def _is_hdf5(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            return any(file.seek(at) == at and file.read(8) == HDF5 for at in USERBLOCKS)
    except OSError as error:
        print(f"left out: {path}: {error}", file=sys.stderr)
        return False


def table(found: Sequence[Verdict], files: int) -> list[str]:
    """The summary: how many of what."""
    kinds = Counter(verdict.kind for verdict in found)
    classes = Counter(v.detail.partition(":")[0] for v in found if v.kind == REFUSED)
    reasons = Counter(v.detail.partition(" (")[0] for v in found if v.kind == UNCOMPARED)
    ways = Counter(v.detail for v in found if v.kind == EQUAL)
    lines = [
        ("files", files),
        ("datasets", sum(verdict.dataset != "" for verdict in found)),
        (EQUAL, kinds[EQUAL]),
        *((f"  {way}", count) for way, count in sorted(ways.items())),
        (REFUSED, kinds[REFUSED]),
        *((f"  {name}", count) for name, count in classes.most_common()),
        (UNCOMPARED, kinds[UNCOMPARED]),
        *((f"  {reason}", count) for reason, count in reasons.most_common()),
        *((kind, kinds[kind]) for kind in FAULTS),
    ]
    return [f"{name:<44}{count:>9,}" for name, count in lines]


def main(arguments: Sequence[str] | None = None) -> int:
    """Compares, prints what is wrong as it is found and the summary at the end."""
    parser = argparse.ArgumentParser(prog="make corpus", description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--allow-external", action="store_true", help="follow links out of a file")
    parser.add_argument("--limit-s", type=float, default=FILE_LIMIT_S, help="seconds for one file")
    parser.add_argument("--verbose", action="store_true", help="print every verdict")
    asked = parser.parse_args(arguments)
    files = list(hdf5_files(asked.folder))
    if not files:
        print(f"no HDF5 file in {asked.folder}", file=sys.stderr)
        return 2
    found = []
    for verdict in verdicts(files, allow_external=asked.allow_external, limit_s=asked.limit_s):
        found.append(verdict)
        if asked.verbose or verdict.kind in FAULTS:
            print(f"{verdict.path.parent}/{verdict}", flush=True)
    print("\n".join(table(found, len(files))))
    return 4 if any(verdict.kind in FAULTS for verdict in found) else 0


if __name__ == "__main__":
    sys.exit(main())
