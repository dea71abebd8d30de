"""One small training that can be broken off anywhere, and everything that it leaves."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import keras
import numpy as np
from numpy.typing import NDArray

import prefetcher
from helpers.callbacks import CountEpochs
from helpers.models import CountSamples
from helpers.sequences import small

SAMPLES = 70
"""18 batches of 4, the last one of 2."""
BATCHES = 18
EPOCHS = 3

Optimizer = Callable[[], Any]


class Outcome(NamedTuple):
    """What a training leaves: two that are equal here were the same training."""

    history: dict[str, list[float]]
    epochs: list[int]
    values: list[NDArray[Any]]

    def assert_same(self, other: Outcome) -> None:
        """Fails unless all is equal to the last bit."""
        assert self.epochs == other.epochs
        assert self.history == other.history
        wrong = [
            number
            for number, pair in enumerate(zip(self.values, other.values, strict=True))
            if not np.array_equal(*pair)
        ]
        assert not wrong, f"variables {wrong} of {len(self.values)} differ"


def network(
    optimizer: Optimizer = lambda: keras.optimizers.Adam(0.01),
    *,
    normalized: bool = True,
    **compile_args: Any,
) -> Any:
    """An unbuilt model with everything that has a state of its own: it counts ids (`count`), and
    its outcome depends on every batch, their order and the dice of each step."""
    keras.utils.set_random_seed(1)
    model = keras.Sequential(
        [
            CountSamples(name="count"),
            keras.layers.Rescaling(1 / SAMPLES),
            keras.layers.Dense(8, activation="relu"),
            *([keras.layers.BatchNormalization()] if normalized else []),
            keras.layers.Dropout(0.3),
            keras.layers.Dense(1),
        ]
    )
    model.compile(optimizer(), "mse", metrics=["mae"], **compile_args)
    return model


def train(
    file: Path,
    folder: Path,
    *,
    callbacks: Sequence[Any] = (),
    watching: Callable[[Any], Any] | None = None,
    samples: int = SAMPLES,
    model: dict[str, Any] | None = None,
    data: dict[str, Any] | None = None,
    **arguments: Any,
) -> Outcome:
    """`prefetcher.fit` with a validation and with callbacks that count.

    `watching` makes one more callback, of the sequence that is trained.
    """
    net = network(**(model or {}))
    counting = [
        keras.callbacks.EarlyStopping(patience=50, min_delta=1.0, restore_best_weights=True),
        keras.callbacks.ReduceLROnPlateau(patience=0, min_delta=500.0),
        CountEpochs(),
    ]
    settings: dict[str, Any] = {"epochs": EPOCHS, "every": 5, "verbose": 0, **arguments}
    with small(file, **(data or {})) as trained, small(file, shuffle=False) as validation:
        watchers = [] if watching is None else [watching(trained)]
        history = prefetcher.fit(
            net,
            trained,
            backup=folder,
            callbacks=[*callbacks, *watchers, *counting],
            validation_data=validation,
            **settings,
        )
    variables = [*net.variables, *net.optimizer.variables]
    values = [np.array(keras.ops.convert_to_numpy(variable)) for variable in variables]
    if "steps_per_epoch" not in settings:
        counting[2].assert_each_once(samples, settings["epochs"])
    return Outcome(history.history, history.epoch, values)
