"""The seed article's generator: a slice through h5py, shuffled with numpy, cut in batches."""

from __future__ import annotations

from collections.abc import Generator

import h5py
import numpy as np

from bench.systems import Batch, Feed


def batches(feed: Feed) -> Generator[Batch]:
    """One chunk after the other, in the file's order; nothing happens while a batch is used."""
    rng = np.random.default_rng(feed.seed)
    with h5py.File(feed.path) as file:
        inputs, targets = file[feed.x], file[feed.y]
        for _ in range(feed.passes):
            for start, stop in feed.spans(feed.rows or len(inputs)):
                x, y = inputs[start:stop], targets[start:stop]
                order = rng.permutation(len(x))
                x, y = x[order], y[order]
                for at in range(0, len(x), feed.batch_size):
                    yield x[at : at + feed.batch_size], y[at : at + feed.batch_size]
