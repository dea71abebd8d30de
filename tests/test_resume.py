"""`prefetcher.fit`: a training that was broken off ends as the one that never was, to the bit.

Here it is broken off by an exception, in one process; test_resume_kill.py kills processes.
"""

from __future__ import annotations

import functools
import os
import random
import signal
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from conftest import MakeSamples
from helpers.callbacks import AtBatch, Call, stop
from helpers.resuming import BATCHES, EPOCHS, SAMPLES, Outcome, network, train
from helpers.sequences import small

import prefetcher
from prefetcher.errors import SettingsError, StateError

ADAM = functools.partial(keras.optimizers.Adam, 0.01)
SLOW = pytest.mark.slow
ON_TORCH = keras.backend.backend() == "torch"


class BrokenOffError(Exception):
    """Stands for a kill."""


class BreakOff(keras.callbacks.Callback):  # type: ignore[misc]  # keras has no types
    """Raises at the end of the given batch of this life; its count is no counter to be saved."""

    def __init__(self, batch: int) -> None:
        super().__init__()
        self._before = iter(range(batch))

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        if next(self._before, None) is None:
            raise BrokenOffError


def halving(epoch: int, rate: float) -> float:
    """A schedule that goes wrong when an epoch begins twice."""
    return rate / 2


CASES: Mapping[str, Mapping[str, Any]] = {
    "as it comes": {},
    "after every step": {"every": 1},
    "gradient accumulation": {"model": {"optimizer": lambda: ADAM(gradient_accumulation_steps=4)}},
    "averaged weights": {"model": {"optimizer": lambda: ADAM(use_ema=True)}},
    "in file order": {"data": {"shuffle": False}},
    "epochs shorter than a pass": {"steps_per_epoch": 6, "epochs": 7},
    "several steps in one": {"model": {"steps_per_execution": 4}},
    "a schedule": {"callbacks": [keras.callbacks.LearningRateScheduler(halving)]},
}


def cut_and_go_on(file: Path, folder: Path, batch: int, case: Mapping[str, Any]) -> Outcome:
    """Breaks off at the end of the given batch, counted over all epochs, and goes on."""
    broken = BreakOff(batch)
    callbacks = case.get("callbacks", [])
    with pytest.raises(BrokenOffError):
        train(file, folder, **{**case, "callbacks": [*callbacks, broken]})
    return train(file, folder, **case)


def some(values: Iterable[Any], *quick: Any) -> list[Any]:
    """The values as parameters, all slow but the quick ones: each case is three trainings."""
    return [each if each in quick else pytest.param(each, marks=SLOW) for each in values]


@pytest.mark.parametrize("case", some(CASES, "as it comes"))
def test_a_training_that_was_broken_off_is_the_one_that_was_not(
    samples: MakeSamples, tmp_path: Path, case: str
) -> None:
    if ON_TORCH and "several" in case:
        pytest.skip("Keras on PyTorch runs one step at a time")
    file, settings = samples(SAMPLES), CASES[case]
    whole = train(file, tmp_path / "whole", **settings)
    executions = BATCHES if "several" not in case else 5
    cut_and_go_on(file, tmp_path / "cut", 2 * executions - 2, settings).assert_same(whole)


@pytest.mark.parametrize("batch", some([0, *range(BATCHES - 3, BATCHES + 1)], BATCHES - 1))
def test_it_may_be_broken_off_around_the_end_of_an_epoch(
    samples: MakeSamples, tmp_path: Path, batch: int
) -> None:
    """With one or two batches left, Keras draws the whole rest only to learn shapes."""
    file = samples(SAMPLES)
    whole = train(file, tmp_path / "whole", every=1, epochs=2)
    case = {"every": 1, "epochs": 2}
    cut_and_go_on(file, tmp_path / "cut", batch, case).assert_same(whole)


@SLOW
def test_broken_off_again_and_again(samples: MakeSamples, tmp_path: Path) -> None:
    file = samples(SAMPLES)
    whole = train(file, tmp_path / "whole")
    lives = 0
    while True:
        try:
            broken = BreakOff(6)
            train(file, tmp_path / "cut", callbacks=[broken]).assert_same(whole)
            break
        except BrokenOffError:
            lives += 1
    assert lives > EPOCHS


def test_a_training_that_ended_is_given_back_and_goes_on_with_more_epochs(
    samples: MakeSamples, tmp_path: Path
) -> None:
    file = samples(SAMPLES)
    ended = train(file, tmp_path / "run", epochs=2)
    train(file, tmp_path / "run", epochs=2).assert_same(ended)
    longer = train(file, tmp_path / "run", epochs=3)
    longer.assert_same(train(file, tmp_path / "whole", epochs=3))


def test_a_training_that_a_callback_ended_is_over(samples: MakeSamples, tmp_path: Path) -> None:
    file, history = samples(SAMPLES), []
    for _ in range(2):
        with small(file) as data:
            stopped = prefetcher.fit(
                network(),
                data,
                epochs=3,
                backup=tmp_path,
                callbacks=[AtBatch(BATCHES, stop)],
                verbose=0,
            )
        history.append(stopped.history)
    assert history[0] == history[1]
    assert len(history[0]["loss"]) == 2


