"""Trains one model on several workers of Ray Train, which replaces the workers that are lost.

pip install "ray[train]"
python examples/ray_train.py "/shared/train-*.h5" /shared/run 4                 # a GPU for each
JAX_PLATFORMS=cpu python examples/ray_train.py "/shared/train-*.h5" /shared/run 2
"""

import os
import sys
from typing import Any

from ray.train import FailureConfig, RunConfig, ScalingConfig
from ray.train.v2.jax import JaxConfig, JaxTrainer

PLATFORM = os.environ.get("JAX_PLATFORMS", "cuda")


def train(config: dict[str, Any]) -> None:
    """What each worker runs, on its share of every batch."""
    os.environ["KERAS_BACKEND"] = "jax"
    import keras

    import prefetcher

    keras.distribution.set_distribution(keras.distribution.DataParallel(auto_shard_dataset=False))
    keras.utils.set_random_seed(0)  # the same first weights in every worker
    model = keras.Sequential([keras.layers.Flatten(), keras.layers.Dense(1)])
    model.compile(optimizer="adam", loss="mse")
    with prefetcher.PrefetchSequence(
        config["files"], batch_size=32, shard="auto", drop_remainder=True
    ) as sequence:
        fitted = prefetcher.fit(
            model, sequence, epochs=3, every=100, backup=config["folder"], verbose=0
        )
    if sequence.shard.index == 0:
        print(*(f"{loss:.5f}" for loss in fitted.history["loss"]))


def main(files: str, folder: str, workers: int) -> None:
    """Trains; when a worker is lost, new ones go on from the last backup."""
    JaxTrainer(
        train,
        train_loop_config={"files": files, "folder": folder},
        jax_config=JaxConfig(use_gpu=True),  # it initialises JAX for the workers, on CPUs as well
        scaling_config=ScalingConfig(num_workers=workers, use_gpu=PLATFORM == "cuda"),
        run_config=RunConfig(
            failure_config=FailureConfig(max_failures=3),
            worker_runtime_env={"env_vars": {"JAX_PLATFORMS": PLATFORM}},
        ),
    ).fit()


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]))
