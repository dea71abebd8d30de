"""A simulated accelerator: how long each system lets one of a given speed wait."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from itertools import islice
from pathlib import Path
from statistics import median
from typing import Any

import psutil

from bench import limits, plot
from bench.attempt import attempt, pictures
from bench.part import Options, Part, Result, markdown, rotated
from bench.systems import ARTICLE, OURS, OURS_2, SYSTEMS, Batch, Feed, opened
from prefetcher.cli import output
from prefetcher.config import Settings
from prefetcher.feed import feed_of
from prefetcher.machine.limits import cpus_allowed
from prefetcher.order.plan import Plan
from prefetcher.tuning import probe
from prefetcher.tuning.device import Device
from prefetcher.tuning.trial import tuned

COMPARED = (
    OURS, OURS_2, ARTICLE, "two threads", "tf.data, expert", "PyDataset",
    "DataLoader, chunks", "Grain, chunks", "SPDL",
)  # fmt: skip
"""Not those who ask for single rows: on compressed files nobody would wait for them."""
DEMANDS = {
    "contiguous": (2_000, 8_000, 16_000, 32_000, 64_000),
    "gzip-4": (1_000, 2_000, 4_000, 8_000, 12_000),
}
"""Samples a second that the accelerator could train on, for each file."""
ENOUGH_PCT = 70
"""Who waits for longer than this is not asked for more."""
SECONDS = 1.5
"""How long each demand lasts, up to whole chunks: some wait once in each."""
LIMIT_S = 300
AHEAD = 3
"""Chunks that a system may have read ahead."""
SHARE = 0.8
"""Of its capacity, at which a well-set sequence should not let anybody wait."""


def measure(options: Options) -> Result:
    """The stall of each system at each demand, and of ours at a share of its capacity."""
    result = Result({"files": [], "capacity": []})
    systems = [name for name in COMPARED if not SYSTEMS[name].missing]
    for file, demands in DEMANDS.items():
        if options.only not in file:
            continue
        path = str(pictures(options, file))
        chosen = demands[1::2] if options.quick else demands
        curves: dict[str, list[float]] = {}
        with output.progress(f"Simulating, {file}", len(systems)) as advance:
            for name in systems:
                curve = attempt(
                    result,
                    f"{name} on {file}",
                    "bench.accelerator:stalls",
                    timeout_s=LIMIT_S,
                    system=name,
                    path=path,
                    demands=chosen,
                )
                if curve:
                    curves[name] = curve["stall_pct"]
                advance(1)
        result.data["files"].append({"file": file, "demands": chosen, "stall_pct": curves})
        row = attempt(
            result,
            f"ours at {SHARE:.0%} on {file}",
            "bench.accelerator:at_share",
            timeout_s=LIMIT_S,
            path=path,
            rounds=options.rounds,
        )
        if row:
            result.data["capacity"].append({"file": file} | row)
    return result


def stalls(system: str, path: str, demands: list[float]) -> dict[str, list[float]]:
    """Stall in percent of the time at each demand, up to the first where it is hopeless."""
    found: list[float] = []
    feed = Feed(Path(path), passes=1_000_000)
    SYSTEMS[system].load()
    with opened(system, feed) as batches:
        for demand in demands:
            found.append(_stall_pct(batches, feed, demand))
            if found[-1] > ENOUGH_PCT:
                break
    return {"stall_pct": found}


def at_share(path: str, rounds: int) -> dict[str, Any]:
    """The stall of the settings as they come, and of those of `prefetcher tune`.

    At a share of what the tuned settings could do, by tune's own probes. Beside them, what bare
    threads would do to the accelerator: as many as the tuned readers, at the same pace.
    """
    feed = feed_of(Settings(path, "images", "ids"))
    probes = list(probe.survey(feed, cpus_allowed(), 0.0))
    able = probe.capacities(probes, feed.plan)
    capacity = min(max(able.read.values()), max(able.batch.values()))
    demand = SHARE * capacity
    memory = psutil.virtual_memory().available // 2
    chosen = tuned(feed, probes, demand, memory)
    setup = chosen.trial.choice.setup
    set_so = probe.with_settings(feed, **setup.settings)
    ways = {
        "as it comes": lambda: probe.stall_pct(feed, demand),
        "tuned": lambda: probe.stall_pct(set_so, demand),
        "bare threads": lambda: _bare_pct(path, setup.workers.readers, demand, feed.plan),
    }
    found: dict[str, list[float]] = {name: [] for name in ways}
    for turn in range(rounds):
        for name in rotated(list(ways), turn):
            found[name].append(ways[name]())
    return {
        "capacity": capacity,
        "demand": demand,
        "tuned": str(setup),
        "unstalled": chosen.unstalled,
        "stall_pct": {name: median(each) for name, each in found.items()},
        "stall_pct_each": found,
    }


def _bare_pct(path: str, threads: int, demand: float, plan: Plan) -> float:
    """The stall with data that is there already, while bare threads read as much elsewhere.

    It is due to the machine and to Python's own wake-ups: no loader in threads can do better.
    """
    step_s = plan.batch_size / demand
    with limits.paced(path, threads, plan.chunk_size, demand):
        return Device(step_s).stall_pct(range(2 + int(probe.CHECK_S / step_s)))


def _stall_pct(batches: Iterator[Batch], feed: Feed, demand: float) -> float:
    step_s = feed.batch_size / demand
    chunks = math.ceil(SECONDS * demand / feed.chunk_size)
    count = chunks * feed.chunk_size // feed.batch_size
    _settle(batches, feed)
    return Device(step_s).stall_pct(islice(batches, count + 1))


def _settle(batches: Iterator[Batch], feed: Feed) -> None:
    """Empties queues that were filled before: they would hide that nothing fills them now."""
    for _ in range(AHEAD):
        _take(batches, feed)


def _take(batches: Iterator[Batch], feed: Feed) -> int:
    """Takes a chunk's batches; returns their samples."""
    return sum(len(next(batches)[1]) for _ in range(feed.chunk_size // feed.batch_size))


def tables(data: Mapping[str, Any]) -> str:
    """The stall at each demand, and ours at a share of its capacity."""
    about = (
        "Share of the time, in percent, in which an accelerator that could train on so many "
        "samples a second waits for data. It takes a fixed time for each batch and no CPU; its "
        "host asks one batch ahead.\n"
    )
    lines = [about]
    for file in data["files"]:
        rows = [
            [name, *(f"{pct:.1f}" for pct in curve), *("" for _ in file["demands"][len(curve) :])]
            for name, curve in file["stall_pct"].items()
        ]
        header = [f"{file['file']}, samples/s", *(f"{demand:,}" for demand in file["demands"])]
        lines.append(markdown(header, rows))
    lines.append(
        f"At {SHARE:.0%} of what the settings that `prefetcher tune` finds could do: the stall of "
        "the settings as they come, and of the tuned ones. Beside them the stall with a batch that "
        "is always there, while bare threads read and decode as much: what the machine allows.\n"
    )
    header = ["file", "capacity", "demand", "tuned", "stall as it comes, %"]
    header += ["tuned, %", "bare threads, %", "samples/s with a stall under 1 %"]
    rows = [
        [
            row["file"],
            f"{row['capacity']:,.0f}",
            f"{row['demand']:,.0f}",
            row["tuned"],
            *(f"{pct:.2f}" for pct in row["stall_pct"].values()),
            f"{row['unstalled']:,.0f}" if row["unstalled"] else "",
        ]
        for row in data["capacity"]
    ]
    return "\n".join([*lines, markdown(header, rows)])


def plots(data: Mapping[str, Any], folder: Path, stem: str) -> list[Path]:
    """Stall over demand, a line for each system, a panel for each file."""
    from matplotlib.figure import Figure

    files = data["files"]
    figure = Figure(figsize=(6 * len(files), 4.2), layout="constrained")
    panels = figure.subplots(1, len(files), sharey=True, squeeze=False)[0]
    for panel, file in zip(panels, files, strict=True):
        for name, curve in file["stall_pct"].items():
            ours = name in {OURS, OURS_2}
            panel.plot(
                file["demands"][: len(curve)],
                curve,
                marker="o",
                markersize=4,
                linewidth=2.4 if ours else 1.2,
                linestyle="-" if ours else "--",
                color=f"C{COMPARED.index(name)}",
                label=name,
            )
        panel.set_xscale("log")
        panel.set_xticks(file["demands"], [f"{demand / 1000:g}k" for demand in file["demands"]])
        panel.minorticks_off()
        panel.set(title=file["file"], xlabel="samples/s the accelerator could train on")
        panel.grid(alpha=0.3)
    panels[0].set(ylabel="time it waits, %", ylim=(-2, 100))
    drawn = {
        label: line
        for panel in panels
        for line, label in zip(*panel.get_legend_handles_labels(), strict=True)
    }
    panels[-1].legend(
        drawn.values(), drawn.keys(), loc="upper left", bbox_to_anchor=(1, 1), frameon=False
    )
    return [plot.kept(figure, folder, f"{stem}-accelerator")]


PART = Part("accelerator", "A simulated accelerator that waits for data", measure, tables, plots)
