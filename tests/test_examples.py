"""Each script of examples/ runs as its first lines say, and says the same for 1 process and 2."""

from __future__ import annotations

import importlib.util
import os
import re
import sys
from pathlib import Path

import keras
import pytest
from conftest import MakeSamples
from helpers.launched import EXAMPLES, free_port, run_command, run_processes

RAY = {"PYTHONPATH": os.pathsep.join([*sys.path, str(EXAMPLES)])}

on_jax = pytest.mark.skipif(keras.backend.backend() != "jax", reason="the script is for JAX")
on_torch = pytest.mark.skipif(
    keras.backend.backend() != "torch", reason="the script is for PyTorch"
)


def losses(output: str) -> list[float]:
    """The losses of three epochs: the only numbers that end so. Ray shows them twice."""
    found = dict.fromkeys(re.findall(r"(?<!\S)\d+\.\d{5}(?!\S)", output))
    assert len(found) == 3, output
    return [float(number) for number in found]


@on_jax
def test_jax_processes(samples: MakeSamples) -> None:
    script = (sys.executable, EXAMPLES / "jax_train.py", samples(100))
    one, two = (losses(run_processes(count, *script)) for count in (1, 2))
    assert two == pytest.approx(one, rel=1e-5)
    assert one[0] > one[2]


def test_a_process_that_fails_ends_the_others() -> None:
    """Which else wait for it: `run_command` returns when none of them is left."""
    program = (
        "import os, signal, sys; sys.exit(3) if os.environ[sys.argv[1]] == '1' else signal.pause()"
    )
    rank = "KERAS_DISTRIBUTION_PROCESS_ID"
    script = EXAMPLES / "jax_processes.sh"
    run_command("bash", script, "3", sys.executable, "-c", program, rank, status=3)


@on_torch
def test_torchrun(samples: MakeSamples) -> None:
    one, two = (losses(_torchrun(count, samples)) for count in (1, 2))
    assert two == pytest.approx(one, rel=1e-5)
    assert one[0] > one[2]


def _torchrun(count: int, samples: MakeSamples) -> str:
    return run_command(
        *(sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", str(count)),
        *("--master-port", str(free_port()), EXAMPLES / "torchrun.py", samples(100)),
    )


@on_jax
@pytest.mark.slow
@pytest.mark.skipif(not importlib.util.find_spec("ray"), reason="needs ray[train]")
def test_ray_train(samples: MakeSamples, tmp_path: Path) -> None:
    """The last of two workers is lost in the second epoch, and Ray starts two new ones."""
    told = samples(3200), tmp_path / "undisturbed", "2"
    undisturbed = losses(
        run_command(sys.executable, EXAMPLES / "ray_train.py", *told, variables=RAY)
    )
    program = "import sys; from helpers import lost_worker; lost_worker.main(*sys.argv[1:])"
    told = samples(3200), tmp_path / "run", "2"
    assert losses(run_command(sys.executable, "-c", program, *told, variables=RAY)) == undisturbed
    assert (tmp_path / "run.lost").exists()
