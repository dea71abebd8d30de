"""How well a plan mixes a file that is sorted by class, as one number. Pure.

The number is the expected entropy of the labels in a batch, divided by what a full permutation
gives. It is found by drawing batches as the plan does, from blocks drawn at random: with few blocks
in a chunk or in the file no simple formula is right to a percent.
"""

from __future__ import annotations

from math import exp, lgamma, log2

import numpy as np
from numpy.typing import NDArray

CLASSES = 10
"""Classes of equal size in the file that the number is about."""

_BATCHES = 64  # drawn from one pass at most: those of one chunk tell little more than one does
_DRAWN = 1 << 20  # samples drawn in all: enough for an answer within about a percent
_PASSES = 16, 512  # simulated at least and at most
_SHUFFLED_BLOCKS = 1 << 12  # of more, so few are drawn that hardly one comes twice


def expected_mixing(samples: int, batch_size: int, chunk_size: int, block_size: int) -> float:
    """The label entropy of a batch, as a share of a full permutation's; 0 to about 1.

    Takes some ten milliseconds, whatever the number of samples. A batch that is not full is not
    counted; where there is no other, the answer is 1.

    Args:
        samples: Samples in the file, sorted by class.
        batch_size: Samples in a batch.
        chunk_size: Samples in a chunk, a multiple of `batch_size`.
        block_size: Neighbouring samples in a block.
    """
    full = samples // batch_size
    classes = min(CLASSES, samples)
    best = _entropy_of_a_permutation(samples, batch_size, classes) if full else 0.0
    if not best:
        return 1.0
    rng = np.random.default_rng(0)
    passes = int(np.clip(_DRAWN // (min(full, _BATCHES) * batch_size), *_PASSES))
    entropies = []
    for _ in range(passes):
        positions = np.arange(full) if full <= _BATCHES else rng.integers(full, size=_BATCHES)
        drawn = _drawn(rng, positions, samples, batch_size, chunk_size)
        labels = _samples_at(rng, drawn, samples, block_size) * classes // samples
        entropies.append(_entropy(labels, classes))
    return float(np.mean(entropies)) / best


def _drawn(
    rng: np.random.Generator,
    positions: NDArray[np.int64],
    samples: int,
    batch_size: int,
    chunk_size: int,
) -> NDArray[np.int64]:
    """Where in the order of blocks the samples of these batches lie, (batches, batch_size)."""
    starts = positions * batch_size // chunk_size * chunk_size
    sizes = np.minimum(chunk_size, samples - starts)[:, None]
    slots = np.arange(batch_size + 1)
    edges = slots * sizes // batch_size
    within = rng.random((len(positions), batch_size)) * np.diff(edges, axis=1)
    return starts[:, None] + edges[:, :-1] + within.astype(np.int64)


def _samples_at(
    rng: np.random.Generator, drawn: NDArray[np.int64], samples: int, block_size: int
) -> NDArray[np.int64]:
    """The samples there in a pass of its own; what fills no block comes last, as in the plan."""
    blocks = samples // block_size
    number, row = np.divmod(drawn, block_size)
    if blocks <= _SHUFFLED_BLOCKS:
        order = np.append(rng.permutation(blocks), blocks)
        return order[number] * block_size + row
    numbers, back = np.unique(number, return_inverse=True)
    order = np.where(numbers < blocks, rng.integers(blocks, size=len(numbers)), blocks)
    return order[back].reshape(number.shape) * block_size + row


def _entropy(labels: NDArray[np.int64], classes: int) -> float:
    """The mean entropy in bits of the labels (batches, batch_size) in a batch."""
    batches, batch_size = labels.shape
    numbers = labels + np.arange(batches)[:, None] * classes
    shares = np.bincount(numbers.reshape(-1), minlength=batches * classes) / batch_size
    shares = shares[shares > 0]
    return float(-(shares * np.log2(shares)).sum() / batches)


def _entropy_of_a_permutation(samples: int, batch_size: int, classes: int) -> float:
    """The same where each batch is drawn from all samples: a hypergeometric law for each class."""
    of_class = samples / classes
    counts = range(1, min(batch_size, int(of_class)) + 1)
    terms = (
        -count
        / batch_size
        * log2(count / batch_size)
        * _chance(count, batch_size, of_class, samples)
        for count in counts
    )
    return classes * sum(terms)


def _chance(count: int, batch_size: int, of_class: float, samples: int) -> float:
    """The chance that a batch has `count` samples of one class."""
    if batch_size - count > samples - of_class:
        return 0.0
    ways = _log_choose(of_class, count) + _log_choose(samples - of_class, batch_size - count)
    return exp(ways - _log_choose(samples, batch_size))


def _log_choose(n: float, k: int) -> float:
    return lgamma(n + 1) - lgamma(k + 1) - lgamma(n - k + 1)
