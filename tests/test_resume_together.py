"""Two and more processes that train as one: a killed one, and the same line for all of them."""

from __future__ import annotations

import os
from pathlib import Path

import keras
import pytest
from conftest import MakeSamples
from helpers.group_lives import SAMPLES, Run, assert_near, left, run

pytestmark = [
    pytest.mark.skipif(not hasattr(os, "fork"), reason="processes are forks"),
    pytest.mark.skipif(keras.backend.backend() != "jax", reason="keras.distribution is JAX's"),
]

KILLED = -9


def test_killed_in_a_save_two_processes_go_on_as_one_that_never_was(
    samples: MakeSamples, tmp_path: Path
) -> None:
    runs = [
        Run("whole", 1, "whole"),
        Run("cut", 2, "cut", killed=(0, "replace", 5)),
        Run("cut", 2, "cut"),
    ]
    assert run(samples(SAMPLES), tmp_path, runs) == [[0], [KILLED, KILLED], [0, 0]]
    whole, first, second = (left(tmp_path, *who) for who in [("whole",), ("cut", 0), ("cut", 1)])
    first.assert_same(second)
    assert_near(first, whole)


def test_what_one_process_finds_reaches_all_of_them(samples: MakeSamples, tmp_path: Path) -> None:
    runs = [Run("apart", 2, "apart{}"), Run("full", 2, "full", full=True)]
    assert run(samples(SAMPLES), tmp_path, runs) == [[0, 0], [0, 0]]
    told = {name: [left(tmp_path, name, index) for index in (0, 1)] for name in ("apart", "full")}
    for name, message in told["apart"]:
        assert name == "StateError"
        assert "give all processes one folder that all their machines see" in message
    assert {name for name, _ in told["full"]} == {"FileError"}
    assert told["full"][1][1] == f"process 0 of 2: {told['full'][0][1]}"


KILLS = [
    (0, "savez", 2),
    (0, "fsync", 5),
    (0, "replace", 4),
    (0, "unlink", 7),
    (0, "told", 40),
    (1, "told", 41),
    (1, "told", 44),
    (1, "step", 21),
    (1, "tested", 5),
    (0, "step", 30),
]


@pytest.mark.slow
def test_whoever_is_killed_another_number_of_processes_goes_on(
    samples: MakeSamples, tmp_path: Path
) -> None:
    runs = [Run("whole", 2, "whole")]
    for number, killed in enumerate(KILLS):
        name = f"cut{number}"
        runs += [Run(name, 2, name, killed), Run(name, (2, 4, 1)[number % 3], name)]
    ended = run(samples(SAMPLES), tmp_path, runs, limit_s=1100.0)
    whole = left(tmp_path, "whole")
    for number, killed in enumerate(KILLS):
        cut, name = ended[1 + 2 * number : 3 + 2 * number], f"cut{number}"
        assert cut[0][killed[0]] == KILLED, killed
        assert not any(cut[1]), (killed, cut)
        if number % 3 == 0:
            left(tmp_path, name).assert_same(whole)
        else:
            assert_near(left(tmp_path, name), whole)
