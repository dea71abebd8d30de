"""Blocks: neighbouring draws that stay together until they are in a chunk. Pure.

Where draws lie evenly among the storage chunks, blocks lie on a grid: all have one size, and
nothing is kept of them. Where they do not (row numbers, a mask, weights), blocks begin at edges of
storage chunks and differ in size, so a small table of them is made for each pass. Either way no
block cuts a storage chunk, unless it was asked to be smaller than one.

Of several files, blocks are whole files or pieces of one: a block that crosses from one file into
the next costs a visit to each. Pieces begin at a file's own storage chunks, which the rows of the
files before it may have moved off any common grid.
"""

from __future__ import annotations

from functools import cached_property, lru_cache
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from prefetcher.order.draws import Draws, Numbers
from prefetcher.order.permutation import permuted, spread
from prefetcher.order.samples import Samples, even_samples

_PASSES = (
    4  # tables that are kept: of the pass, of the next one, and of two that are looked at again
)
_MOST_PIECES = 1 << 18
"""Of files, in a table of 6 MB. Where there are more, and few of them end where a file does,
blocks lie on a grid."""


class Blocks(Protocol):
    """How a pass is cut into blocks, and in which order they come."""

    @property
    def usual_size(self) -> int:
        """Draws in the block that a draw is in, on average: what mixing goes by."""

    def drawn(self, key: np.uint64, start: int, stop: int) -> Numbers:
        """The draws at these places of the pass of that key."""


class Grid:
    """Blocks of one size, in an order that is worked out where it is needed.

    What the grid leaves over at both ends is shorter than a block and comes last, so that every
    chunk but the last is full.

    Args:
        count: Draws in a pass.
        size: Draws in a block.
        head: Draws before the first block.
    """

    def __init__(self, count: int, size: int, head: int = 0) -> None:
        self.usual_size = size
        self._head = head
        self._blocks = (count - head) // size

    def drawn(self, key: np.uint64, start: int, stop: int) -> Numbers:
        """As `Blocks`."""
        size, head, blocks = self.usual_size, self._head, self._blocks
        at = np.arange(start, stop)
        whole = at[: max(0, blocks * size - start)]
        left_over = at[len(whole) :] - blocks * size
        number, draw = np.divmod(whole, size)
        first, last = start // size, min(-(-stop // size), blocks)
        drawn = head + permuted(blocks, key, np.arange(first, last))[number - first] * size + draw
        tail = left_over + blocks * size  # equals head + blocks * size + (left_over - head)
        return np.concatenate([drawn, np.where(left_over < head, left_over, tail)])


class Room(NamedTuple):
    """What blocks are spread over: chunks of a pass (a small last one counts less), and batches."""

    chunks: float
    batches: int


class _Table(NamedTuple):
    """The blocks of one pass in their order: block i has draws `first[i]`, `+ step[i]`, ..."""

    first: Numbers
    step: Numbers
    ends: Numbers
    """Where in the pass each block ends."""


class _Cut(NamedTuple):
    """The blocks of one pass in the order of their rows."""

    first: Numbers
    step: Numbers
    size: Numbers
    region: Numbers
    """Which of the regions between edges each block has draws of."""
    often: NDArray[np.float64]
    """How often a row comes in that region."""


