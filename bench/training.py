"""Trainings with one way of feeding `fit`, or with two in turn. Runs in a child's process."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from time import perf_counter
from typing import Any

import h5py
import keras
import numpy as np
from PIL import Image

import prefetcher
from bench.part import rotated
from bench.pictures import picture_path
from bench.systems import Batch, Feed, article, ours
from bench.systems.chunks import Chunks
from bench.usage import Memory, accelerator, cpu_seconds
from prefetcher.cli.steering import steering_model
from prefetcher.machine.limits import cpus_allowed

BATCH_SIZE = 32
WRAP = 1 << 20
"""A checksum stays below this, so that float32 holds it exactly."""


def train(
    way: str, model: str, epochs: int, path: str, files: str, samples: int, validation: int
) -> dict[str, Any]:
    """Trains once.

    Args:
        way: A key of `bench.article.WAYS`; malloc is the process's, so plain or not it is "ours".
        model: "light" or "steering".
        epochs: How many.
        path: The HDF5 file.
        files: The folder of pictures.
        samples: Training samples, from row 0 on.
        validation: Validation samples, after them.

    Returns:
        Seconds of each epoch; shares of the time that was spent on waiting for data and of the
        processors that were used, after the first epoch; memory; losses; the rows' ``problem``.
    """
    built = _compiled(model)
    feed = Feed(Path(path), epochs, samples, y="angles", batch_size=BATCH_SIZE)
    memory, times = Memory(), Times()
    with ExitStack() as stack:
        busy = stack.enter_context(accelerator())
        data, waited = _fed(way, feed, Path(files), stack)
        times.waited = waited
        generated = isinstance(data[0], Iterator)
        history = built.fit(
            *data,
            epochs=epochs,
            batch_size=BATCH_SIZE if way == "memory" else None,
            steps_per_epoch=feed.batches if generated else None,
            shuffle=not generated,
            verbose=0,
            callbacks=[times],
        ).history
        memory.look()
        peak = memory.peak
    return {
        "backend": keras.backend.backend(),
        "epoch_s": times.epoch_s,
        "stall_share": times.share(times.waits),
        "cpu_share": _of_processors(times.share(times.cpu_s)),
        "accelerator_pct": busy.percent,
        "accelerator_missing": busy.missing,
        "peak_bytes": peak,
        "loss": history["loss"][-1],
        "val_loss": _validated(built, feed, validation),
        "problem": _problem(history, feed),
    }


def train_in_turn(model: str, turns: int, path: str, samples: int) -> dict[str, Any]:
    """Trains one model on the package and on replay in turn, two epochs at a time.

    Both in one process, seconds apart: so what malloc makes of a process and the machine's changes
    of pace meet both alike. Of two epochs the second counts: the pipeline then reads no more and no
    less than an epoch's worth, and what it read ahead while the other trained is used up.

    Args:
        model: "light" or "steering".
        turns: How often each has its turn.
        path: The HDF5 file.
        samples: Training samples, from row 0 on.

    Returns:
        Seconds of each epoch that counts, by "ours" and "replay"; the rows' ``problem``.
    """
    built = _compiled(model)
    feed = Feed(Path(path), passes=1, rows=samples, y="angles", batch_size=BATCH_SIZE)
    epoch_s: dict[str, list[float]] = {"ours": [], "replay": []}
    problems: list[str] = []
    with ours.sequence(feed) as sequence, ours.replay(sequence) as ceiling:
        given = {"ours": sequence, "replay": ceiling}
        for turn in range(turns):
            for way in rotated(list(given), turn):
                times = Times()
                fitted = built.fit(given[way], epochs=2, verbose=0, callbacks=[times])
                epoch_s[way].append(times.epoch_s[-1])
                if way == "ours" and (problem := _problem(fitted.history, feed)):
                    problems.append(problem)
    return {"epoch_s": epoch_s, "problem": problems[0] if problems else None}


def _compiled(model: str) -> keras.Model:
    """One of the models, the same each time, that counts what it is trained on."""
    keras.utils.set_random_seed(0)
    built = _models()[model]()
    built.compile(optimizer="adam", loss="mse", metrics=[Seen("rows"), Seen("checksum")])
    return built


def _of_processors(share: float | None) -> float | None:
    return None if share is None else share / cpus_allowed()


def _fed(
    way: str, feed: Feed, files: Path, stack: ExitStack
) -> tuple[tuple[Any, ...], Callable[[], float] | None]:
    """What `fit` is given, and a function that tells the seconds it waited for data so far."""
    if way == "memory":
        with h5py.File(feed.path) as file:  # Keras takes the batches itself: no wait is seen
            return (file[feed.x][: feed.rows], file[feed.y][: feed.rows]), None
    if way in {"ours", "replay"}:
        sequence = stack.enter_context(ours.sequence(feed))
        given = sequence if way == "ours" else stack.enter_context(ours.replay(sequence))
        return (given,), lambda: given.stats().stall_s
    makers = {"files": lambda: _pictures(feed, files), "slices": lambda: _slices(feed)}
    batches, wait = makers.get(way, lambda: article.batches(feed))(), Wait()
    return (_watched(batches, wait),), lambda: wait.seconds


def _pictures(feed: Feed, files: Path) -> Iterator[Batch]:
    """An image file for each sample, all of them in a new order in each pass."""
    rng = np.random.default_rng(feed.seed)
    with h5py.File(feed.path) as file:
        angles = file[feed.y][: feed.rows]
    for _ in range(feed.passes):
        order = rng.permutation(len(angles))
        for start in range(0, len(order), feed.batch_size):
            rows = order[start : start + feed.batch_size]
            yield np.stack([_picture(files, row) for row in rows]), angles[rows]


def _picture(files: Path, row: int) -> Any:
    with Image.open(picture_path(files, row)) as image:
        return np.asarray(image)


def _slices(feed: Feed) -> Iterator[Batch]:
    """A slice of the file for each batch, the slices in a new order in each pass."""
    rng = np.random.default_rng(feed.seed)
    slices = Chunks(replace(feed, chunk_size=feed.batch_size))
    for _ in range(feed.passes):
        for number in rng.permutation(len(slices)):
            yield slices.read(number)


@dataclass
class Wait:
    """How long somebody waited so far."""

    seconds: float = 0.0


def _watched(batches: Iterator[Batch], wait: Wait) -> Iterator[Batch]:
    """The same batches, with the time that each took; `fit` takes nothing but a real generator."""
    while True:
        begun = perf_counter()
        batch = next(batches, None)
        wait.seconds += perf_counter() - begun
        if batch is None:
            return
        yield batch


class Times(keras.callbacks.Callback):  # type: ignore[misc]  # keras has no types
    """Seconds of each epoch, and what was waited and computed in it."""

    def __init__(self) -> None:
        super().__init__()
        self.waited: Callable[[], float] | None = None
        self.epoch_s: list[float] = []
        self.cpu_s: list[float] = []
        self.waits: list[float] = []

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        """For Keras."""
        del epoch, logs
        self._begun = perf_counter(), cpu_seconds(), self.waited() if self.waited else 0.0

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        """For Keras."""
        del epoch, logs
        begun, cpu_s, waited = self._begun
        self.epoch_s.append(perf_counter() - begun)
        self.cpu_s.append(cpu_seconds() - cpu_s)
        if self.waited:
            self.waits.append(self.waited() - waited)

    def share(self, seconds: list[float]) -> float | None:
        """Share of the time after the first epoch; None if it was not measured."""
        return sum(seconds[1:]) / sum(self.epoch_s[1:]) if seconds else None


class Seen(keras.metrics.Metric):  # type: ignore[misc]  # keras has no types
    """What reached the training step: rows, or a checksum over their angles.

    Counted inside the step, so nothing that a loader or Keras draws in vain counts. Every sum is of
    whole numbers that float32 holds exactly, on each backend alike.
    """

    def __init__(self, name: str) -> None:
        super().__init__(name=name)
        self.total = self.add_variable((), "zeros", name="total")

    def update_state(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> None:
        """For Keras: a batch was trained on."""
        del y_pred, sample_weight
        if self.name == "rows":
            seen = keras.ops.cast(keras.ops.size(y_true), "float32")
        else:
            marks = keras.ops.floor(keras.ops.abs(y_true) * 65536.0)
            seen = keras.ops.sum(keras.ops.mod(marks, 256.0))
        self.total.assign(keras.ops.mod(self.total + seen, float(WRAP)))

    def result(self) -> Any:
        """For Keras."""
        return keras.ops.convert_to_tensor(self.total)


def _problem(history: dict[str, list[float]], feed: Feed) -> str | None:
    """What is wrong with the rows of any epoch."""
    with h5py.File(feed.path) as file:
        angles = file[feed.y][: feed.rows]
    wanted = int((np.floor(np.abs(angles) * 65536) % 256).sum()) % WRAP
    for rows, checksum in zip(history["rows"], history["checksum"], strict=True):
        if int(rows) != len(angles):
            return f"{int(rows)} rows instead of {len(angles)}"
        if int(checksum) != wanted:
            return "some rows twice, others not at all"
    return None


def _validated(model: keras.Model, feed: Feed, validation: int) -> float:
    """Loss on the samples held out, read the same way for all."""
    assert feed.rows is not None
    rows = (feed.rows, feed.rows + validation)
    with prefetcher.PrefetchSequence(
        feed.path, feed.x, feed.y, rows=rows, shuffle=False, chunk_size=320
    ) as held_out:
        return float(model.evaluate(held_out, verbose=0, return_dict=True)["loss"])


def _models() -> dict[str, Callable[[], keras.Model]]:
    return {"light": _light_model, "steering": steering_model}


def _light_model() -> keras.Model:
    """One layer of coarse filters: about a hundredth of the steering model's work."""
    layers = keras.layers
    return keras.Sequential(
        [
            keras.Input((128, 128, 3), dtype="uint8"),
            layers.Rescaling(1 / 127.5, offset=-1),
            layers.Conv2D(4, 16, strides=16, activation="relu"),
            layers.Flatten(),
            layers.Dense(1),
        ]
    )
