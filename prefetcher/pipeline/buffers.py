"""Memory that is used again, and never while somebody holds it.

A pool hands out arrays over blocks of one size. A block comes back when the last array over it is
gone, whoever held it and in whichever thread: numpy keeps the `_Loan` alive as long as any view
does, and the loan's end gives the block back. A caller who keeps every batch gets new memory
each time, so nothing that was handed out is ever written over.

An array may end anywhere, also where Ctrl-C is about to be told of: Python raises that at the next
step of Python code, and what is raised in a finalizer is printed and lost. So no Python code runs
when an array ends: what a loan and a block do at their end are calls into C.

A block of some pages or more is an anonymous mapping of its own, whose pages go back to the system
when the block ends. malloc would take it from an arena of the thread that asks, and keep the pages
after that thread has ended; the threads of the next run may get other arenas.
"""

from __future__ import annotations

import mmap
import sys
import threading
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from weakref import ref

import numpy as np
from numpy.typing import NDArray

_ALIGNMENT = 64  # a cache line; JAX and PyTorch take such memory without a copy
_MAPPED_BYTES = 4 * mmap.PAGESIZE
"""The smallest block that is mapped. Whole pages are then a quarter more than it needs at most, and
smaller blocks are few: labels, and batches of rows so small that a chunk is one block."""
_MOST_MAPPINGS = 1 << 14
"""Blocks that are mapped at once; more come from malloc. Only a caller who keeps batches has so
many. Linux lets a process have 65,530 mappings, and threads and libraries need some of them."""


class Meter:
    """Bytes of buffers that exist now and at most so far. Any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        # By their size, the blocks that exist. Each leaves its set when it ends, so that nothing
        # has to be booked then.
        self._alive: dict[int, set[ref[_Block]]] = {}
        self.peak = 0
        self.allocations = 0

    @property
    def now(self) -> int:
        """Bytes of all blocks that exist."""
        return sum(nbytes * len(blocks) for nbytes, blocks in list(self._alive.items()))

    def allocate(self, nbytes: int) -> _Block:
        """A new block, which counts until it ends."""
        block = _Block(nbytes)
        alive = self._alive.setdefault(nbytes, set())
        alive.add(ref(block, alive.discard))
        with self._lock:
            self.peak = max(self.peak, self.now)
            self.allocations += 1
        return block


class Pool:
    """Blocks of `nbytes` bytes each. Any thread; never waits.

    Args:
        nbytes: The size of a block.
        keep: Free blocks that are kept for use; more are let go.
        meter: Books what is allocated.
    """

    def __init__(self, nbytes: int, keep: int, meter: Meter) -> None:
        self._nbytes = nbytes
        self._meter = meter
        # A deque, because a loan may end at any moment: its append takes no lock, and lets go of
        # the oldest block when there are too many.
        self._free: deque[_Block] = deque(maxlen=keep)
        self._give_back = self._free.append

    def take(self) -> NDArray[np.uint8]:
        """A block to write to, uint8 (nbytes,), 64-byte aligned; its content is arbitrary."""
        return np.asarray(_Loan(self._block(), self._give_back))

    def take_rows(self, row_bytes: int) -> tuple[NDArray[np.uint8], list[NDArray[np.uint8]]]:
        """A block as `take` gives it, and its rows as arrays (1, row_bytes).

        The rows do not hold the block: use them only as long as you hold the array.
        """
        block = self._block()
        return np.asarray(_Loan(block, self._give_back)), block.rows(row_bytes)

    def _block(self) -> _Block:
        try:
            return self._free.pop()
        except IndexError:
            return self._meter.allocate(self._nbytes)

    def drop(self) -> None:
        """Lets every free block go, and later each other as it comes back."""
        deque.__init__(self._free, (), 0)  # anew, in place: from now on it keeps none


class _Block:
    """Memory, and what numpy makes of it: to make that anew for each loan takes longer."""

    __slots__ = ("__weakref__", "_rows", "interface", "memory")

    def __init__(self, nbytes: int) -> None:
        self.memory = _memory(nbytes)
        self.interface = self.memory.__array_interface__
        self._rows: list[NDArray[np.uint8]] = []

    def rows(self, row_bytes: int) -> list[NDArray[np.uint8]]:
        """The memory's rows; always of the same size."""
        if not self._rows:
            self._rows = list(self.memory.reshape(-1, 1, row_bytes))
        return self._rows


_mappings: set[ref[mmap.mmap]] = set()  # of all pools


def _memory(nbytes: int) -> NDArray[np.uint8]:
    """Aligned memory, uint8 (nbytes,).

    Raises:
        MemoryError: There is not so much.
    """
    if nbytes >= _MAPPED_BYTES and len(_mappings) < _MOST_MAPPINGS:
        with suppress(OSError):  # the process may have no mapping left, but memory
            mapping = _mapping(nbytes)
            _mappings.add(ref(mapping, _mappings.discard))
            return np.frombuffer(mapping, np.uint8)
    memory = np.empty(nbytes + _ALIGNMENT, np.uint8)
    start = -memory.ctypes.data % _ALIGNMENT
    return memory[start : start + nbytes]


def _mapping(nbytes: int) -> mmap.mmap:
    """Whole pages of this process alone: Python's own default would share them with a fork."""
    if sys.platform == "win32":
        return mmap.mmap(-1, nbytes)
    mapping = mmap.mmap(-1, nbytes, flags=mmap.MAP_PRIVATE)
    if hasattr(mmap, "MADV_HUGEPAGE"):
        # Neighbouring blocks share huge pages. The first two chunks, in blocks of 1.5 MB, took 0.42
        # CPU seconds for each GB with them and 0.67 without (medians of 15); later ones take 0.21.
        with suppress(OSError):  # this kernel has none
            mapping.madvise(mmap.MADV_HUGEPAGE)
    return mapping


class _Loan:
    """Stands between a block and the arrays over it; ends with the last of them."""

    # A finalizer of its own for each: a method would be Python code.
    __slots__ = ("__array_interface__", "__del__")
    __del__: Callable[[], object]

    def __init__(self, block: _Block, give_back: Callable[[_Block], None]) -> None:
        self.__array_interface__ = block.interface
        self.__del__ = partial(give_back, block)
