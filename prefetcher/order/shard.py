"""A process's share of every batch, where several processes train as one. Pure."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Shard:
    """Which share of the data this process has.

    A batch has slots, and the shares are stretches of them of the same length. So all processes
    together hold the batch that one process would have, whatever their number.

    Attributes:
        index: From 0 to count - 1.
        count: How many processes share the data; 1 where this one has all of it.
    """

    index: int = 0
    count: int = 1

    def of(self, size: int) -> tuple[int, int]:
        """This share of `size` things in a row: the first, and one past the last.

        Shares differ by one at most, and by none where `count` divides `size`.
        """
        return self.index * size // self.count, (self.index + 1) * size // self.count

    def __str__(self) -> str:
        return f"{self.index} of {self.count}"
