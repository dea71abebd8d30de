"""Shuffling: how well each way mixes a set sorted by class, and what a model learns of it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from math import ceil
from pathlib import Path
from statistics import mean, stdev
from typing import Any

import h5py
import keras
import numpy as np
from numpy.typing import NDArray

import prefetcher
from bench.child import ChildError, call
from bench.fashion import sorted_by_class
from bench.orders import BATCH_SIZE, CHUNK_SIZE, FULL, OURS, WAYS, Way, entropy
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
    try:
        told = call("bench.shuffling:train", way=way.name, path=str(path), seeds=seeds,
            epochs=epochs)  # fmt: skip
    except ChildError as error:
        result.failed.append(f"{way.name}: {error}")
        return []
    if told["problem"]:
        result.wrong_rows.append(f"{way.name}: {told['problem']}")
    return list(told["accuracies"])


def train(way: str, path: str, seeds: int, epochs: int) -> dict[str, Any]:
    """Trains a model for each seed; runs in a child's process.

    Returns:
        ``accuracies`` on the 10,000 samples for testing, 0 to 1; ``problem`` with the order in
        which the rows came, or None.
    """
    with h5py.File(path) as file:
        x, y, test_x, test_y = (file[name][:] for name in ("x", "y", "test_x", "test_y"))
    accuracies: list[float] = []
    problem = None
    for seed in range(seeds):
        model = _model(seed, epochs * ceil(len(y) / BATCH_SIZE))
        if WAYS[way].block_size is None:
            for number in range(epochs):
                order = WAYS[way].order(len(y), seed, number)
                _fit(model, InOrder(x, y, order), number)
        else:
            with prefetcher.PrefetchSequence(path, batch_size=BATCH_SIZE, chunk_size=CHUNK_SIZE,
                    block_size=WAYS[way].block_size, seed=seed) as sequence:  # fmt: skip
                for number in range(epochs):
                    _fit(model, sequence, number)
                problem = problem or _problem(WAYS[way], sequence, y, seed, epochs)
        _, accuracy = model.evaluate(test_x, test_y, batch_size=1000, verbose=0)
        accuracies.append(float(accuracy))
    return {"accuracies": accuracies, "problem": problem}


def _problem(
    way: Way,
    sequence: prefetcher.PrefetchSequence,
    labels: NDArray[np.uint8],
    seed: int,
    passes: int,
) -> str | None:
    """What is wrong with the labels of one more pass: they must be those the entropy is told of."""
    came = np.concatenate([y for _, y in sequence])
    wanted = labels[way.order(len(labels), seed, passes)]
    return None if np.array_equal(came, wanted) else "the labels did not come in the plan's order"


class InOrder(keras.utils.Sequence):  # type: ignore[misc]  # keras has no types
    """Samples in memory, in a given order.

    Args:
        x: Inputs by row.
        y: Targets by row.
        order: Row numbers, (samples,).
    """

    def __init__(self, x: NDArray[Any], y: NDArray[Any], order: NDArray[np.int64]) -> None:
        super().__init__()
        self._x, self._y, self._order = x, y, order

    def __len__(self) -> int:
        return ceil(len(self._order) / BATCH_SIZE)

    def __getitem__(self, index: int) -> tuple[NDArray[Any], NDArray[Any]]:
        rows = self._order[index * BATCH_SIZE : (index + 1) * BATCH_SIZE]
        return self._x[rows], self._y[rows]


def _fit(model: Any, batches: Any, number: int) -> None:
    model.fit(batches, initial_epoch=number, epochs=number + 1, shuffle=False, verbose=0)


def _model(seed: int, steps: int) -> Any:
    """The same for every way: only the order differs."""
    keras.utils.set_random_seed(seed)
    layers = keras.layers
    model = keras.Sequential(
        [
            keras.Input((28, 28)),
            layers.Rescaling(1 / 255),
            layers.Flatten(),
            layers.Dense(128, "relu"),
            layers.Dense(CLASSES),
        ]
    )
    rate = keras.optimizers.schedules.CosineDecay(2e-3, steps)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    # 25 steps to a call halve the time; 1875 batches are 75 calls.
    model.compile(keras.optimizers.Adam(rate), loss, ["accuracy"], steps_per_execution=25)
    return model


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
    found = differences(data, OURS)
    verdict = ""
    if found:
        point, half = found
        kept = "kept" if abs(point) + half <= data["goal_points"] else "missed"
        verdict = (
            f"\nGoal, {kept}: the default within {data['goal_points']} points of a full "
            f"permutation ({point:+.2f}, 95 % interval {point - half:+.2f} to {point + half:+.2f}, "
            f"{len(data['ways'][OURS]['accuracies'])} seeds).\n"
        )
    return markdown(header, rows) + verdict


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
    colours = ["#c2571a" if name.startswith("ours") else "#7d93a8" for name in names]
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
        axes.tick_params(labelsize=8)
        axes.spines[["top", "right"]].set_visible(False)
    path = folder / f"{stem}-shuffling.png"
    figure.savefig(path, dpi=130)
    return [path]


PART = Part("shuffling", "Shuffling a set that is sorted by class", measure, tables, plots)
