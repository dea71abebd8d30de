"""A process's share of every batch, where several processes train as one. Pure.

A batch has slots, and the shares are stretches of them of one length. So at every position of every
pass all processes together hold the batch that one process would have, whatever their number.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class Shard:
    """Which share of the data this process has.

    Attributes:
        index: From 0 to count - 1.
        count: How many processes share the data; 1 where this one has all of it.
    """

    index: int = 0
    count: int = 1

    def of(self, size: int, *, filled: bool = False) -> tuple[int, int]:
        """This share of `size` things in a row: the first, and one past the last.

        Shares differ by one at most, and by none where `count` divides `size`.

        Args:
            size: How many things there are.
            filled: A share that would have one less than others has its neighbour's first, too.
        """
        first = self.index * size // self.count
        if filled:
            return first, first - (-size // self.count)
        return first, (self.index + 1) * size // self.count

    def __str__(self) -> str:
        return f"{self.index} of {self.count}"


WHOLE = Shard()
"""The share of a process that trains alone."""


class Filling(NamedTuple):
    """How a batch is filled up, so that all processes, and all devices, have as much of it."""

    own: int
    """The samples of this process's share: the first rows of its batch. Others have weight 0."""
    rows: int
    """The rows that its batch is filled up to."""
    weight: float
    """Of each own sample: the mean over all rows is then the mean over the samples."""


def in_order(
    size: int, batch_size: int, shard: Shard, *, filled: bool = False
) -> NDArray[np.int64]:
    """Which of `size` samples in order the batches of a share get: its slots of each batch.

    Args:
        size: How many samples there are.
        batch_size: Samples in a batch; the last may have fewer.
        shard: The share.
        filled: As in `Shard.of`, for the last batch.
    """
    whole = size - size % batch_size
    slots = np.arange(*shard.of(batch_size))
    rest = np.arange(*shard.of(size - whole, filled=filled))
    return np.append(np.arange(0, whole, batch_size)[:, None] + slots, whole + rest)
