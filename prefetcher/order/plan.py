"""Which rows, in which order. Pure arithmetic: no file, no thread.

Memory is independent of n for a range. Row numbers and weights are arrays of n; beside them a plan
keeps their sorted order, and for each pass a table of the blocks.

A pass is a permutation of blocks, and consecutive blocks make a chunk. This is two-level shuffling
as in CorgiPile (Xu et al., SIGMOD 2022) and scDataset (2025): whole blocks are read at full speed,
and the many blocks of a chunk, drawn from all over the file, are mixed row by row in memory.

A chunk is dealt to its batches like cards. Its samples, in the order of its blocks, are cut into as
many stretches as a batch has slots; each stretch is shuffled and gives one sample to every batch.
So a batch has samples from all over the chunk; a plain permutation would leave that to chance.

Everything is a function of (seed, pass, position), so any batch can be found without the ones
before it. That is what replay, resuming and sharding rest on.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import pairwise
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from prefetcher.order.blocks import Blocks, Room, blocks_of
from prefetcher.order.draws import Draws, draws_of
from prefetcher.order.mixing import expected_mixing
from prefetcher.order.permutation import dealt, dealt_apart, inverse, key_of
from prefetcher.order.samples import Samples, even_samples, rows_at, storage_chunks_of
from prefetcher.order.sizes import SMALLEST_MIX

Run = tuple[int, int]
"""The first of some file rows that lie side by side, and one past the last."""


class Part(NamedTuple):
    """A piece of a chunk's reading that one reader does: reading indices `start` to `stop`."""

    start: int
    stop: int
    runs: list[Run]
    """The file rows that these reading indices stand for."""


MOST_READERS = 8
"""Readers among whom a chunk's reading is cut; more would gain nothing."""

_PARTS = 2 * MOST_READERS  # pieces of a chunk's reading: enough for all to end together
_GOOD_MIXING = 0.9  # below it is worth a word; 64 blocks to a chunk reach 0.95 and more


class Place(NamedTuple):
    """A batch's place: which pass, and which position within it, both from 0."""

    pass_number: int
    position: int


@dataclass(frozen=True, slots=True, eq=False)
class ChunkPlan:
    """One chunk: what to read, and where each row goes.

    Attributes:
        number: The chunk's number, counted over all passes.
        rows: File row of each sample in reading order, int64 (size,). What leads comes first; it
            and what follows are ascending.
        order: Reading index of the sample in each slot, int64 (size,).
        batch_size: Slots in a batch: the first so many are the chunk's first batch.
        parts: Pieces that may be read side by side, in reading order. None ends inside a storage
            chunk that it could have kept whole.
        leading: What a leading batch needs are the reading indices below this; 0 if none leads.
    """

    number: int
    rows: NDArray[np.int64]
    order: NDArray[np.int64]
    batch_size: int
    parts: tuple[Part, ...]
    leading: int = 0

    @property
    def in_order(self) -> bool:
        """Whether the samples are read in the order in which they are handed out."""
        return bool((self.order[1:] > self.order[:-1]).all())

    def slots(self, index: int) -> NDArray[np.int64]:
        """Reading indices of the samples of one of the chunk's batches."""
        return self.order[index * self.batch_size : (index + 1) * self.batch_size]


