"""The orders that ways of shuffling give, and how well each mixes. Pure: row numbers alone."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from prefetcher.order.plan import Plan
from prefetcher.order.sizes import default_block_size

BATCH_SIZE = 32
CHUNK_SIZE = 3200
ROW_BYTES = 28 * 28 + 1
"""Of Fashion-MNIST; the default block depends on it."""

Rows = NDArray[np.int64]


@dataclass(frozen=True)
class Way:
    """A way of shuffling.

    Attributes:
        name: What the tables call it.
        order: The rows of a pass, in their order: of so many rows, with this seed, in this pass.
        block_size: What `PrefetchSequence` is told to do the same; None where it cannot.
    """

    name: str
    order: Callable[[int, int, int], Rows]
    block_size: int | None = None


def permuted(rows: int, seed: int, number: int) -> Rows:
    """A full permutation: what shuffling in memory gives."""
    return np.random.default_rng((seed, number)).permutation(rows)


def buffered(rows: int, seed: int, number: int) -> Rows:
    """A shuffle buffer as tf.data has it: each next row takes the place of one drawn at random."""
    rng = np.random.default_rng((seed, number))
    size = min(CHUNK_SIZE, rows)
    held, order = np.arange(size), np.empty(rows, np.int64)
    for at, slot in enumerate(rng.integers(size, size=rows - size)):
        order[at], held[slot] = held[slot], at + size
    order[rows - size :] = rng.permutation(held)
    return order


def unshuffled(rows: int, seed: int, number: int) -> Rows:
    """The order of the file."""
    del seed, number
    return np.arange(rows)


def blocks_of(block_size: int) -> Callable[[int, int, int], Rows]:
    """Our plan with this block size."""

    def order(rows: int, seed: int, number: int) -> Rows:
        plan = Plan(range(rows), BATCH_SIZE, CHUNK_SIZE, block_size, seed)
        first = number * plan.num_chunks
        chunks = (plan.chunk(first + index) for index in range(plan.num_chunks))
        return np.concatenate([chunk.rows[chunk.order] for chunk in chunks])

    return order


def _ours(name: str, block_size: int) -> Way:
    return Way(f"ours, {name}", blocks_of(block_size), block_size)


FULL = "full permutation"
DEFAULT = default_block_size(CHUNK_SIZE, ROW_BYTES, 1)
OURS = f"ours, the default: block_size={DEFAULT}"
WAYS = {
    way.name: way
    for way in (
        Way(FULL, permuted),
        _ours("block_size=1", 1),
        _ours(f"the default: block_size={DEFAULT}", DEFAULT),
        Way(f"shuffle buffer of {CHUNK_SIZE}", buffered),
        _ours(f"block_size={CHUNK_SIZE}, as the article", CHUNK_SIZE),
        Way("not shuffled", unshuffled),
    )
}


def entropy(labels: NDArray[np.generic], batch_size: int) -> float:
    """Mean entropy of the labels in a batch, in bits: 0 where every batch has one label.

    Args:
        labels: Whole numbers from 0, (samples,), in the order of training.
        batch_size: Samples in a batch; the last may be short.
    """
    numbers = labels.astype(np.int64)
    batch, classes = np.arange(len(numbers)) // batch_size, int(numbers.max()) + 1
    counts = np.bincount(batch * classes + numbers, minlength=(batch[-1] + 1) * classes)
    counts = counts.reshape(-1, classes)
    shares = counts / counts.sum(axis=1, keepdims=True)
    logs = np.log2(shares, where=shares > 0, out=np.zeros_like(shares))
    return float(-(shares * logs).sum(axis=1).mean())
