"""Memory that is used again, and never while somebody holds it.

A pool hands out arrays over blocks of one size. A block comes back when the last array over it is
gone, whoever held it and in whichever thread: numpy keeps the `_Loan` alive as long as any view
does, and the loan's end gives the block back. A caller who keeps every batch gets new memory
each time, so nothing that was handed out is ever written over.
"""

from __future__ import annotations

import threading
from collections import deque

import numpy as np
from numpy.typing import NDArray

_ALIGNMENT = 64  # a cache line; JAX and PyTorch take such memory without a copy


class Meter:
    """Bytes of buffers that exist now and at most so far. Any thread."""

    def __init__(self) -> None:
        # Re-entrant: a loan's end may run in a thread that is in here.
        self._lock = threading.RLock()
        self.now = 0
        self.peak = 0
        self.allocations = 0

    def add(self, nbytes: int) -> None:
        """Books memory that was allocated (or, if negative, let go)."""
        with self._lock:
            self.now += nbytes
            self.peak = max(self.peak, self.now)
            self.allocations += nbytes > 0


class Pool:
    """Blocks of `nbytes` bytes each. Any thread; never waits.

    Args:
        nbytes: The size of a block.
        keep: Free blocks that are kept for use; more are let go.
        meter: Books what is allocated.
    """

    def __init__(self, nbytes: int, keep: int, meter: Meter) -> None:
        self._nbytes = nbytes
        self._keep = keep
        self._meter = meter
        # A deque, because a loan may end at any moment and its append takes no lock.
        self._free: deque[_Block] = deque()

    def take(self) -> NDArray[np.uint8]:
        """A block to write to, uint8 (nbytes,), 64-byte aligned; its content is arbitrary."""
        return np.asarray(_Loan(self._block(), self))

    def take_rows(self, row_bytes: int) -> tuple[NDArray[np.uint8], list[NDArray[np.uint8]]]:
        """A block as `take` gives it, and its rows as arrays (1, row_bytes).

        The rows do not hold the block: use them only as long as you hold the array.
        """
        block = self._block()
        return np.asarray(_Loan(block, self)), block.rows(row_bytes)

    def _block(self) -> _Block:
        try:
            return self._free.pop()
        except IndexError:
            self._meter.add(self._nbytes)
            return _Block(self._nbytes)

    def give_back(self, block: _Block) -> None:
        """Takes a block back that nobody holds any more."""
        if len(self._free) < self._keep:
            self._free.append(block)
        else:
            self._meter.add(-self._nbytes)

    def drop(self) -> None:
        """Lets every free block go, and later each other as it comes back."""
        self._keep = 0
        while self._free:
            self._free.pop()
            self._meter.add(-self._nbytes)


class _Block:
    """Memory, and what numpy makes of it: to make that anew for each loan takes longer."""

    __slots__ = ("_rows", "interface", "memory")

    def __init__(self, nbytes: int) -> None:
        memory = np.empty(nbytes + _ALIGNMENT, np.uint8)
        start = -memory.ctypes.data % _ALIGNMENT
        self.memory = memory[start : start + nbytes]
        self.interface = self.memory.__array_interface__
        self._rows: list[NDArray[np.uint8]] = []

    def rows(self, row_bytes: int) -> list[NDArray[np.uint8]]:
        """The memory's rows; always of the same size."""
        if not self._rows:
            self._rows = list(self.memory.reshape(-1, 1, row_bytes))
        return self._rows


class _Loan:
    """Stands between a block and the arrays over it; ends with the last of them."""

    __slots__ = ("__array_interface__", "_block", "_pool")

    def __init__(self, block: _Block, pool: Pool) -> None:
        self.__array_interface__ = block.interface
        self._block = block
        self._pool = pool

    def __del__(self) -> None:
        self._pool.give_back(self._block)
