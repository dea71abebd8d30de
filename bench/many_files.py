"""Many small files under a low limit on open ones, against one file with the same rows."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Any

import h5py
import numpy as np
import psutil

import prefetcher
from bench.attempt import attempt
from bench.part import Options, Part, Result, markdown, rotated
from prefetcher.cli.output import progress
from prefetcher.hdf5.manifest import shard_of, write_manifest

FILES, QUICK_FILES, ROWS = 20_000, 400, 40
SHAPE = (32, 32, 3)
DATASETS = 20_000
"""In one file: what is not named shall cost nothing."""
LIMIT = 256
"""Files that the process may have open (`ulimit -n`): what macOS allows by default."""
PASSES = 3
PATTERN = "part-*.h5"


def measure(options: Options) -> Result:
    """Reads the same rows from one file and from many, in processes of their own, in turn."""
    count = QUICK_FILES if options.quick else FILES
    folder = options.folder / f"many-{count}"
    _write(folder, count)
    whole, manifest, pattern = folder / "whole.h5", folder / "many.json", folder / PATTERN
    ways = {"one file": whole, "many, by a manifest": manifest, "many, by a pattern": pattern}
    runs: dict[str, list[dict[str, Any]]] = {name: [] for name in ways}
    result = Result({"files": count, "rows": ROWS, "limit": LIMIT, "ways": []})
    for turn in range(options.rounds):
        for name in rotated(list(ways), turn):
            path = str(ways[name])
            run = attempt(
                result, name, "bench.many_files:read", path=path, rows=count * ROWS, timeout_s=1800
            )
            runs[name] += [run] if run else []
            if run and not run["rows_correct"]:
                result.wrong_rows.append(name)
    for name, found in runs.items():
        if found:
            figures = {key: median(run[key] for run in found) for key in found[0]}
            result.data["ways"].append({"way": name} | figures)
    wide = attempt(result, "many datasets", "bench.many_files:known", path=str(_wide(folder)))
    result.data["wide"] = wide
    return result


def _write(folder: Path, count: int) -> None:
    """The files, each row with its number in y, unless an earlier run left them."""
    if (folder / "many.json").exists():
        return
    folder.mkdir(parents=True, exist_ok=True)
    drawn = np.random.default_rng(0).integers(0, 256, (ROWS, *SHAPE), np.uint8)
    with (
        h5py.File(folder / "whole.h5", "w") as whole,
        progress(f"Writing {count} files", count) as advance,
    ):
        images = whole.create_dataset("x", (count * ROWS, *SHAPE), np.uint8)
        whole["y"] = np.arange(count * ROWS)
        for number in range(count):
            ids = np.arange(number * ROWS, (number + 1) * ROWS)
            with h5py.File(folder / f"part-{number:05}.h5", "w") as file:
                file["x"], file["y"] = drawn, ids
            images[ids[0] : ids[-1] + 1] = drawn
            advance(1)
    shards = [shard_of(path) for path in sorted(folder.glob(PATTERN))]
    write_manifest(folder / "many.json", shards)


def _wide(folder: Path) -> Path:
    path = folder / "wide.h5"
    if not path.exists():
        with h5py.File(path, "w") as file:
            for number in range(DATASETS // 2):
                file[f"demo_{number}/x"], file[f"demo_{number}/y"] = np.zeros((4, 2)), np.zeros(4)
    return path


def read(path: str, rows: int) -> dict[str, Any]:
    """Passes over one data set: when it is known, how fast it comes, what memory it takes."""
    import resource

    resource.setrlimit(resource.RLIMIT_NOFILE, (LIMIT, LIMIT))
    process = psutil.Process()
    make = prefetcher.PrefetchSequence  # imports Keras
    before, begun = process.memory_info().rss, perf_counter()
    paces, correct = [], True
    with make(path) as sequence:
        known_s = perf_counter() - begun
        for _ in range(1 + PASSES):
            begun, seen = perf_counter(), np.zeros(rows, np.uint8)
            for _, ids in sequence:
                seen[ids] += 1
            paces.append(rows / (perf_counter() - begun))
            correct = correct and bool((seen == 1).all())
        memory = process.memory_info().rss - before - sequence.stats().buffer_peak_bytes
    return {
        "known_s": known_s,
        "first": paces[0],
        "steady": median(paces[1:]),
        "memory": memory,
        "rows_correct": correct,
    }


def known(path: str) -> dict[str, Any]:
    """How long a sequence over two of very many datasets takes to make."""
    process = psutil.Process()
    make = prefetcher.PrefetchSequence  # imports Keras
    before, begun = process.memory_info().rss, perf_counter()
    with make(path, x="demo_1/x", y="demo_1/y"):
        return {"known_s": perf_counter() - begun, "memory": process.memory_info().rss - before}


def tables(data: Mapping[str, Any]) -> str:
    """Pace and memory of each way; and the file of many datasets."""
    one = next((row["steady"] for row in data["ways"] if row["way"] == "one file"), None)
    rows = [
        [
            row["way"],
            f"{row['known_s']:.2f}",
            f"{row['first']:,.0f}",
            f"{row['steady']:,.0f}",
            f"{row['steady'] / one:.2f}x" if one else "",
            f"{row['memory'] / 1e6:.0f}",
        ]
        for row in data["ways"]
    ]
    header = ["rows from", "known after s", "first pass rows/s", "steady rows/s", "to one file",
              "MB beside buffers"]  # fmt: skip
    text = (
        f"{data['files']:,} files of {data['rows']} rows (32x32x3 uint8 and a number), "
        f"`ulimit -n {data['limit']}`, one reader:\n\n{markdown(header, rows)}"
    )
    if data.get("wide"):
        wide = data["wide"]
        text += (
            f"\nTwo of {DATASETS:,} datasets in one file: known after {1e3 * wide['known_s']:.0f} "
            f"ms, {wide['memory'] / 1e6:.1f} MB.\n"
        )
    return text


PART = Part(
    "many_files", "Many files: how fast, in how much memory, under a low limit", measure, tables
)
