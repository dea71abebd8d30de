"""Shuffling: how well each way mixes a set sorted by class, and what a model learns of it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from statistics import mean, stdev
from typing import Any

import numpy as np

from bench import plot
from bench.attempt import attempt
from bench.fashion import sorted_by_class
from bench.orders import BATCH_SIZE, FULL, OURS, WAYS, Way, entropy
from bench.part import Options, Part, Result, markdown
from prefetcher.cli import output

CLASSES, CLASS_SIZE = 10, 6000
EPOCHS = 2
"""With a rate that ends at 0 the seeds agree to 0.1 points by then."""
SEEDS = 5
STUDENT = {2: 12.71, SEEDS: 2.776}
"""Standard errors in half a 95 % interval, by the number of seeds."""
GOAL = 0.5
"""Points of accuracy that the default may differ from a full permutation."""


def measure(options: Options) -> Result:
    """Every way's entropy; and its accuracy, where the pictures are at hand."""
    result = Result({"ways": {}, "goal_points": GOAL})
    path = sorted_by_class(options.folder)
    if path is None:
        result.notes.append(
            "Accuracy is left out: no Fashion-MNIST in DIR/fashion-mnist, in "
            "../shared/data/fashion-mnist, nor Debian's dataset-fashion-mnist"
        )
    seeds, epochs = (2, 1) if options.quick else (SEEDS, EPOCHS)
    with output.progress("Shuffling", len(WAYS)) as advance:
        for way in WAYS.values():
            entry = {"entropy_shares": _entropy_shares(way, seeds), "accuracies": []}
            if path is not None:
                entry["accuracies"] = _accuracies(way, path, seeds, epochs, result)
            result.data["ways"][way.name] = entry
            advance(1, way.name)
    return result


def _entropy_shares(way: Way, seeds: int) -> list[float]:
    """Of a full permutation's, each seed's first pass."""
    labels = np.repeat(np.arange(CLASSES), CLASS_SIZE)
    shares = []
    for seed in range(seeds):
        order = way.order(len(labels), seed, 0)
        full = WAYS[FULL].order(len(labels), seed, 0)
        shares.append(entropy(labels[order], BATCH_SIZE) / entropy(labels[full], BATCH_SIZE))
    return shares


def _accuracies(way: Way, path: Path, seeds: int, epochs: int, result: Result) -> list[float]:
    told = attempt(
        result,
        way.name,
        "bench.learning:train",
        way=way.name,
        path=str(path),
        seeds=seeds,
        epochs=epochs,
    )
    if told is None:
        return []
    if told["problem"]:
        result.wrong_rows.append(f"{way.name}: {told['problem']}")
    return list(told["accuracies"])


def differences(data: Mapping[str, Any], name: str) -> tuple[float, float] | None:
    """Points of accuracy by which a way is above a full permutation.

    Returns:
        The mean over the seeds, each compared with its own, and half the 95 % interval; None
        where it was not measured.
    """
    ours, full = (data["ways"][way]["accuracies"] for way in (name, FULL))
    points = [100 * (one - other) for one, other in zip(ours, full, strict=False)]
    if len(points) not in STUDENT:
        return None
    return mean(points), STUDENT[len(points)] * stdev(points) / len(points) ** 0.5


def tables(data: Mapping[str, Any]) -> str:
    """Markdown: entropy and accuracy of every way."""
    header = ["way of shuffling", "label entropy of a batch", "test accuracy", "points to full"]
    rows = [list(_cells(data, name)) for name in data["ways"]]
    return markdown(header, rows) + _verdict(data)


def _verdict(data: Mapping[str, Any]) -> str:
    """Whether the goal is kept; open where the interval reaches to both sides of it."""
    found, goal = differences(data, OURS), data["goal_points"]
    if found is None:
        return ""
    point, half = found
    word = "kept" if abs(point) + half <= goal else "missed" if abs(point) - half > goal else "open"
    seeds = len(data["ways"][OURS]["accuracies"])
    return (
        f"\nGoal, {word}: the default within {goal} points of a full permutation ({point:+.2f}, "
        f"95 % interval {point - half:+.2f} to {point + half:+.2f}, {seeds} seeds).\n"
    )


def _cells(data: Mapping[str, Any], name: str) -> Iterator[str]:
    way = data["ways"][name]
    yield name
    yield f"{100 * mean(way['entropy_shares']):.1f} %"
    accuracies, found = way["accuracies"], differences(data, name)
    yield f"{100 * mean(accuracies):.2f} %" if accuracies else ""
    yield f"{found[0]:+.2f} ± {found[1]:.2f}" if found and name != FULL else ""


def plots(data: Mapping[str, Any], folder: Path, stem: str) -> list[Path]:
    """One picture: entropy and accuracy side by side."""
    from matplotlib.figure import Figure

    names = list(reversed(data["ways"]))
    figure = Figure(figsize=(10, 3.6), layout="constrained")
    left, right = figure.subplots(1, 2, sharey=True)
    shares = [100 * mean(data["ways"][name]["entropy_shares"]) for name in names]
    colours = plot.colours(names)
    left.bar_label(left.barh(names, shares, color=colours), fmt=" %.1f", fontsize=8)
    left.set_xlim(0, 115)
    left.set_xlabel("label entropy of a batch, % of a full permutation's", fontsize=9)
    for at, (name, colour) in enumerate(zip(names, colours, strict=True)):
        accuracies = [100 * share for share in data["ways"][name]["accuracies"]]
        right.plot(accuracies, [at] * len(accuracies), "o", color=colour, alpha=0.6)
        if accuracies:
            right.annotate(f"{mean(accuracies):.1f}", (mean(accuracies), at), (0, 8),
                textcoords="offset points", ha="center", fontsize=8)  # fmt: skip
    right.set_xlim(0, 100)
    right.set_xlabel("test accuracy, %, a dot for each seed", fontsize=9)
    for axes in (left, right):
        plot.plain(axes)
    return [plot.kept(figure, folder, f"{stem}-shuffling")]


PART = Part("shuffling", "Shuffling a set that is sorted by class", measure, tables, plots)