class Uneven:
    """Blocks of about one size that begin at edges of storage chunks.

    Where a storage chunk has far more draws than fit a block, or more copies of a row than a chunk
    has batches, it is in several blocks. Each of them takes every k-th of its draws, so the copies
    of a row are spread over all. Blocks of rows that come often are then not left to chance: each
    chunk gets its share of them, so that a rare class comes as often in every batch.

    Args:
        draws: What is drawn.
        size: Draws that a block should have.
        span: Rows between the edges at which blocks may begin.
        room: What they are spread over.
        pieces: Where blocks may begin instead, as `pieces_of` gives it.
    """

    def __init__(
        self, draws: Draws, size: int, span: int, room: Room, pieces: Numbers | None = None
    ) -> None:
        self._draws = draws
        self._size = size
        self._span = span
        self._room = room
        self._pieces = pieces
        # No more draws between two edges, unless a row comes more than once.
        self._most = max(size, span) if pieces is None else size + int(np.diff(pieces).max())
        self._table = lru_cache(maxsize=_PASSES)(self._made)

    @cached_property
    def usual_size(self) -> int:
        """As `Blocks`, by the first pass."""
        counts = self._cut(np.uint64(0)).size
        return max(1, round(float((counts**2).sum() / self._draws.count)))

    def drawn(self, key: np.uint64, start: int, stop: int) -> Numbers:
        """As `Blocks`."""
        first, step, ends = self._table(key)
        low, high = np.searchsorted(ends, [start, stop - 1], side="right").tolist()
        of = slice(low, high + 1)
        begins = ends[low - 1] if low else 0
        counts = np.diff(ends[of], prepend=begins)
        starts = np.repeat(ends[of] - counts, counts)
        within = np.arange(begins, ends[high]) - starts
        drawn = np.repeat(first[of], counts) + within * np.repeat(step[of], counts)
        return drawn[start - begins : stop - begins]

    def _made(self, key: np.uint64) -> _Table:
        cut = self._cut(key)
        if self._draws.copies:
            order = spread(cut.often, cut.region, self._room.chunks, key)
        else:
            order = permuted(len(cut.first), key, np.arange(len(cut.first)))
        return _Table(cut.first[order], cut.step[order], np.cumsum(cut.size[order]))

    def _cut(self, key: np.uint64) -> _Cut:
        starts = self._starts(key)
        counts = np.diff(starts, append=self._draws.count)
        copies = self._draws.copies_in(key, starts)
        full = counts // self._most
        apart = -(-copies.most // self._room.batches)
        ways = np.clip(np.maximum(full, apart), 1, counts)
        region = np.repeat(np.arange(len(starts)), ways)
        turn = np.arange(len(region)) - np.repeat(np.cumsum(ways) - ways, ways)
        step = ways[region]
        size = -(-(counts[region] - turn) // step)
        return _Cut(starts[region] + turn, step, size, region, copies.mean[region])

    def _starts(self, key: np.uint64) -> Numbers:
        """The first draws at an edge after each multiple of a block's size."""
        before = np.arange(self._size, self._draws.count, self._size) - 1
        edges = np.unique(self._edges_after(self._draws.rows(key, before)))
        starts = np.unique(self._draws.first_from(key, edges))
        return np.append(0, starts[(starts > 0) & (starts < self._draws.count)])

    def _edges_after(self, rows: Numbers) -> Numbers:
        """The first edge behind each of these rows."""
        if self._pieces is None:
            return (rows // self._span + 1) * self._span
        return self._pieces[np.searchsorted(self._pieces, rows, side="right")]


def pieces_of(ends: Numbers, size: int, align: int) -> Numbers | None:
    """Where pieces of files begin, and one past the last row of all, ascending.

    A file is one piece, or several of one length, which is at least 3/4 of `size`; the last of
    them may be shorter.

    Args:
        ends: One past the last row of each file, counted over all of them.
        size: Rows that a piece should have.
        align: Rows in a storage chunk; each file begins with one.

    Returns:
        None for a single file, and where there are too many pieces beside the number of files.
    """
    if len(ends) == 1:
        return None
    rows = np.diff(ends, prepend=0)
    wanted = np.maximum(1, (rows + size // 2) // size)
    storage_chunks = -(-rows // align)
    length = np.maximum(1, -(-storage_chunks // wanted)) * align
    count = -(-rows // length)
    if count.sum() > max(_MOST_PIECES, 8 * len(ends)):
        return None
    turn = np.arange(count.sum()) - np.repeat(np.cumsum(count) - count, count)
    return np.append(np.repeat(ends - rows, count) + turn * np.repeat(length, count), ends[-1])


def blocks_of(
    samples: Samples,
    draws: Draws,
    size: int,
    align: int,
    *,
    in_storage_chunk: int,
    room: Room,
    weighted: bool,
    pieces: Numbers | None = None,
) -> Blocks:
    """The blocks of these draws: along storage chunks, unless `size` is smaller than one.

    Args:
        samples: What is drawn from.
        draws: What is drawn.
        size: Draws in a block.
        align: Rows in a storage chunk.
        in_storage_chunk: Draws in a storage chunk.
        room: What they are spread over.
        weighted: Whether samples are drawn by weights.
        pieces: Of several files: where blocks may begin, as `pieces_of` gives it.
    """
    if pieces is None and isinstance(samples, range) and not weighted:
        return Grid(len(samples), size, _head(samples, align))
    # What is full of copies is shared by blocks that each have as many rows as others do.
    shared = weighted or (draws.copies and align == 1)
    span = align * max(1, size // align) if shared else align
    if pieces is None and (span == 1 or size < in_storage_chunk):
        return Grid(draws.count, size)
    return Uneven(draws, size, span, room, pieces)


def _head(samples: range, align: int) -> int:
    """Samples before the first that begins a storage chunk: the grid fits from there on."""
    if even_samples(samples, align) == 1:
        return 0
    rows = samples if samples.step > 0 else samples[::-1]
    within = rows.start % align
    if within < rows.step:
        return 0
    return min(-(-(align - within) // rows.step), len(rows))
