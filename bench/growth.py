"""Growth: time and memory for a sample as the file grows, and the plan far beyond any file."""

from __future__ import annotations

import tracemalloc
from collections.abc import Mapping
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Any

import h5py
import numpy as np

import prefetcher
from bench import plot
from bench.attempt import attempt
from bench.part import Options, Part, Result, markdown, rotated
from bench.usage import Memory
from prefetcher.cli import output
from prefetcher.order.plan import Plan

WIDTH = 16
"""float32 values in a row."""
SIZES, QUICK_SIZES = (10_000, 100_000, 1_000_000, 10_000_000), (10_000, 100_000)
READERS = (1, 2, 4, 8)
SECONDS, WARM_SAMPLES = 1.0, 50_000
"""What is timed at least, and before it what fills queues that are as large for a small file as for
any."""
PLANNED = (10_000, 1_000_000, 100_000_000, 1_000_000_000)
PLACES = 20
"""Random places that are looked up in each plan."""


def measure(options: Options) -> Result:
    """Reads files of every size with every number of readers, and plans beyond them."""
    result = Result({"sizes": [], "plans": [planned(size) for size in PLANNED]})
    sizes = QUICK_SIZES if options.quick else SIZES
    with output.progress("Growing", len(sizes) * options.rounds * len(READERS)) as advance:
        for size in sizes:
            path = _made(options.folder, size)
            runs: dict[str, list[dict[str, Any]]] = {str(readers): [] for readers in READERS}
            for turn in range(options.rounds):
                for readers in rotated(list(runs), turn):
                    run = _read(size, path, readers, result)
                    runs[readers] += [run] if run else []
                    advance(1)
            of_size = {readers: _medians(found) for readers, found in runs.items() if found}
            result.data["sizes"].append({"samples": size, "readers": of_size})
    return result


def _read(size: int, path: Path, readers: str, result: Result) -> dict[str, Any] | None:
    what = f"{size} samples, {readers} readers"
    run: dict[str, Any] | None = attempt(
        result, what, "bench.growth:read", path=str(path), readers=int(readers)
    )
    if run and not run["rows_correct"]:
        result.wrong_rows.append(what)
    return run


def _medians(runs: list[dict[str, Any]]) -> dict[str, float]:
    return {
        key: median(run[key] for run in runs)
        for key in ("us_per_sample", "added_bytes", "buffer_peak_bytes")
    }


def _made(folder: Path, size: int) -> Path:
    path = folder / f"growth-{size}.h5"
    if not path.exists():
        partial = path.with_suffix(".partial")
        with h5py.File(partial, "w") as file:
            file["x"] = np.broadcast_to(np.arange(size, dtype=np.float32)[:, None], (size, WIDTH))
            file["y"] = np.arange(size)
        partial.replace(path)
    return path


def read(path: str, readers: int) -> dict[str, Any]:
    """Whole passes over a file; timed are all samples but the first ones, for a second at least."""
    opened = prefetcher.PrefetchSequence  # imports Keras, which shall not be counted
    memory = Memory()
    with opened(path, readers=readers) as sequence:
        samples = sequence.plan.num_samples
        begun, warm, timed, totals = perf_counter(), 0, 0, []
        while not timed or perf_counter() - begun < SECONDS:
            total = 0
            for index in range(len(sequence)):
                numbers = sequence[index][1]
                total += int(numbers.sum())
                if warm < WARM_SAMPLES:
                    begun, warm = perf_counter(), warm + len(numbers)
                else:
                    timed += len(numbers)
            totals.append(total)
        seconds = perf_counter() - begun
        peak = sequence.stats().buffer_peak_bytes
    return {
        "us_per_sample": 1e6 * seconds / timed,
        "added_bytes": memory.added,
        "buffer_peak_bytes": peak,
        "rows_correct": set(totals) == {samples * (samples - 1) // 2},
    }


def planned(size: int) -> dict[str, float]:
    """What it takes to find the chunk of random places in a plan of this size."""
    plan = Plan(range(size), 32, 3200, 50)
    places = np.random.default_rng(0).integers(plan.num_chunks, size=PLACES).tolist()
    taken = []
    for number in places:
        begun = perf_counter()
        plan.chunk(number)
        taken.append(perf_counter() - begun)
    tracemalloc.start()
    plan.chunk(places[0])
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return {"samples": size, "ms": 1e3 * median(taken), "peak_bytes": peak}


def tables(data: Mapping[str, Any]) -> str:
    """Microseconds and memory for each size and number of readers; the plan's cost."""
    header = ["samples", *(f"us, {n} readers" for n in READERS), "memory added, MB", "buffers, MB"]
    rows = [
        [
            f"{row['samples']:,}",
            *(f"{row['readers'][str(n)]['us_per_sample']:.2f}" for n in READERS),
            *(
                f"{max(one[key] for one in row['readers'].values()) / 1e6:.1f}"
                for key in ("added_bytes", "buffer_peak_bytes")
            ),
        ]
        for row in data["sizes"]
        if len(row["readers"]) == len(READERS)
    ]
    plans = [
        [f"{row['samples']:,}", f"{row['ms']:.2f}", f"{row['peak_bytes'] / 1e3:.0f}"]
        for row in data["plans"]
    ]
    about = (
        f"Time for a sample of {WIDTH} float32 values, loader alone, and what the process grew by "
        "(the most of the four).\n"
    )
    return "\n".join(
        [
            about,
            markdown(header, rows),
            "A random chunk found in a plan of so many samples:\n",
            markdown(["samples", "ms", "peak kB"], plans),
        ]
    )


def plots(data: Mapping[str, Any], folder: Path, stem: str) -> list[Path]:
    """Time and memory over the number of samples."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 3.6), layout="constrained")
    left, right = figure.subplots(1, 2)
    for readers in map(str, READERS):
        points = [(row["samples"], row["readers"].get(readers)) for row in data["sizes"]]
        known = [(samples, one) for samples, one in points if one]
        sizes = [samples for samples, _ in known]
        label = f"{readers} reader{'s' if readers != '1' else ''}"
        left.plot(sizes, [one["us_per_sample"] for _, one in known], marker="o", label=label)
        right.plot(sizes, [one["added_bytes"] / 1e6 for _, one in known], marker="o")
    for panel, name in ((left, "us for a sample"), (right, "MB that the process grew by")):
        panel.set(xscale="log", xlabel="samples in the file", ylabel=name)
        panel.set_ylim(bottom=0)
        panel.grid(alpha=0.3)
    left.legend(frameon=False)
    return [plot.kept(figure, folder, f"{stem}-growth")]


PART = Part("growth", "Growth of the file", measure, tables, plots)