@dataclass(frozen=True, eq=False)
class Plan:
    """The order of all batches of all passes.

    Attributes:
        samples: File row of each sample; a sample's number is its index in here.
        batch_size: Samples in a batch.
        chunk_size: Samples that are read and shuffled together, a multiple of `batch_size`.
        block_size: Neighbouring samples that stay together until they are in a chunk: about so
            many where they lie unevenly among the storage chunks.
        seed: Any number from 0 to 2**64 - 1.
        shuffle: False keeps the order of `samples`.
        drop_remainder: Leaves out a last batch that is not full.
        align: Rows in a storage chunk; blocks start at multiples of it where they can.
        weights: How often each sample is drawn, in proportion, float64 (n,); None for once. As in
            `prefetcher.order.draws.Weighted`; with them, the samples of a pass are its draws.
    """

    samples: Samples
    batch_size: int
    chunk_size: int
    block_size: int
    seed: int = 0
    shuffle: bool = True
    drop_remainder: bool = False
    align: int = 1
    weights: NDArray[np.float64] | None = None

    @cached_property
    def num_samples(self) -> int:
        """Samples in a pass, the dropped remainder not counted."""
        n = len(self.samples)
        return n - n % self.batch_size if self.drop_remainder else n

    @cached_property
    def num_batches(self) -> int:
        """Batches in a pass."""
        return -(-self.num_samples // self.batch_size)

    @cached_property
    def batches_per_chunk(self) -> int:
        """Batches in every chunk but the last of a pass."""
        return self.chunk_size // self.batch_size

    @cached_property
    def num_chunks(self) -> int:
        """Chunks in a pass."""
        return -(-self.num_batches // self.batches_per_chunk)

    def place(self, ordinal: int) -> Place:
        """The place of a batch that is counted over all passes."""
        return Place(*divmod(ordinal, self.num_batches))

    def ordinal(self, place: Place) -> int:
        """The number of a batch counted over all passes; the reverse of `place`."""
        return place.pass_number * self.num_batches + place.position

    def batch_rows(self, position: int) -> int:
        """Samples in the batch at `position`: `batch_size`, or fewer in the last."""
        return min(self.batch_size, self.num_samples - position * self.batch_size)

    def chunk_of(self, ordinal: int) -> tuple[int, int]:
        """The number of the chunk that holds a batch, and the batch's index in it."""
        place = self.place(ordinal)
        chunk, index = divmod(place.position, self.batches_per_chunk)
        return place.pass_number * self.num_chunks + chunk, index

    @cached_property
    def largest_batch(self) -> int:
        """Samples in the largest batch that there is: no more than there are samples."""
        return min(self.batch_size, len(self.samples))

    @cached_property
    def largest_chunk(self) -> int:
        """Room for the samples of the largest chunk that there is, in whole batches.

        A remainder that is dropped has room too, as it is read with the others.
        """
        batches = -(-len(self.samples) // self.largest_batch)
        return min(self.chunk_size, batches * self.largest_batch)

    @property
    def blocks_in_chunk(self) -> int:
        """Blocks that a chunk is made of, at least one."""
        return max(1, self.largest_chunk // self.samples_in_block)

    @property
    def samples_in_block(self) -> int:
        """Samples in a block: `block_size`, or about as many where the blocks differ."""
        return self._blocks.usual_size if self.shuffle else self.block_size

    @cached_property
    def even_samples(self) -> int:
        """Samples in a chunk should be a multiple of this, so that none cuts a storage chunk."""
        return 1 if self.weights is not None else even_samples(self.samples, self.align)

    @cached_property
    def samples_in_storage_chunk(self) -> int:
        """Samples in a storage chunk: a smaller block cuts it in pieces.

        The mean where they lie unevenly. With weights never more than it has rows, as more are
        copies.
        """
        if isinstance(self.samples, range) and self.weights is None:
            return self.even_samples
        numbers = (
            np.arange(len(self.samples)) if self.weights is None else self.weights.nonzero()[0]
        )
        touched = storage_chunks_of(rows_at(self.samples, numbers), self.align)
        mean = -(-len(self.samples) // touched)
        return mean if self.weights is None else min(self.align, mean)

    @property
    def mixes_well(self) -> bool:
        """Whether `mixing` is 0.9 or more; worked out only where it is in doubt."""
        enough = self.blocks_in_chunk >= SMALLEST_MIX or self.num_chunks == 1
        return self.shuffle and (enough or self.mixing >= _GOOD_MIXING)

    @cached_property
    def mixing(self) -> float:
        """How well a file sorted by class is mixed, compared with a full permutation (1.0).

        It is the expected entropy of the labels in a batch, as a share of what a full permutation
        gives, for ten classes of equal size (`prefetcher.order.mixing`). Near 0, batches hold one
        class. Dealing can reach slightly more than 1.
        """
        if not self.shuffle:
            return 0.0
        return expected_mixing(
            len(self.samples), self.batch_size, self.chunk_size, self.samples_in_block
        )

    def batches_in(self, number: int) -> int:
        """Batches that chunk `number` holds."""
        first = number % self.num_chunks * self.batches_per_chunk
        return min(self.batches_per_chunk, self.num_batches - first)

    def chunk(self, number: int, lead: int | None = None) -> ChunkPlan:
        """Plans one chunk, in time and memory that depend on the chunk's size alone.

        Args:
            number: The chunk's number, counted over all passes.
            lead: Index of the batch that a run begins with. The storage chunks that it is drawn
                from are read first, and no others if it is the chunk's last. What each batch holds
                does not depend on it.
        """
        pass_number, chunk = divmod(number, self.num_chunks)
        start = chunk * self.chunk_size
        stop = min(start + self.chunk_size, len(self.samples))
        if self.shuffle:
            key = key_of(self.seed, pass_number)
            drawn = self._draws.rows(key, self._blocks.drawn(key, start, stop))
            order = self._dealt(drawn, key_of(int(key), chunk))
        else:
            drawn = rows_at(self.samples, np.arange(start, stop))
            order = np.arange(stop - start)
        turn = np.argsort(drawn, kind="stable")
        rows, order = drawn[turn], inverse(turn)[order]
        planned = ChunkPlan(number, rows, order, self.batch_size, self._parts(rows))
        return planned if lead is None else self._led(planned, lead)

    def _led(self, chunk: ChunkPlan, lead: int) -> ChunkPlan:
        """The same chunk, read in another order."""
        storage_chunks = chunk.rows // self.align
        first = np.isin(storage_chunks, storage_chunks[chunk.slots(lead)])
        turn = np.argsort(~first, kind="stable")
        rows, leading = chunk.rows[turn], int(np.count_nonzero(first))
        order = inverse(turn)[chunk.order]
        led = replace(chunk, rows=rows, order=order, parts=self._parts(rows[:leading]))
        if lead + 1 == self.batches_in(chunk.number):
            return led
        rest = self._parts(rows[leading:], leading) if leading < len(rows) else ()
        return replace(led, parts=led.parts + rest, leading=leading)

    @cached_property
    def _draws(self) -> Draws:
        return draws_of(self.samples, self.weights)

    @cached_property
    def _blocks(self) -> Blocks:
        return blocks_of(
            self.samples,
            self._draws,
            self.block_size,
            self.align,
            in_storage_chunk=self.samples_in_storage_chunk,
            room=Room(len(self.samples) / self.chunk_size, self.batches_per_chunk),
            weighted=self.weights is not None,
        )

    def _dealt(self, drawn: NDArray[np.int64], key: np.uint64) -> NDArray[np.int64]:
        """Which of a chunk's drawn rows the batches get, one after another."""
        if self._draws.copies:
            return dealt_apart(drawn, self.batch_size, key)
        return dealt(len(drawn), self.batch_size, key)

    def _parts(self, rows: NDArray[np.int64], at: int = 0) -> tuple[Part, ...]:
        """Cuts the reading of these rows into pieces; `at` is the first one's reading index.

        The cuts are at edges of storage chunks, and of runs if there are enough.
        """
        breaks = np.diff(rows) != 1
        edges = np.diff(rows // self.align) != 0
        between_runs = edges & breaks
        enough = np.count_nonzero(between_runs) >= _PARTS
        ends = np.flatnonzero(between_runs if enough else edges) + 1
        nearest = np.searchsorted(ends, np.arange(1, _PARTS) * len(rows) // _PARTS)
        cuts = np.unique(ends[nearest[nearest < len(ends)]])
        breaks[cuts - 1] = True
        starts = np.append(0, np.flatnonzero(breaks) + 1)
        runs = _runs(rows, starts)
        bounds = [0, *cuts.tolist(), len(rows)]
        of_runs = np.searchsorted(starts, bounds).tolist()
        return tuple(
            Part(at + start, at + stop, runs[first:last])
            for (start, stop), (first, last) in zip(
                pairwise(bounds), pairwise(of_runs), strict=True
            )
        )


def runs_of(rows: NDArray[np.int64]) -> list[Run]:
    """Where `rows` rise by one they are a run; at least one row."""
    return _runs(rows, np.append(0, np.flatnonzero(np.diff(rows) != 1) + 1))


def rows_of(runs: Sequence[Run]) -> NDArray[np.int64]:
    """The rows of some runs; the reverse of `runs_of`."""
    starts, stops = np.array(runs, np.int64).reshape(-1, 2).T
    counts = stops - starts
    ends = np.cumsum(counts)
    return np.repeat(starts - ends + counts, counts) + np.arange(counts.sum())


def _runs(rows: NDArray[np.int64], starts: NDArray[np.int64]) -> list[Run]:
    """The runs that begin at these indices, the first of which is 0."""
    last = rows[np.append(starts[1:], len(rows)) - 1]
    return list(zip(rows[starts].tolist(), (last + 1).tolist(), strict=True))
