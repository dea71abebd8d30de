"""Loaders alone: how fast each system reads each file, and what the machine would allow."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from statistics import median
from typing import Any

from bench.child import ChildError, call
from bench.files import Kind, kinds, make
from bench.part import Options, Part, Result, markdown
from bench.systems import ARTICLE, OURS, OURS_2
from prefetcher.cli import output

CHUNK_SIZE = 3200


def measure(options: Options) -> Result:
    """Every system on every file, in turn, round after round."""
    result = Result({"files": []})
    chosen = [kind for kind in kinds() if options.only in kind.name]
    files = [make(options.folder, kind, options.samples) for kind in chosen]
    names = [ARTICLE, OURS, OURS_2]
    with output.progress("Reading", options.rounds * len(files) * len(names)) as advance:
        for kind, path in zip(chosen, files, strict=True):
            runs: dict[str, list[dict[str, Any]]] = {name: [] for name in names}
            for _ in range(options.rounds):
                for name in names:
                    run = _run(name, kind, path, options, result)
                    runs[name] += [run] if run else []
                    advance(1)
            result.data["files"].append({"file": kind.name, "runs": runs})
    return result


def _run(
    name: str, kind: Kind, path: Path, options: Options, result: Result
) -> dict[str, Any] | None:
    try:
        run: dict[str, Any] = call(
            "bench.passes:read",
            system=name,
            path=str(path),
            rows=kind.rows(options.samples),
            passes=3,
            chunk_size=kind.rows(CHUNK_SIZE),
        )
    except ChildError as error:
        result.failed.append(f"{name} on {kind.name}: {error}")
        return None
    if run["problem"]:
        result.wrong_rows.append(f"{name} on {kind.name}: {run['problem']}")
    return run


def tables(data: Mapping[str, Any]) -> str:
    """GB/s of each system on each file."""
    return markdown(["file", ARTICLE, OURS, OURS_2], [list(_cells(row)) for row in data["files"]])


def _cells(row: Mapping[str, Any]) -> Iterator[str]:
    yield row["file"]
    for runs in row["runs"].values():
        speeds = [run["nbytes"] / median(run["seconds"][1:]) / 1e9 for run in runs]
        yield f"{median(speeds):.2f}" if speeds else "failed"


PART = Part("reading", "Loaders alone", measure, tables)
