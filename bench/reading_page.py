"""Tables and plots of loaders alone."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from statistics import median
from typing import Any

from bench import plot
from bench.part import markdown
from bench.systems import ARTICLE, OURS, OURS_2, SYSTEMS

WARM = "Decoded GB/s, page cache warm: first pass (fresh memory) / later passes (steady state)."
FILE_COLUMNS = [
    "file",
    "article",
    "ours",
    "2 readers",
    "2 readers to article",
    "2 readers to 1",
    "CPU s/GB",
    "article's",
]
SYSTEM_COLUMNS = [
    "system",
    "what it does",
    "GB/s",
    "2 readers to it",
    "first pass",
    "first batch",
    "CPU s/GB",
    "memory added",
]
LIMIT_COLUMNS = ["limit, threads", "GB/s of decoded data", "ours, 2 readers, of it"]


def tables(data: Mapping[str, Any]) -> str:
    """Markdown: every file, then the systems and the limits on those where all were measured."""
    return "\n".join(_tables(data))


def _tables(data: Mapping[str, Any]) -> Iterator[str]:
    yield f"{WARM}\n"
    yield markdown(FILE_COLUMNS, [list(_file_cells(row)) for row in data["files"]])
    for row in data["files"]:
        if row["limits"]:
            yield f"### {row['file']}: all systems, and the limits\n"
            yield markdown(SYSTEM_COLUMNS, list(_system_rows(row)))
            yield markdown(LIMIT_COLUMNS, list(_limit_rows(row)))
    if data["cold"]:
        yield "### Cold: one pass of a file that the page cache was made to forget\n"
        yield markdown(
            ["file", "stored GB", "disk alone, GB/s", "article, of it", "ours", "2 readers"],
            [list(_cold_cells(row)) for row in data["cold"]],
        )


def _file_cells(row: Mapping[str, Any]) -> Iterator[str]:
    systems = row["systems"]
    yield row["file"]
    for name in (ARTICLE, OURS, OURS_2):
        found = systems.get(name)
        yield (
            f"{found['first_pass_gb_per_s']:.2f} / {found['gb_per_s']:.2f}" if found else "failed"
        )
    for ratio in (row["ours_to_article"], row["two_readers_to_one"]):
        yield f"{ratio['first_pass']:.2f}x / {ratio['later']:.2f}x" if ratio else ""
    for name in (OURS_2, ARTICLE):
        yield f"{systems[name]['cpu_s_per_gb']:.2f}" if name in systems else ""


def _system_rows(row: Mapping[str, Any]) -> Iterator[list[str]]:
    ours = row["systems"][OURS_2]["gb_per_s"] if OURS_2 in row["systems"] else None
    for name in SYSTEMS:
        if name not in row["systems"]:
            continue
        found = row["systems"][name]
        yield [
            name,
            SYSTEMS[name].about,
            f"{found['gb_per_s']:.2f}",
            f"{ours / found['gb_per_s']:.1f}x" if ours else "",
            f"{found['first_pass_gb_per_s']:.2f}",
            f"{1000 * found['first_batch_s']:.0f} ms",
            f"{found['cpu_s_per_gb']:.2f}",
            f"{found['added_bytes'] / 1e6:.0f} MB"
            + ("" if found["rows_correct"] else " **wrong**"),
        ]


def _limit_rows(row: Mapping[str, Any]) -> Iterator[list[str]]:
    ours = row["systems"][OURS_2]["gb_per_s"] if OURS_2 in row["systems"] else None
    for name, found in row["limits"].items():
        share = f"{ours / found['gb_per_s']:.2f}" if ours else ""
        yield [name, f"{found['gb_per_s']:.2f}", share]


def _cold_cells(row: Mapping[str, Any]) -> Iterator[str]:
    seconds = {name: median(each) for name, each in row["seconds_per_stored_gb"].items() if each}
    disk = seconds.get("sequential read")
    yield row["file"]
    yield f"{row['stored_bytes'] / 1e9:.2f}"
    yield f"{1 / disk:.2f}" if disk else "failed"
    for name in (ARTICLE, OURS, OURS_2):
        yield f"{disk / seconds[name]:.2f}" if disk and name in seconds else ""


def plots(data: Mapping[str, Any], folder: Path, stem: str) -> list[Path]:
    """One picture: the systems side by side on each file where all were measured."""
    from matplotlib.figure import Figure

    shown = [row for row in data["files"] if row["limits"]]
    if not shown:
        return []
    figure = Figure(figsize=(4.2 * len(shown) + 1.5, 4.6), layout="constrained")
    names = list(reversed([name for name in SYSTEMS if name in shown[0]["systems"]]))
    for axes, row in zip(figure.subplots(1, len(shown), squeeze=False)[0], shown, strict=True):
        found = [row["systems"].get(name) for name in names]
        speeds = [one["gb_per_s"] if one else 0.0 for one in found]
        bars = axes.barh(names, speeds, color=plot.colours(names))
        labels = [f" {one['gb_per_s']:.2f}" if one else " failed" for one in found]
        axes.bar_label(bars, labels=labels, fontsize=8)
        lowest = _bound(row)
        if lowest:
            axes.axvline(lowest, color="#333333", linestyle=":", linewidth=1)
            axes.set_xlim(0, 1.25 * max(lowest, *speeds))
        axes.set_title(row["file"], fontsize=10)
        axes.set_xlabel("decoded GB/s, later passes (dotted: the limit)", fontsize=8)
        plot.plain(axes)
        axes.tick_params(labelleft=row is shown[0])
    return [plot.kept(figure, folder, f"{stem}-reading")]


def _bound(row: Mapping[str, Any]) -> float | None:
    """The limit that no loader can pass: the slowest of what has to be done, on all processors."""
    most: dict[str, float] = {}
    for name, found in row["limits"].items():
        work = name.partition(",")[0]
        most[work] = max(most.get(work, 0.0), found["gb_per_s"])
    most.pop("memcpy", None)
    return min(most.values(), default=None)
