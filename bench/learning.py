"""A small classifier, trained on rows in the order of one way of shuffling. Runs in a child."""

from __future__ import annotations

from math import ceil
from typing import Any

import h5py
import keras
import numpy as np
from numpy.typing import NDArray

import prefetcher
from bench.orders import BATCH_SIZE, CHUNK_SIZE, WAYS, Way


def train(way: str, path: str, seeds: int, epochs: int) -> dict[str, Any]:
    """Trains a model for each seed.

    Returns:
        ``accuracies`` on the 10,000 samples for testing, 0 to 1; ``problem`` with the order in
        which the rows came, or None.
    """
    with h5py.File(path) as file:
        x, y, test_x, test_y = (file[name][:] for name in ("x", "y", "test_x", "test_y"))
    told: dict[str, Any] = {"accuracies": [], "problem": None}
    for seed in range(seeds):
        model = _model(seed, epochs * ceil(len(y) / BATCH_SIZE))
        problem = _train(model, WAYS[way], path, x, y, seed, epochs)
        _, accuracy = model.evaluate(test_x, test_y, batch_size=1000, verbose=0)
        told["accuracies"].append(float(accuracy))
        told["problem"] = told["problem"] or problem
    return told


def _train(
    model: Any,
    way: Way,
    path: str,
    x: NDArray[np.uint8],
    y: NDArray[np.uint8],
    seed: int,
    epochs: int,
) -> str | None:
    """Trains from memory, or from the file where it is our way; tells what was wrong with that."""
    if way.block_size is None:
        for number in range(epochs):
            _fit(model, InOrder(x, y, way.order(len(y), seed, number)), number)
        return None
    with prefetcher.PrefetchSequence(
        path, batch_size=BATCH_SIZE, chunk_size=CHUNK_SIZE, block_size=way.block_size, seed=seed
    ) as sequence:
        for number in range(epochs):
            _fit(model, sequence, number)
        return _problem(way, sequence, y, seed, epochs)


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
            layers.Dense(10),
        ]
    )
    rate = keras.optimizers.schedules.CosineDecay(2e-3, steps)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    # 25 steps to a call halve the time; 1875 batches are 75 calls.
    model.compile(keras.optimizers.Adam(rate), loss, metrics=["accuracy"], steps_per_execution=25)
    return model
