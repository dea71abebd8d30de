"""Callbacks that watch a fit, break it off, or ask a sequence for its length at every turn."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import numpy as np

from helpers.models import CAPACITY, Counts, counted, not_counted


class CountEpochs(keras.callbacks.Callback):  # type: ignore[misc]  # keras has no types
    """Keeps what each epoch alone trained on, one row of counts for each epoch."""

    def __init__(self) -> None:
        super().__init__()
        self.epochs: list[Counts] = []
        self._before = np.zeros(CAPACITY, np.int64)

    def on_train_begin(self, logs: Any = None) -> None:
        if self.model.get_layer("count").built:  # else TensorFlow builds it in the first step
            self._before = counted(self.model)

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        now = counted(self.model)
        self.epochs.append(now - self._before)
        self._before = now

    def assert_each_once(self, n: int, epochs: int, epochs_per_pass: int = 1) -> None:
        """Every pass of so many epochs had every id below `n` exactly once."""
        assert len(self.epochs) == epochs
        for first in range(0, epochs, epochs_per_pass):
            together = np.sum(self.epochs[first : first + epochs_per_pass], axis=0)
            wrong = not_counted(together, n, times=1)
            assert not wrong, f"the pass from epoch {first} on: not once but {wrong}"


class AtBatch(keras.callbacks.Callback):  # type: ignore[misc]  # keras has no types
    """Does something once, at the end of the given training batch of the fit (from 0)."""

    def __init__(self, batch: int, action: Callable[[Any], None]) -> None:
        super().__init__()
        self._left = batch
        self._action = action

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        if self._left == 0:
            self._action(self.model)
        self._left -= 1


class AskLength(keras.callbacks.Callback):  # type: ignore[misc]  # keras has no types
    """Reads `len` and `num_batches` wherever a callback can, as progress bars and loggers do."""

    def __init__(self, sequence: Any) -> None:
        super().__init__()
        self.asked = 0
        self._sequence = sequence

    def _ask(self, *_: Any, **__: Any) -> None:
        assert len(self._sequence) == self._sequence.num_batches
        self.asked += 1

    on_train_begin = on_train_end = _ask
    on_epoch_begin = on_epoch_end = _ask
    on_train_batch_begin = on_train_batch_end = _ask
    on_test_begin = on_test_end = on_test_batch_begin = on_test_batch_end = _ask


class Call(keras.callbacks.Callback):  # type: ignore[misc]  # keras has no types
    """Calls `action` after each training batch ("batches"), after each epoch, or after "both"."""

    def __init__(self, action: Callable[[], object], when: str) -> None:
        super().__init__()
        if when != "epochs":
            self.on_train_batch_end = self._call
        if when != "batches":
            self.on_epoch_end = self._call
        self._action = action

    def _call(self, *_: object, **__: object) -> None:
        self._action()


def stop(model: Any) -> None:
    """What EarlyStopping does, in mid-epoch."""
    model.stop_training = True


def raises(error: BaseException) -> Callable[[Any], None]:
    """An action that raises `error`."""

    def action(model: Any) -> None:
        raise error

    return action
