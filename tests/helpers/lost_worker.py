"""examples/ray_train.py, with a worker that is lost in mid-epoch, once. Ray's workers import it."""

from __future__ import annotations

import os
import signal
from functools import partial
from pathlib import Path
from typing import Any

import ray_train  # examples/ is on the path

LOST_AT = 50
"""The step of an epoch at which the last worker kills itself."""

learn = ray_train.train


def learn_and_lose(config: dict[str, Any]) -> None:
    """The example's loop, whose process dies in mid-epoch unless one did so before."""
    import keras
    from ray.train import get_context

    import prefetcher

    lost = Path(config["folder"]).with_suffix(".lost")
    last = get_context().get_world_rank() == get_context().get_world_size() - 1

    def on_batch_end(batch: int, logs: object) -> None:
        if last and batch == LOST_AT and not lost.exists():
            lost.touch()
            os.kill(os.getpid(), signal.SIGKILL)

    mortal = keras.callbacks.LambdaCallback(on_train_batch_end=on_batch_end)
    prefetcher.fit = partial(prefetcher.fit, callbacks=[mortal])
    learn(config)


def main(files: str, folder: str, workers: str) -> None:
    """Runs the example so."""
    ray_train.train = learn_and_lose
    ray_train.main(files, folder, int(workers))
