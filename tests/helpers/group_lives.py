"""Trainings in several processes that are killed, as a launcher would run them.

Run as a script: ``python -m helpers.group_lives FILE FOLDER RUNS``, on JAX. RUNS is a JSON list of
`Run`, which happen one after the other. Each process is a fork of this one, which has imported
everything and computed nothing. When one process fails, the others are killed, as a launcher does.
"""

from __future__ import annotations

import json
import os
import pickle
import signal
import socket
import subprocess
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import keras
import numpy as np

from helpers.resuming import Outcome, train
from prefetcher.errors import PrefetchError
from prefetcher.resume import together

SAMPLES = 72
"""18 batches of 4, which 2 and 4 processes can share."""
LIMIT_S = 600.0
EVALUATED = 1
"""The variable that counts what was evaluated: each process evaluates all of it."""


class Run(NamedTuple):
    """One start of all processes.

    Attributes:
        name: What each leaves is "NAME.INDEX.pickle" in the folder.
        processes: How many.
        backup: The folder of the backups; "{}" in it stands for the process's index.
        killed: Which process is killed, in which call (see `_Doom`), and in how manieth of them.
        full: Whether the disk of the first process is full.
        epochs: Epochs in all.
    """

    name: str
    processes: int
    backup: str = "backup"
    killed: tuple[int, str, int] | None = None
    full: bool = False
    epochs: int = 2


def run(file: Path, folder: Path, runs: list[Run], limit_s: float = LIMIT_S) -> list[list[int]]:
    """Does the runs in processes of their own, and returns how each process ended, run by run."""
    env = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path), "JAX_PLATFORMS": "cpu"}
    done = subprocess.run(
        [sys.executable, "-m", "helpers.group_lives", str(file), str(folder), json.dumps(runs)],
        env=env, capture_output=True, text=True, check=False, timeout=limit_s,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    ended: list[list[int]] = json.loads(done.stdout.splitlines()[-1])
    return ended


def left(folder: Path, name: str, index: int = 0) -> Any:
    """What a process left: an `Outcome`, or the class and the text of an error."""
    return pickle.loads((folder / f"{name}.{index}.pickle").read_bytes())


def assert_near(one: Outcome, other: Outcome) -> None:
    """Fails unless they are the same training, but for the order in which numbers were summed."""
    assert one.epochs == other.epochs
    assert one.history.keys() == other.history.keys()
    for name, values in one.history.items():
        np.testing.assert_allclose(values, other.history[name], rtol=1e-5, err_msg=name)
    for number, (value, expected) in enumerate(zip(one.values, other.values, strict=True)):
        if number != EVALUATED:
            scale = 1e-5 * max(1e-3, float(np.abs(expected).max()))
            np.testing.assert_allclose(value, expected, rtol=0, atol=scale, err_msg=str(number))


class _Doom(keras.callbacks.Callback):  # type: ignore[misc]  # keras has no types
    """Kills this process in the middle of a training.

    Args:
        what: The call before or after which it happens: fsync, replace, unlink or savez, which a
            save makes; told, when the processes talk; step or tested, at the end of a batch.
        moment: Each call has two, one before it and one after.
    """

    def __init__(self, what: str, moment: int) -> None:
        super().__init__()
        self._what, self._left = what, moment
        for owner, name in ((os, "fsync"), (Path, "replace"), (Path, "unlink"), (np, "savez")):
            setattr(owner, name, self._around(name, getattr(owner, name)))
        together._over_jax = self._around("told", together._over_jax)

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        self._moment("step")

    def on_test_batch_end(self, batch: int, logs: Any = None) -> None:
        self._moment("tested")

    def _moment(self, what: str) -> None:
        if what == self._what:
            self._left -= 1
            if self._left == 0:
                os.kill(os.getpid(), signal.SIGKILL)

    def _around(self, name: str, call: Callable[..., Any]) -> Callable[..., Any]:
        def wrapped(*args: Any, **kwargs: Any) -> Any:
            self._moment(name)
            result = call(*args, **kwargs)
            self._moment(name)
            return result

        return wrapped


def _live(file: Path, folder: Path, run: Run, index: int, port: int) -> None:
    if run.processes > 1:
        os.environ |= {
            "KERAS_DISTRIBUTION_JOB_ADDRESSES": f"localhost:{port}",
            "KERAS_DISTRIBUTION_NUM_PROCESSES": str(run.processes),
            "KERAS_DISTRIBUTION_PROCESS_ID": str(index),
        }
        keras.distribution.initialize()
        keras.distribution.set_distribution(
            keras.distribution.DataParallel(auto_shard_dataset=False)
        )
    doom = [_Doom(*run.killed[1:])] if run.killed and run.killed[0] == index else []
    if run.full and index == 0:
        np.savez = _no_room
    outcome: Any
    try:
        outcome = train(
            file,
            folder / run.backup.format(index),
            samples=SAMPLES,
            callbacks=doom,
            every=5,
            epochs=run.epochs,
            # Its weights differ by rounding only, if sums are made in another order. Adam and
            # BatchNormalization make something of gradients that are nothing but rounding.
            model={
                "optimizer": lambda: keras.optimizers.SGD(1e-4, momentum=0.9),
                "normalized": False,
            },
            data={"shard": (index, run.processes)},
        )
    except PrefetchError as error:
        outcome = type(error).__name__, str(error)
    (folder / f"{run.name}.{index}.pickle").write_bytes(pickle.dumps(outcome))


def _no_room(*_: Any, **__: Any) -> None:
    raise OSError(28, os.strerror(28))


def _launched(file: Path, folder: Path, run: Run) -> list[int]:
    """Starts the processes and waits for them, as a launcher does."""
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = free.getsockname()[1]
    children = [_forked(file, folder, run, index, port) for index in range(run.processes)]
    ended: dict[int, int] = {}
    while len(ended) < len(children):
        child, status = os.wait()
        ended[child] = os.waitstatus_to_exitcode(status)
        if ended[child]:
            for other in set(children) - set(ended):
                os.kill(other, signal.SIGKILL)
    return [ended[child] for child in children]


def _forked(file: Path, folder: Path, run: Run, index: int, port: int) -> int:
    child = os.fork()
    if child:
        return child
    status = 1
    try:
        _live(file, folder, run, index, port)
        status = 0
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(status)


if __name__ == "__main__":
    path, into, text = sys.argv[1:]
    planned = [Run(*fields) for fields in json.loads(text)]
    statuses = [_launched(Path(path), Path(into), each) for each in planned]
    sys.stdout.write(f"\n{json.dumps(statuses)}\n")
