"""Trains one model on as many processes as there are, with JAX.

python examples/jax_train.py "train-*.h5"                                    # one process
bash examples/jax_processes.sh 2 python examples/jax_train.py "train-*.h5"   # two, on this machine
"""

import os
import sys

os.environ["KERAS_BACKEND"] = "jax"

import keras

import prefetcher


def main(files: str) -> None:
    """Trains and prints the loss of each epoch: the same for every number of processes."""
    if "KERAS_DISTRIBUTION_PROCESS_ID" in os.environ:
        keras.distribution.initialize()  # before anything asks JAX for its devices
    keras.distribution.set_distribution(keras.distribution.DataParallel(auto_shard_dataset=False))
    keras.utils.set_random_seed(0)  # the same first weights in every process

    model = keras.Sequential([keras.layers.Flatten(), keras.layers.Dense(1)])
    model.compile(optimizer="adam", loss="mse")
    with prefetcher.PrefetchSequence(
        files, batch_size=32, shard="auto", drop_remainder=True
    ) as train:
        losses = model.fit(train, epochs=3, verbose=0).history["loss"]
    if train.shard.index == 0:
        print(*(f"{loss:.5f}" for loss in losses))


if __name__ == "__main__":
    main(sys.argv[1])
