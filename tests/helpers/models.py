"""Tiny models that count, inside the compiled step, which samples they were given.

What was trained is not what was requested: Keras draws batches that it never trains on. So the
counts live in a layer's weights, which only a step that really ran can change.
"""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
from keras import ops
from numpy.typing import NDArray

from helpers.files import WIDTH

CAPACITY = 128
"""Ids that a model can count, 0 to CAPACITY - 1. One size for all files, so models are reused."""

Counts = NDArray[np.int64]


class CountSamples(keras.layers.Layer):  # type: ignore[misc]  # keras has no types
    """Passes its input on and counts the ids in its columns.

    Weights, all float32 and kept over epochs: `trained` and `evaluated` (how often each id came),
    `trained_at` (the training step, from 1, at which an id last came), `steps`, and `torn` (rows
    whose columns do not agree).
    """

    def build(self, input_shape: Any) -> None:
        self.trained = self._counter("trained", (CAPACITY,))
        self.evaluated = self._counter("evaluated", (CAPACITY,))
        self.trained_at = self._counter("trained_at", (CAPACITY,))
        self.steps = self._counter("steps", ())
        self.torn = self._counter("torn", ())
        super().build(input_shape)

    def call(self, x: Any, training: bool = False) -> Any:
        x = ops.cast(x, "float32")
        ids = ops.cast(ops.floor(x[:, 0]), "int32")
        found = ops.sum(ops.one_hot(ids, CAPACITY, dtype="float32"), axis=0)
        self.torn.assign_add(ops.sum(ops.cast(ops.any(x != x[:, :1], axis=1), "float32")))
        if training:
            self.trained.assign_add(found)
            self.steps.assign_add(1.0)
            newer = ops.cast(found > 0, "float32") * (self.steps - self.trained_at)
            self.trained_at.assign_add(newer)
        else:
            self.evaluated.assign_add(found)
        return x

    def compute_output_shape(self, input_shape: Any) -> Any:
        return input_shape

    def clear(self) -> None:
        """Forgets everything counted."""
        for weight in self.weights:
            weight.assign(ops.zeros(weight.shape))

    def _counter(self, name: str, shape: tuple[int, ...]) -> Any:
        return self.add_weight(shape=shape, initializer="zeros", trainable=False, name=name)


class WeightById(keras.metrics.Metric):  # type: ignore[misc]  # keras has no types
    """Sums the sample weights that reached the step, for each id (the model's output)."""

    def __init__(self, name: str = "weight_by_id") -> None:
        super().__init__(name=name)
        self.sums = self.add_variable((CAPACITY,), "zeros", name="sums")

    def update_state(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> None:
        ids = ops.cast(ops.reshape(y_pred, (-1,)), "int32")
        weight = ops.ones_like(ids) if sample_weight is None else ops.reshape(sample_weight, (-1,))
        weight = ops.expand_dims(ops.cast(weight, "float32"), 1)
        self.sums.assign_add(ops.sum(ops.one_hot(ids, CAPACITY, dtype="float32") * weight, axis=0))

    def result(self) -> Any:
        return ops.sum(self.sums)


def id_model(*, built: bool = True, **compile_args: Any) -> Any:
    """A compiled model that counts and whose output is the id: with `y` the loss is exactly 0.

    The weights never move (learning rate 0), so one model serves many fits.
    """
    shape = [keras.Input((WIDTH,))] if built else []
    model = keras.Sequential([*shape, CountSamples(name="count"), mean_layer(WIDTH)])
    compile_model(model, **compile_args)
    return model


def mean_layer(width: int, name: str | None = None) -> Any:
    """A dense layer that starts as the mean of `width` columns: exact for ids, 4 columns or 2."""
    start = keras.initializers.Constant(1 / width)
    return keras.layers.Dense(1, use_bias=False, kernel_initializer=start, name=name)


def compile_model(model: Any, **compile_args: Any) -> None:
    """Compiles for steps that run in full and change nothing."""
    model.compile(optimizer=keras.optimizers.SGD(0.0), **{"loss": "mse", **compile_args})


def counted(model: Any, weight: str = "trained", layer: str = "count") -> Counts:
    """The counts of a layer's weight, as integers."""
    values = getattr(model.get_layer(layer), weight).value
    counts: Counts = np.rint(ops.convert_to_numpy(values)).astype(np.int64)
    return counts


def assert_each(
    model: Any, n: int, times: int, weight: str = "trained", layer: str = "count"
) -> None:
    """Each of the ids 0 to n-1 was counted `times` times, whole, and no other id at all."""
    wrong = not_counted(counted(model, weight, layer), n, times)
    assert not wrong, f"{weight}: not {times} times each of {n} ids, but {wrong}"
    assert counted(model, "torn", layer) == 0


def not_counted(counts: Counts, n: int, times: int) -> dict[int, int]:
    """The counts, by id, that are not `times` for an id below `n` and 0 for the others."""
    expected = np.zeros(CAPACITY, np.int64)
    expected[:n] = times
    return {int(i): int(counts[i]) for i in np.flatnonzero(counts != expected)}
