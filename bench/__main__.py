"""Measure reading speed: ours against the article's generator and plain preadv."""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
import tempfile
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from rich.table import Table

from bench.files import Kind, kinds, make
from bench.rounds import Plan, Run, cpu_per_gb, measure, ratio, speed
from bench.ways import Way, article, ours, preadv
from prefetcher.cli import output

RESULTS = Path(__file__).parent / "results"
WRONG_ROWS = 4
"""The exit code where a way lost or doubled a row: its speed would mean nothing."""

Runs = dict[str, list[Run]]

ARTICLE, OURS_1, OURS_2 = "article", "ours, 1 reader", "ours, 2 readers"
WAYS: dict[str, Way] = {ARTICLE: article, OURS_1: ours(1), OURS_2: ours(2)}
LIMITS: dict[str, Way] = {
    "preadv, 1 thread": preadv(1, whole_chunks=True),
    "preadv, 2 threads": preadv(2, whole_chunks=True),
    "preadv, 2 threads, 1 MiB": preadv(2, whole_chunks=False),
}
"""The most that memory and disk give: for contiguous rows, where nothing is to be decoded."""


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the comparison; returns the exit code."""
    arguments = _parser().parse_args(argv)
    plan = Plan(arguments.rounds, arguments.passes, arguments.chunk_size, arguments.cold)
    chosen = [kind for kind in kinds() if arguments.only in kind.name]
    arguments.dir.mkdir(parents=True, exist_ok=True)
    files = [make(arguments.dir, kind, arguments.samples) for kind in chosen]
    os.sync()  # the disk would otherwise still be writing while others read
    with output.quiet():
        import keras  # noqa: F401  # so that its start-up is in nobody's time

    machine = _machine()
    runs = _measure_all(chosen, files, arguments.samples, plan)
    result = _result(chosen, files, runs, plan, machine)
    kept = _keep(result, arguments.out, cold=plan.cold)
    if arguments.json:
        output.write_json(result)
    else:
        _print(result)
        output.say(f"Kept in {kept}")
    wrong = [row["file"] for row in result["files"] if not row["rows_correct"]]
    if wrong:
        output.say(f"bench: rows were lost or doubled in: {', '.join(wrong)}")
    return WRONG_ROWS if wrong else 0


def _parser() -> argparse.ArgumentParser:
    count = output.at_least(1)
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    add = parser.add_argument
    add("--samples", type=count, default=12_800, help="weight of each file in 49 kB pictures")
    add("--rounds", type=count, default=5, help="readings of each file in each way")
    add("--passes", type=count, default=2, help="passes in one reading")
    add("--chunk-size", type=count, default=3200, help="samples in a chunk")
    add("--only", default="", metavar="TEXT", help="only files with this in their name")
    add("--cold", action="store_true", help="drop the file from the page cache before each reading")
    add(
        "--dir",
        type=Path,
        default=Path(tempfile.gettempdir()) / "prefetcher-bench",
        help="folder for the files, which are kept for the next time (default: %(default)s)",
    )
    add("--out", type=Path, default=RESULTS, help="folder for the results")
    add("--json", action="store_true", help="print the result as JSON")
    return parser


def _measure_all(chosen: list[Kind], files: list[Path], samples: int, plan: Plan) -> list[Runs]:
    """The runs of every way, for each file."""
    ways = [WAYS | (LIMITS if kind.name == "contiguous" else {}) for kind in chosen]
    total = plan.rounds * sum(map(len, ways))
    with output.progress("Measuring", total) as advance:
        return [
            measure(path, kind.rows(samples), of_kind, _scaled(plan, kind), advance)
            for kind, path, of_kind in zip(chosen, files, ways, strict=True)
        ]


def _scaled(plan: Plan, kind: Kind) -> Plan:
    """Equally heavy chunks, whatever a row weighs."""
    return Plan(plan.rounds, plan.passes, kind.rows(plan.chunk_size), plan.cold)


def _result(
    chosen: list[Kind], files: list[Path], runs: list[Runs], plan: Plan, machine: dict[str, Any]
) -> dict[str, Any]:
    rows = [
        _row(kind, path, of_kind) for kind, path, of_kind in zip(chosen, files, runs, strict=True)
    ]
    return {
        "time": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": machine,
        "page_cache": "dropped before each reading" if plan.cold else "warm",
        "rounds": plan.rounds,
        "passes": plan.passes,
        "chunk_size": plan.chunk_size,
        "files": rows,
    }


def _row(kind: Kind, path: Path, runs: Runs) -> dict[str, Any]:
    """One file's line of the table."""
    limits = [name for name in LIMITS if name in runs]
    best = max(limits, key=lambda name: speed(runs[name]), default=None)
    return {
        "file": kind.name,
        "dtype": kind.dtype,
        "stored_bytes": path.stat().st_size,
        "decoded_bytes": runs[ARTICLE][0].nbytes,
        "rows_correct": all(run.correct for of_way in runs.values() for run in of_way),
        "gb_per_s": {name: round(speed(of_way), 3) for name, of_way in runs.items()},
        "gb_per_s_each": {
            name: [round(run.gb_per_s, 3) for run in of_way] for name, of_way in runs.items()
        },
        "cpu_s_per_gb": {name: round(cpu_per_gb(of_way), 3) for name, of_way in runs.items()},
        "ours_to_article": round(ratio(runs[OURS_2], runs[ARTICLE]), 3),
        "two_readers_to_one": round(ratio(runs[OURS_2], runs[OURS_1]), 3),
        "best_limit": best,
        "ours_to_limit": round(ratio(runs[OURS_2], runs[best]), 3) if best else None,
    }


