"""Trains one model on several workers of Ray Train, which starts them anew when one is lost.

pip install "ray[train]"
python examples/ray_train.py "/shared/train-*.h5" 2
"""

import os
import sys
from typing import Any

from ray.train import FailureConfig, RunConfig, ScalingConfig
from ray.train.v2.jax import JaxConfig, JaxTrainer


def train(config: dict[str, Any]) -> None:
    """What each worker runs, with a share of every batch."""
    os.environ["KERAS_BACKEND"] = "jax"
    import keras

    import prefetcher

    keras.distribution.set_distribution(keras.distribution.DataParallel(auto_shard_dataset=False))
    keras.utils.set_random_seed(0)  # the same first weights in every worker
    model = keras.Sequential([keras.layers.Flatten(), keras.layers.Dense(1)])
    model.compile(optimizer="adam", loss="mse")
    with prefetcher.PrefetchSequence(
        config["files"], batch_size=32, shard="auto", drop_remainder=True
    ) as train:
        prefetcher.fit(model, train, epochs=3, backup=config["backup"], verbose=0)


def main(files: str, workers: int) -> None:
    """Trains; a run that lost a worker goes on from its backup, with new workers."""
    trainer = JaxTrainer(
        train,
        train_loop_config={"files": files, "backup": "/shared/run"},
        jax_config=JaxConfig(use_gpu=True),  # initialises JAX; on CPUs too, which takes:
        run_config=RunConfig(
            failure_config=FailureConfig(max_failures=3),
            worker_runtime_env={"env_vars": {"JAX_PLATFORMS": "cpu"}},  # leave out with GPUs
        ),
        scaling_config=ScalingConfig(num_workers=workers),  # use_gpu=True with GPUs
    )
    trainer.fit()


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
