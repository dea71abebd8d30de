"""Trains one model on several processes, with PyTorch's DistributedDataParallel.

torchrun --nproc-per-node 2 examples/torchrun.py "train-*.h5"
"""

import os
import sys

os.environ["KERAS_BACKEND"] = "torch"  # a Keras model is then a torch.nn.Module

import keras
import torch
from torch import distributed
from torch.nn.parallel import DistributedDataParallel

import prefetcher


def main(files: str) -> None:
    """Trains and prints the last loss of each epoch: the same for every number of processes."""
    if torch.cuda.is_available():
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
    distributed.init_process_group()
    keras.utils.set_random_seed(0)  # the same first weights in every process

    model = keras.Sequential([keras.layers.Flatten(), keras.layers.Dense(1)])
    with prefetcher.PrefetchSequence(
        files, batch_size=32, shard="auto", drop_remainder=True
    ) as train:
        model(train[0][0])  # builds it
        parallel = DistributedDataParallel(model)
        optimizer = torch.optim.Adam(parallel.parameters())
        for _ in range(3):
            for x, y in train:
                loss = keras.losses.mean_squared_error(y, parallel(x)).mean()
                optimizer.zero_grad()
                loss.backward()  # here the processes take the mean of their gradients
                optimizer.step()
            mean = loss.detach() / train.shard.count
            distributed.all_reduce(mean)
            if train.shard.index == 0:
                print(f"{mean:.5f}")
    distributed.destroy_process_group()


if __name__ == "__main__":
    main(sys.argv[1])
