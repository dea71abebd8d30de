"""examples/ray_train.py, with a worker that is lost in mid-epoch, once.

Run as a script: ``python -m helpers.lost_worker FILES FOLDER WORKERS STEP``: the last worker kills
itself at that step.
"""

from __future__ import annotations

import os
import signal
import sys
from functools import partial
from pathlib import Path
from typing import Any

import ray_train  # examples/ is on the path

learn = ray_train.train


def learn_and_lose(config: dict[str, Any]) -> None:
    """The example's loop, which ends at a step unless it did so before."""
    import keras
    from ray.train import get_context

    import prefetcher

    lost = Path(config["folder"]).with_suffix(".lost")
    last = get_context().get_world_rank() == get_context().get_world_size() - 1

    def on_batch_end(batch: int, logs: object) -> None:
        if last and batch == int(os.environ["LOST_AT"]) and not lost.exists():
            lost.touch()
            os.kill(os.getpid(), signal.SIGKILL)

    mortal = keras.callbacks.LambdaCallback(on_train_batch_end=on_batch_end)
    prefetcher.fit = partial(prefetcher.fit, callbacks=[mortal])
    learn(config)


if __name__ == "__main__":
    from helpers import lost_worker  # under its name, as the workers import it

    os.environ["LOST_AT"] = sys.argv[4]
    ray_train.train = lost_worker.learn_and_lose
    ray_train.main(sys.argv[1], sys.argv[2], int(sys.argv[3]))
