"""Processes that train as one: a killed one, and the same line for all of them.

Where no second process is needed, the other one is an echo of this one.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import keras
import numpy as np
import pytest
from conftest import MakeSamples
from helpers.callbacks import AtBatch
from helpers.group_lives import SAMPLES, Run, assert_near, left, run
from helpers.resuming import network
from helpers.sequences import small

import prefetcher
from prefetcher import distribution
from prefetcher.errors import FileError, SettingsError, StateError
from prefetcher.resume import together
from prefetcher.resume.together import Group
from prefetcher.resume.variables import of_each_process, refuse_split

NEEDS_JAX = pytest.mark.skipif(
    not hasattr(os, "fork") or keras.backend.backend() != "jax",
    reason="processes are forks, and keras.distribution is JAX's",
)

# Keras does not know of the echo, so it is right to warn that it trains alone.
pytestmark = pytest.mark.filterwarnings("ignore:shard is 0 of 2, but model.fit:UserWarning")

KILLED = -9


class Echo:
    """Another process that does what this one does.

    Args:
        fails_at: At which exchange it tells of an error instead; -1 for never.
    """

    def __init__(self, monkeypatch: pytest.MonkeyPatch, fails_at: int = -1) -> None:
        self.told: list[Any] = []
        self._fails_at = fails_at
        monkeypatch.setattr(together, "_joined", lambda: Group(0, 2, self._everyone))
        monkeypatch.setattr(distribution, "_trains_alone", lambda _: False)

    def _everyone(self, note: Any) -> Sequence[Any]:
        self.told.append(note)
        if len(self.told) - 1 == self._fails_at:
            return [note, [["FileError", "gone"], None]]
        failure, value = note
        if isinstance(value, list):  # the number of the share comes first
            value = [1, *value[1:]]
        return [note, [failure, value]]


def train(file: Path, folder: Path, model: Any = None, **settings: Any) -> Any:
    data = {"seed": settings.pop("seed", 0), "shard": (0, 2)}
    settings = {"epochs": 1, "every": 9, "verbose": 0, **settings}
    with small(file, **data) as trained:
        return prefetcher.fit(model or network(), trained, backup=folder, **settings)


def test_wherever_another_process_fails_this_one_ends(
    samples: MakeSamples, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At the beginning, in each save and at the end; in a training that goes on too."""
    file, whole, model = samples(SAMPLES), Echo(monkeypatch), network()
    train(file, tmp_path, model)
    exchanges = len(whole.told)
    assert exchanges > 15
    for at in range(exchanges):
        other = Echo(monkeypatch, fails_at=at)
        with pytest.raises(FileError, match="process 1 of 2: gone"):
            train(file, tmp_path / str(at), model)
        assert len(other.told) == at + 1
    for at in range(7):
        other = Echo(monkeypatch, fails_at=at)
        with pytest.raises(FileError, match="process 1 of 2: gone"):
            train(file, tmp_path, model, epochs=2)
        assert len(other.told) == at + 1


