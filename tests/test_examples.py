"""Each script of examples/ runs as its first lines say, and says the same for 1 process and 2."""

from __future__ import annotations

import sys

import keras
import pytest
from conftest import MakeSamples
from helpers.groups import EXAMPLES, free_port, run_command, run_processes

on_jax = pytest.mark.skipif(keras.backend.backend() != "jax", reason="the script is for JAX")
on_torch = pytest.mark.skipif(
    keras.backend.backend() != "torch", reason="the script is for PyTorch"
)


def losses(output: str) -> list[float]:
    """The losses of three epochs, which are the numbers on lines of nothing else."""
    words = [word for line in output.splitlines() for word in _numbers(line)]
    assert len(words) == 3, output
    return words


def _numbers(line: str) -> list[float]:
    try:
        return [float(word) for word in line.split()]
    except ValueError:
        return []


@on_jax
def test_jax_processes(samples: MakeSamples) -> None:
    script = (sys.executable, EXAMPLES / "jax_train.py", samples(100))
    one, two = (losses(run_processes(count, *script)) for count in (1, 2))
    assert two == pytest.approx(one, rel=1e-5)
    assert one[0] > one[2]


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
