"""A training that is killed with SIGKILL again and again until it has ended.

Run as a script: ``python -m helpers.lives FILE FOLDER SEED MOST``. Each life is a fork of this
process, which has imported everything and computed nothing; it kills itself at a moment drawn from
all that a training goes through, those inside of a save included. Prints how many were killed.
"""

from __future__ import annotations

import os
import pickle
import random
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np

from helpers.resuming import train

MOMENTS = 90
"""A life sees at most so many of the moments at which it may be killed; a training has 240."""


class Fate:
    """Counts moments and kills this process at the one it was given."""

    def __init__(self, moments: int | None) -> None:
        self._left = moments

    def moment(self, *_: Any, **__: Any) -> None:
        if self._left is not None:
            self._left -= 1
            if self._left == 0:
                os.kill(os.getpid(), signal.SIGKILL)

    def around(self, call: Callable[..., Any]) -> Callable[..., Any]:
        """The same call, with a moment before it and one after."""

        def wrapped(*args: Any, **kwargs: Any) -> Any:
            self.moment()
            result = call(*args, **kwargs)
            self.moment()
            return result

        return wrapped


class Mortal(keras.callbacks.Callback):  # type: ignore[misc]  # keras has no types
    """May be killed wherever Keras calls."""

    def __init__(self, fate: Fate) -> None:
        super().__init__()
        moment = fate.moment
        self.on_train_batch_begin = self.on_train_batch_end = moment
        self.on_epoch_begin = self.on_epoch_end = self.on_train_begin = moment
        self.on_test_begin = self.on_test_batch_end = self.on_test_end = moment


def live(file: Path, folder: Path, outcome: Path, moments: int | None) -> None:
    """One life: goes on with the training, up to its end or to that moment."""
    fate = Fate(moments)
    for owner, name in ((os, "fsync"), (Path, "replace"), (Path, "unlink"), (np, "savez")):
        setattr(owner, name, fate.around(getattr(owner, name)))
    ended = train(file, folder, callbacks=[Mortal(fate)], every=3)
    outcome.write_bytes(pickle.dumps(ended))


def lives(file: Path, folder: Path, outcome: Path, dice: random.Random, most: int) -> int:
    """Lives until one ends by itself; returns how many were killed, at most `most`."""
    killed = 0
    while True:
        moments = dice.randrange(1, MOMENTS) if killed < most else None
        child = os.fork()
        if child == 0:
            status = 1
            try:
                live(file, folder, outcome, moments)
                status = 0
            finally:
                os._exit(status)
        status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        if status != -signal.SIGKILL:
            assert status == 0, f"a life ended with status {status}"
            return killed
        killed += 1


if __name__ == "__main__":
    path, into, seed, most = sys.argv[1:]
    file, folder = Path(path), Path(into)
    lives(file, folder / "whole", folder / "whole.pickle", random.Random(seed), most=0)
    kills = lives(file, folder / "cut", folder / "cut.pickle", random.Random(seed), int(most))
    sys.stdout.write(f"{kills}\n")
