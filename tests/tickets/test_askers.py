"""Who asks a real sequence, with the Keras that is installed."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import pytest
from conftest import MakeSamples
from helpers.callbacks import AtBatch, Call, raises
from helpers.sequences import ids, passes, small

N = 90
STEPS = 23


class BrokenOffError(Exception):
    """Raised by a callback."""


def indexed(sequence: Any) -> list[list[int]]:
    return [ids(sequence[index]) for index in range(len(sequence))]


def looped(sequence: Any) -> list[list[int]]:
    return [ids(batch) for batch in sequence]


LOOPS = pytest.mark.parametrize("loop", [indexed, looped])


@pytest.mark.parametrize("method", ["fit", "evaluate", "predict"])
@pytest.mark.filterwarnings("ignore:predict over")
def test_all_that_keras_asks_is_recognised(samples: MakeSamples, model: Any, method: str) -> None:
    """Where a later Keras has other names, this fails before anything else does."""
    with small(samples(N)) as data:
        getattr(model, method)(data, verbose=0)
        tickets = data._tickets
        assert tickets._indexing.iteration is tickets._looking.iteration is None
        assert any(iteration.complete for iteration in tickets._keras.values())


@LOOPS
def test_what_callbacks_look_at_does_not_move_training(
    samples: MakeSamples, model: Any, loop: Callable[[Any], object]
) -> None:
    """Not after an evaluation within the fit either."""
    expected = passes(samples(N), 4)
    with small(samples(N)) as train:
        evaluate = AtBatch(3, lambda model: model.evaluate(train, steps=2, verbose=0))
        look = Call(lambda: loop(train), "batches")
        model.fit(train, epochs=2, callbacks=[evaluate, look], verbose=0)
        assert [loop(train), loop(train)] == expected[2:]


@LOOPS
@pytest.mark.parametrize("broken", [True, False])
def test_what_callbacks_of_another_fit_ask_for_is_training(
    samples: MakeSamples, model: Any, loop: Callable[[Any], object], broken: bool
) -> None:
    """They go from pass to pass, though Keras trained on this sequence before."""
    seen: list[object] = []
    with small(samples(N)) as train, small(samples(13)) as other:
        if broken:
            with pytest.raises(BrokenOffError):
                model.fit(train, callbacks=[AtBatch(1, raises(BrokenOffError()))], verbose=0)
        else:
            model.fit(train, steps_per_epoch=3, verbose=0)
        asking = Call(lambda: seen.append(loop(train)), "epochs")
        model.fit(other, epochs=3, callbacks=[asking], verbose=0)
    assert seen == passes(samples(N), 3)


@LOOPS
def test_a_model_that_is_trained_batch_by_batch(
    samples: MakeSamples, model: Any, loop: Callable[[Any], object]
) -> None:
    """Fits of single batches within a loop over the sequence are nothing to it."""

    def train_on(batch: Any) -> list[int]:
        x, y = batch
        model.fit(np.array(x), np.array(y), verbose=0)
        model.train_on_batch(x, y)
        return ids(batch)

    with small(samples(22)) as train:
        seen = [[train_on(batch) for batch in train] for _ in range(2)]
        assert seen == passes(samples(22), 2)
        assert train.state_dict()["pass"] == 2


def test_a_state_counts_what_was_trained_and_not_what_was_looked_at(
    samples: MakeSamples, model: Any
) -> None:
    states: list[Any] = []

    class Save(keras.callbacks.Callback):  # type: ignore[misc]  # keras has no types
        def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
            train[20]
            next(iter(train))
            states.append(train.state_dict(trained=batch + 1)["trained"])

    with small(samples(N)) as train:
        model.fit(train, steps_per_epoch=7, callbacks=[Save()], verbose=0)
        assert states == list(range(1, 8))
        for _ in itertools.islice(train, 3):
            pass
        assert train.state_dict()["trained"] == 3