def test_what_this_process_finds_is_told_to_the_others(
    samples: MakeSamples, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other, file = Echo(monkeypatch), samples(SAMPLES)
    train(file, tmp_path)
    with pytest.raises(StateError, match="seed was 0 and is 7"):
        train(file, tmp_path, seed=7)
    (kind, message), _ = other.told[-1]
    assert kind == "StateError"
    assert "seed was 0 and is 7" in message


def test_a_signal_is_refused_where_it_reaches_several_processes(
    samples: MakeSamples, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Echo(monkeypatch)
    with pytest.raises(SettingsError, match=r"on_sigterm='save': .* 2 processes at different"):
        train(samples(SAMPLES), tmp_path, on_sigterm="save")


def test_who_is_asked_to_leave_does_so_with_the_others(
    samples: MakeSamples, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = Echo(monkeypatch)
    with small(samples(SAMPLES), shard=(0, 2)) as data:
        saver = prefetcher.Backup(tmp_path, data, every=5)
        asked = AtBatch(2, lambda _: saver.request_exit())
        with pytest.raises(SystemExit, match="75"):
            network().fit(data, callbacks=[asked, saver], shuffle=False, verbose=0)
    places = [value["at"]["step"] for _, value in other.told if value and "at" in value]
    assert places == [5]


def test_processes_without_each_other_are_refused(samples: MakeSamples, tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"shard=\(0, 2\): .* knows of no other"):
        train(samples(SAMPLES), tmp_path)


def test_a_model_of_which_a_process_has_a_part_is_refused() -> None:
    value = SimpleNamespace(is_fully_addressable=False, is_fully_replicated=True)
    model = SimpleNamespace(variables=[SimpleNamespace(path="dense/kernel", value=value)])
    refuse_split(model)
    value.is_fully_replicated = False
    with pytest.raises(SettingsError, match="dense/kernel is split over several processes"):
        refuse_split(model)


def test_dice_and_sums_are_each_processs_own_on_pytorch_alone() -> None:
    arrays = dict.fromkeys(["model/0", "optimizer/0", "metrics/0", "dice/0"], np.zeros(1))
    expected = ["metrics/0", "dice/0"] if keras.backend.backend() == "torch" else []
    assert of_each_process(arrays) == expected


@NEEDS_JAX
def test_killed_in_a_save_two_processes_go_on_as_one_that_never_was(
    samples: MakeSamples, tmp_path: Path
) -> None:
    runs = [
        Run("whole", 1, "whole"),
        Run("cut", 2, "cut", killed=(0, "replace", 5)),
        Run("cut", 2, "cut"),
    ]
    assert run(samples(SAMPLES), tmp_path, runs) == [[0], [KILLED, KILLED], [0, 0]]
    first, second = (left(tmp_path, "cut", index) for index in (0, 1))
    first.assert_same(second)
    assert_near(first, left(tmp_path, "whole"))


@NEEDS_JAX
def test_what_one_process_finds_reaches_all_of_them(samples: MakeSamples, tmp_path: Path) -> None:
    runs = [Run("apart", 2, "apart{}"), Run("full", 2, "full", full=True)]
    assert run(samples(SAMPLES), tmp_path, runs) == [[0, 0], [0, 0]]
    told = {name: [left(tmp_path, name, index) for index in (0, 1)] for name in ("apart", "full")}
    for name, message in told["apart"]:
        assert name == "StateError"
        assert "give all processes one folder that all their machines see" in message
    assert {name for name, _ in told["full"]} == {"FileError"}
    assert told["full"][1][1] == f"process 0 of 2: {told['full'][0][1]}"


KILLS = {
    2: [(0, "savez", 2), (0, "unlink", 7), (1, "told", 44), (0, "step", 30)],
    4: [(0, "fsync", 5), (0, "told", 40), (1, "step", 21)],
    1: [(0, "replace", 4), (1, "told", 41), (1, "tested", 5)],
}
"""By how many processes go on: which of two is killed, in which call, and in how manieth."""


@NEEDS_JAX
@pytest.mark.slow
@pytest.mark.parametrize("count", KILLS)
def test_whoever_is_killed_so_many_go_on(samples: MakeSamples, tmp_path: Path, count: int) -> None:
    runs = [Run("whole", 2, "whole")]
    for number, killed in enumerate(KILLS[count]):
        name = f"cut{number}"
        runs += [Run(name, 2, name, killed), Run(name, count, name)]
    (_, *ended) = run(samples(SAMPLES), tmp_path, runs, limit_s=1100.0)
    whole = left(tmp_path, "whole")
    for number, killed in enumerate(KILLS[count]):
        dead, alive = ended[2 * number : 2 * number + 2]
        assert dead[killed[0]] == KILLED, killed
        assert alive == [0] * count, killed
        if count == 2:
            left(tmp_path, f"cut{number}").assert_same(whole)
        else:
            assert_near(left(tmp_path, f"cut{number}"), whole)