def _machine() -> dict[str, Any]:
    packages = ("numpy", "h5py", "hdf5plugin", "deflate")
    return {
        "processor": _processor(),
        "cpus_allowed": len(os.sched_getaffinity(0)),
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "load_before": [round(load, 2) for load in os.getloadavg()],
        "packages": dict(_versions(packages)),
    }


def _processor() -> str:
    """The processor's name as the system tells it."""
    facts = Path("/proc/cpuinfo")
    lines = facts.read_text().splitlines() if facts.exists() else []
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.processor())


def _versions(packages: Sequence[str]) -> Iterator[tuple[str, str]]:
    for package in packages:
        try:
            yield package, version(package)
        except ModuleNotFoundError:  # not installed: its files are not measured either
            continue


def _keep(result: dict[str, Any], folder: Path, *, cold: bool) -> Path:
    """Writes the result beside the earlier ones; one of the same day is replaced."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{result['time'][:10]}-{'cold' if cold else 'warm'}.json"
    path.write_text(json.dumps(result, indent=2) + "\n")
    return path


def _print(result: dict[str, Any]) -> None:
    machine = result["machine"]
    console = output.data()
    console.print(
        f"{machine['processor']}, {machine['cpus_allowed']} CPUs, page cache "
        f"{result['page_cache']}, medians of {result['rounds']} rounds, decoded GB/s",
        soft_wrap=True,
    )
    columns = (*WAYS, "limit", "to article", "2 readers to 1", "to limit", "CPU s/GB", "article's")
    table = Table("file", *columns, box=None, pad_edge=False)
    for column in table.columns[1:]:
        column.justify = "right"
    for row in result["files"]:
        table.add_row(row["file"], *_cells(row))
    console.print(table)


def _cells(row: dict[str, Any]) -> Iterator[str]:
    limit = row["best_limit"]
    for name in WAYS:
        yield f"{row['gb_per_s'][name]:.2f}"
    yield f"{row['gb_per_s'][limit]:.2f}" if limit else ""
    yield f"{row['ours_to_article']:.2f}x"
    yield f"{row['two_readers_to_one']:.2f}x"
    yield f"{row['ours_to_limit']:.2f}" if limit else ""
    yield f"{row['cpu_s_per_gb'][OURS_2]:.2f}"
    yield f"{row['cpu_s_per_gb'][ARTICLE]:.2f}"


if __name__ == "__main__":
    sys.exit(main())
