"""Processes killed with SIGKILL: the training that goes on is the one that was never killed."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import MakeSamples
from helpers.resuming import SAMPLES

LIMIT_S = 900.0
KILLS = 3
"""At least so many in every training; most have more."""

Record = Callable[[str, object], None]

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="lives are forks")


def killed_again_and_again(file: Path, folder: Path, seed: int, most: int = 1000) -> int:
    """Trains once without and once with kills, and returns how many there were."""
    env = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(
        [sys.executable, "-m", "helpers.lives", str(file), str(folder), str(seed), str(most)],
        env=env,
        capture_output=True,
        text=True,
        check=False,
        timeout=LIMIT_S,
    )
    assert done.returncode == 0, done.stderr
    whole, cut = (
        pickle.loads((folder / f"{name}.pickle").read_bytes()) for name in ("whole", "cut")
    )
    cut.assert_same(whole)
    return int(done.stdout.split()[-1])


def test_killed_and_gone_on(samples: MakeSamples, tmp_path: Path, record_property: Record) -> None:
    kills = killed_again_and_again(samples(SAMPLES), tmp_path, seed=0, most=2)
    record_property("kills", kills)
    assert kills == 2


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(1, 7))
def test_killed_and_gone_on_many_times(
    samples: MakeSamples, tmp_path: Path, record_property: Record, seed: int
) -> None:
    kills = killed_again_and_again(samples(SAMPLES), tmp_path, seed)
    record_property("kills", kills)
    assert kills >= KILLS
