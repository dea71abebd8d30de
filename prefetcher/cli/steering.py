"""Trains a small convolutional network to steer, straight from an HDF5 file."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import Any

import keras

from prefetcher.cli.output import Advance
from prefetcher.monitor import Monitor
from prefetcher.pipeline.stats import Stats
from prefetcher.sequence import PrefetchSequence

BATCH_SIZE = 32
CHUNK_SIZE = 320
"""A tenth of the default: the demo's file is small, and its buffers should be smaller still."""
HELD_OUT = 6
"""One sample in so many is kept for validation."""


@dataclass(frozen=True)
class Outcome:
    """What a training gave.

    Attributes:
        loss: Mean squared error on the training samples after each epoch, radians squared.
        val_loss: The same on the samples held out.
        samples: Training samples in an epoch.
        seconds: Time that ``fit`` took, validation included.
        training: The counters of the sequence that fed the training.
        validation: The counters of the one that fed the validation.
        memory_bytes: What both sequences together may hold.
    """

    loss: list[float]
    val_loss: list[float]
    samples: int
    seconds: float
    training: Stats
    validation: Stats
    memory_bytes: int


def start_backend() -> str:
    """Has the Keras backend look for its devices, once and for all; returns its name."""
    keras.ops.zeros(())
    return str(keras.backend.backend())


def training_samples(samples: int) -> int:
    """How many of so many samples are trained on; the rest are for validation."""
    return samples - max(1, samples // HELD_OUT)


def train(file: Path, samples: int, epochs: int, seed: int, log: Path, advance: Advance) -> Outcome:
    """Trains on the first samples of a file of road pictures and validates on the others.

    Args:
        file: Holds ``images`` and ``angles``.
        samples: How many samples it holds.
        epochs: Times through the training samples.
        seed: Of the model's weights and of the order of the samples.
        log: Where the monitor writes.
        advance: Told of each batch, and of the losses after each epoch.
    """
    keras.utils.set_random_seed(seed)
    split = training_samples(samples)
    model = steering_model()
    model.compile(optimizer="adam", loss="mse")

    def sequence(rows: tuple[int, int], **settings: Any) -> PrefetchSequence:
        return PrefetchSequence(
            file,
            x="images",
            y="angles",
            rows=rows,
            chunk_size=CHUNK_SIZE,
            batch_size=BATCH_SIZE,
            seed=seed,
            **settings,
        )

    with (
        sequence((0, split), monitor=Monitor(log, verdict=False)) as training,
        sequence((split, samples), shuffle=False) as validation,
    ):
        started = perf_counter()
        history = model.fit(
            training,
            validation_data=validation,
            epochs=epochs,
            verbose=0,
            callbacks=[_Progress(split, advance)],
        ).history
        return Outcome(
            loss=history["loss"],
            val_loss=history["val_loss"],
            samples=split,
            seconds=perf_counter() - started,
            training=training.stats(),
            validation=validation.stats(),
            memory_bytes=training.memory_bytes + validation.memory_bytes,
        )


def steering_model() -> keras.Model:
    """The network of Bojarski et al. (2016), from pixels to a steering angle, made narrower."""
    layers = keras.layers
    convolutions = [(16, 5, 2), (24, 5, 2), (32, 5, 2), (48, 3, 1), (48, 3, 1)]
    return keras.Sequential(
        [
            keras.Input((128, 128, 3), dtype="uint8"),
            layers.Rescaling(1 / 127.5, offset=-1),
            *(
                layers.Conv2D(filters, side, strides=stride, activation="relu")
                for filters, side, stride in convolutions
            ),
            layers.Flatten(),
            layers.Dense(64, activation="relu"),
            layers.Dense(16, activation="relu"),
            layers.Dense(1),
        ]
    )


class _Progress(keras.callbacks.Callback):  # type: ignore[misc]
    """Hands batches and losses on to the progress display."""

    def __init__(self, samples: int, advance: Advance) -> None:
        super().__init__()
        self._samples = samples
        self._advance = advance

    def on_train_batch_end(self, batch: int, logs: dict[str, float] | None = None) -> None:
        del logs  # reading them in mid-epoch would wait for the accelerator
        self._advance(min(BATCH_SIZE, self._samples - batch * BATCH_SIZE))

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        losses = logs or {}
        self._advance(
            0, f"epoch {epoch + 1}: loss {losses['loss']:.4f}, validation {losses['val_loss']:.4f}"
        )
