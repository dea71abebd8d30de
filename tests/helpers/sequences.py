"""Sequences over the test files, and what they hand out."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from helpers.files import ids_of
from prefetcher import PrefetchSequence

BATCH = 4


def small(file: Path, x: Any = "x", y: Any = "y", **settings: Any) -> PrefetchSequence:
    """A sequence with so small settings that its queues are far shorter than a pass."""
    defaults = {"batch_size": BATCH, "chunk_size": 16, "block_size": 4, "batch_queue": 3}
    return PrefetchSequence(file, x, y, **{**defaults, **settings})


def ids(batch: Any) -> list[int]:
    """The ids of an (x, y) batch, in order; fails where x and y do not belong together."""
    x, y = batch
    assert (x[:, :1] == y).all(), "an x came with the y of another sample"
    return ids_of(x)


def passes(file: Path, count: int, **settings: Any) -> list[list[list[int]]]:
    """The ids of every batch of the first `count` passes, asked for in order."""
    with small(file, **settings) as sequence:
        return [[ids(batch) for batch in sequence] for _ in range(count)]


def frozen(batch: Any) -> list[tuple[str, tuple[int, ...], bytes]]:
    """A copy of all that a batch says: dtype, shape and bytes of each part."""
    return [(part.dtype.str, part.shape, np.ascontiguousarray(part).tobytes()) for part in batch]