@pytest.mark.parametrize("when", ["batches", "epochs"])
def test_callbacks_that_look_at_batches_change_no_training(
    samples: MakeSamples, tmp_path: Path, when: str
) -> None:
    """Nor where it goes on: what they looked at was not trained."""
    file, dice = samples(SAMPLES), random.Random(1)

    def looking(sequence: Any) -> Any:
        def look() -> None:
            sequence[dice.randrange(len(sequence))]
            next(iter(sequence))

        return Call(look, when)

    whole = train(file, tmp_path / "whole")
    broken = BreakOff(BATCHES + 7)
    with pytest.raises(BrokenOffError):
        train(file, tmp_path / "cut", watching=looking, callbacks=[broken])
    train(file, tmp_path / "cut", watching=looking).assert_same(whole)


class Told(keras.callbacks.Callback):  # type: ignore[misc]  # keras has no types
    """Writes down what a callback is told."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[object] = []

    def on_train_begin(self, logs: Any = None) -> None:
        self.calls.append("begin")

    def on_train_end(self, logs: Any = None) -> None:
        self.calls.append("end")

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        self.calls.append(batch)


def test_callbacks_are_told_of_one_training(samples: MakeSamples, tmp_path: Path) -> None:
    file, told = samples(SAMPLES), Told()
    with pytest.raises(BrokenOffError):
        train(file, tmp_path, callbacks=[BreakOff(11)], epochs=2)
    train(file, tmp_path, callbacks=[told], epochs=2)
    assert told.calls == ["begin", *range(10, BATCHES), *range(BATCHES), "end"]
    assert told.params["steps"] == BATCHES


def test_batches_that_keras_shuffled_are_each_trained_once(
    samples: MakeSamples, tmp_path: Path
) -> None:
    """Keras redraws their order after a kill, so here the set is kept, not the order."""
    case = {"data": {"shuffle": False}, "shuffle": True}
    cut_and_go_on(samples(SAMPLES), tmp_path, BATCHES + 8, case)


def test_the_callback_saves_for_who_calls_fit(samples: MakeSamples, tmp_path: Path) -> None:
    file = samples(SAMPLES)
    with small(file) as data:
        whole = prefetcher.fit(network(), data, epochs=3, backup=tmp_path / "whole", verbose=0)
    with small(file) as data:
        saver = prefetcher.Backup(tmp_path / "own", data, every=4)
        broken = BreakOff(BATCHES + 9)
        with pytest.raises(BrokenOffError):
            network().fit(data, epochs=3, callbacks=[broken, saver], shuffle=False, verbose=0)
    with small(file) as data:
        resumed = prefetcher.fit(network(), data, epochs=3, backup=tmp_path / "own", verbose=0)
    assert resumed.history == whole.history


def test_sigterm_saves_after_the_step_and_says_so(samples: MakeSamples, tmp_path: Path) -> None:
    file = samples(SAMPLES)
    whole = train(file, tmp_path / "whole")
    before = signal.getsignal(signal.SIGTERM)
    asked = AtBatch(BATCHES + 7, lambda model: os.kill(os.getpid(), signal.SIGTERM))
    with pytest.raises(SystemExit) as ended:
        train(file, tmp_path / "cut", callbacks=[asked], every=10_000, on_sigterm="save")
    assert ended.value.code == 75
    assert signal.getsignal(signal.SIGTERM) is before
    resumed = Told()
    train(file, tmp_path / "cut", callbacks=[resumed]).assert_same(whole)
    assert resumed.calls[1] == 8


def test_a_handler_from_c_gives_way_to_the_default(
    samples: MakeSamples, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = signal.signal
    before = signal.getsignal(signal.SIGTERM)
    unknown = iter([True])

    def set_handler(number: int, handler: Any) -> Any:
        """What Python answers where the handler before is not its own."""
        found = real(number, handler)
        return None if next(unknown, False) else found

    monkeypatch.setattr(signal, "signal", set_handler)
    try:
        train(samples(SAMPLES), tmp_path, epochs=1, on_sigterm="save")
        assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
    finally:
        real(signal.SIGTERM, before)


def test_another_model_is_refused(samples: MakeSamples, tmp_path: Path) -> None:
    file = samples(SAMPLES)
    train(file, tmp_path, epochs=1)
    other = keras.Sequential([keras.Input((4,)), keras.layers.Dense(1)])
    other.compile("sgd", "mse")
    with small(file) as data, pytest.raises(StateError, match=r"another model: .* variables"):
        prefetcher.fit(other, data, backup=tmp_path)


def test_another_order_is_refused(samples: MakeSamples, tmp_path: Path) -> None:
    file = samples(SAMPLES)
    train(file, tmp_path, epochs=1)
    with pytest.raises(StateError, match="seed was 0 and is 7"):
        train(file, tmp_path, data={"seed": 7})


def test_what_cannot_work_is_refused(samples: MakeSamples, tmp_path: Path) -> None:
    backup = keras.callbacks.BackupAndRestore(tmp_path)
    with small(samples(SAMPLES)) as data:
        refused: list[tuple[str, dict[str, Any]]] = [
            ("every=0", {"every": 0}),
            ("on_sigterm='stop'", {"on_sigterm": "stop"}),
            ("initial_epoch", {"initial_epoch": 1}),
            ("make another", {"validation_data": data}),
            ("BackupAndRestore", {"callbacks": [backup]}),
        ]
        for message, arguments in refused:
            with pytest.raises(SettingsError, match=message):
                prefetcher.fit(network(), data, backup=tmp_path, **arguments)
        with pytest.raises(SettingsError, match="needs a PrefetchSequence"):
            prefetcher.fit(network(), np.zeros(3), backup=tmp_path)  # type: ignore[arg-type]
