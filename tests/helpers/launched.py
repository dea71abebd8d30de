"""Several processes that train one model, and what each of them says afterwards.

Run as a script, it is one of the processes: ``python -m helpers.launched FILE SETTINGS...``, one
training for each SETTINGS, a dict in Python. It prints a line of JSON for each of them.
"""

from __future__ import annotations

import ast
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pytest

EXAMPLES = Path(__file__).parents[2] / "examples"

EPOCHS = 2

_LIMIT_S = 150
_SAYS = "helpers.launched says: "


def run_command(
    *command: str | Path, variables: Mapping[str, str] = MappingProxyType({}), status: int = 0
) -> str:
    """Runs a command and what it starts; returns what all of them printed.

    Fails unless all of them end by themselves, and the command with this status.
    """
    env = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path), "JAX_PLATFORMS": "cpu"}
    process = subprocess.Popen(
        [str(each) for each in command],
        env=env | dict(variables),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    try:
        output, _ = process.communicate(timeout=_LIMIT_S)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        pytest.fail(f"the processes did not end:\n{process.communicate()[0]}")
    assert process.returncode == status, f"status {process.returncode}\n{output}"
    return output


def run_processes(count: int, *command: str | Path) -> str:
    """Runs a command in `count` processes that JAX knows of, by examples/jax_processes.sh."""
    if count == 1:
        return run_command(*command)
    script = EXAMPLES / "jax_processes.sh"
    address = {"ADDRESS": f"localhost:{free_port()}"}
    return run_command("bash", script, str(count), *command, variables=address)


def train_group(count: int, file: Path, *settings: dict[str, Any]) -> list[list[Any]]:
    """Trains once for each of `settings`, in `count` processes.

    Returns:
        For each of the trainings what each process said, in order of their numbers: a dict of
        `index`, `weights`, `trained` (how often each id reached a training step) and `steps`.
    """
    told = map(repr, settings)
    output = run_processes(count, sys.executable, "-m", "helpers.launched", file, *told)
    lines = [line.partition(_SAYS)[2] for line in output.splitlines() if _SAYS in line]
    said = sorted((json.loads(line) for line in lines), key=lambda each: each["index"])
    trainings = [[each for each in said if each["training"] == n] for n in range(len(settings))]
    assert all(len(each) == count for each in trainings), output
    return trainings


def free_port() -> int:
    """A port that nobody listens to now."""
    with socket.socket() as listening:
        listening.bind(("localhost", 0))
        return int(listening.getsockname()[1])


def train(file: str, **settings: Any) -> dict[str, Any]:
    """One training in this process; Keras knows of the others."""
    import keras

    import prefetcher
    from helpers.models import CountSamples, counted

    keras.utils.set_random_seed(1)
    # No bias before the normalization: its gradient would be nothing but rounding.
    dense = keras.layers.Dense(8, use_bias=False)
    layers = [CountSamples(name="count"), keras.layers.Rescaling(1 / 64), dense]
    if "pad_to" not in settings:  # it sees the filled up rows
        layers += [keras.layers.BatchNormalization(), keras.layers.Dropout(0.1)]
    model = keras.Sequential([keras.Input((4,)), *layers, keras.layers.Dense(1)])
    model.compile(keras.optimizers.Adam(0.01), "mse")
    sizes = {"batch_size": 8, "chunk_size": 32, "block_size": 4, "shard": "auto"}
    with prefetcher.PrefetchSequence(file, "x", "y", **{**sizes, **settings}) as sequence:
        model.fit(sequence, epochs=EPOCHS, verbose=0)
        weights = [array for array in model.get_weights() if array.size < 100]  # not the counts
        return {
            "index": sequence.shard.index,
            "weights": [float(value) for array in weights for value in array.ravel()],
            "trained": counted(model).tolist(),
            "steps": int(counted(model, "steps")),
        }


def main(file: str, *settings: str) -> None:
    """Trains once for each of `settings`."""
    import keras

    if "KERAS_DISTRIBUTION_PROCESS_ID" in os.environ:
        keras.distribution.initialize()
        distribution = keras.distribution.DataParallel(auto_shard_dataset=False)
        keras.distribution.set_distribution(distribution)
    for training, each in enumerate(settings):
        said = train(file, **ast.literal_eval(each))
        sys.stdout.write(f"{_SAYS}{json.dumps(said | {'training': training})}\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main(*sys.argv[1:])
