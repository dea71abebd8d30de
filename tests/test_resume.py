"""`prefetcher.fit`: a training that was broken off ends as the one that never was, to the bit.

Here it is broken off by an exception, in one process; test_resume_kill.py kills processes.
"""

from __future__ import annotations

import functools
import os
import random
import shutil
import signal
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from conftest import MakeSamples
from helpers.callbacks import AtBatch, Call, stop
from helpers.folders import another
from helpers.resuming import BATCHES, EPOCHS, SAMPLES, Outcome, network, train
from helpers.sequences import small

import prefetcher
from prefetcher.errors import FileBusyError, FileError, SettingsError, StateError
from prefetcher.resume.store import Store

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
            ("shuffle='no': write True or False", {"shuffle": "no"}),
            (r"batch_size=64: .* makes the batches.*batch_size=64\)", {"batch_size": 64}),
            ("y: .* name its dataset", {"y": np.zeros(3)}),
            ("sample_weight: .* name its dataset", {"sample_weight": np.zeros(3)}),
            (r"validation_split=0.2: .*prefetcher\.split", {"validation_split": 0.2}),
            ("make another", {"validation_data": data}),
            ("BackupAndRestore", {"callbacks": [backup]}),
        ]
        for message, arguments in refused:
            with pytest.raises(SettingsError, match=message):
                prefetcher.fit(network(), data, backup=tmp_path, **arguments)
        with (
            small(samples(SAMPLES)) as val,
            pytest.raises(SettingsError, match=r"validation_batch_size=8: .* makes the batches"),
        ):
            prefetcher.fit(
                network(), data, backup=tmp_path, validation_data=val, validation_batch_size=8
            )
        with pytest.raises(SettingsError, match="needs a PrefetchSequence"):
            prefetcher.fit(network(), np.zeros(3), backup=tmp_path)  # type: ignore[arg-type]


def test_a_folder_that_another_process_trains_with_is_refused(
    samples: MakeSamples, tmp_path: Path
) -> None:
    with another(tmp_path), pytest.raises(FileBusyError, match="another process trains"):
        train(samples(SAMPLES), tmp_path)
    with another(tmp_path), small(samples(SAMPLES)) as data:
        saver = prefetcher.Backup(tmp_path, data)
        with pytest.raises(FileBusyError, match="another process trains"):
            network().fit(data, callbacks=[saver], verbose=0)


def test_a_training_that_ended_or_failed_lets_the_folder_go(
    samples: MakeSamples, tmp_path: Path
) -> None:
    with pytest.raises(BrokenOffError):
        train(samples(SAMPLES), tmp_path, epochs=1, callbacks=[BreakOff(1)])
    with another(tmp_path):
        pass
    with small(samples(SAMPLES)) as data:
        network().fit(data, callbacks=[prefetcher.Backup(tmp_path, data)], verbose=0)
    with another(tmp_path):
        pass


def test_a_folder_that_cannot_be_written_is_found_before_the_first_step(
    samples: MakeSamples, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("")
    told = Told()
    with pytest.raises(FileError, match="no backup can be written into file"):
        train(samples(SAMPLES), tmp_path / "file", callbacks=[told])
    assert not told.calls


def resealed(folder: Path, change: Callable[[dict[str, Any], dict[str, Any]], object]) -> None:
    """Changes the newest backup's facts and arrays, as a stranger would."""
    facts, arrays = Store(folder).newest() or pytest.fail("nothing there")
    changed = dict(arrays)
    change(facts, changed)
    Store(folder).save(facts, changed)


def test_a_strangers_backup_sets_no_path(samples: MakeSamples, tmp_path: Path) -> None:
    """It names attributes of a callback that writes files."""
    evil, mine = tmp_path / "evil.keras", tmp_path / "mine.keras"

    def checkpoint() -> Any:
        return keras.callbacks.ModelCheckpoint(mine)

    train(samples(SAMPLES), tmp_path / "run", epochs=1, callbacks=[checkpoint()])
    resealed(
        tmp_path / "run",
        lambda facts, _: facts["counters"]["ModelCheckpoint.0"].update(
            {"filepath": str(evil), "on_train_end": 3}
        ),
    )
    with pytest.raises(StateError, match="where a number or an array should be"):
        train(samples(SAMPLES), tmp_path / "run", epochs=2, callbacks=[checkpoint()])
    assert not evil.exists()


MALFORMED: Mapping[str, Callable[[dict[str, Any], dict[str, Any]], object]] = {
    **{
        f"no {name}": functools.partial(lambda name, facts, _: facts.pop(name), name)
        for name in ("version", "epoch", "step", "data", "stopped", "counters", "epochs", "history")
    },
    "an epoch that is none": lambda facts, _: facts.update(epoch="1"),
    "a step below 0": lambda facts, _: facts.update(step=-1),
    "counters that are none": lambda facts, _: facts["counters"].update({"EarlyStopping.0": [1]}),
    "a history that is none": lambda facts, _: facts.update(history=[1]),
    "an array that is gone": lambda facts, _: facts.update(history={"array": "gone"}),
    "a state that is none": lambda facts, _: facts["data"].update(order=7),
    "a variable that is gone": lambda _, arrays: arrays.pop("model/0"),
    "a variable of another name": lambda _, arrays: arrays.update(
        {"model/x": arrays.pop("model/0")}
    ),
    "no variables": lambda _, arrays: [arrays.pop(n) for n in [*arrays] if n.startswith("model/")],
    "a variable of text": lambda _, arrays: arrays.update(
        {"model/1": np.full(arrays["model/1"].shape, "x")}
    ),
    "a variable of bytes": lambda _, arrays: arrays.update(
        {"model/1": np.full(arrays["model/1"].shape, b"x", "V3")}
    ),
}


@pytest.fixture(scope="module")
def trained(samples: MakeSamples, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a training of one epoch."""
    folder = tmp_path_factory.mktemp("trained") / "run"
    train(samples(SAMPLES), folder, epochs=1)
    return folder


@pytest.mark.parametrize("how", MALFORMED)
def test_sealed_content_that_is_malformed_is_a_state_error(
    samples: MakeSamples, trained: Path, tmp_path: Path, how: str
) -> None:
    folder = shutil.copytree(trained, tmp_path / "run")
    resealed(folder, MALFORMED[how])
    with pytest.raises(StateError):
        train(samples(SAMPLES), folder, epochs=2)
