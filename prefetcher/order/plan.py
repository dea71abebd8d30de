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

from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from prefetcher.order.blocks import Blocks, Room, blocks_of, pieces_of
from prefetcher.order.chunk import ChunkPlan, Edges, chunk_plan, led
from prefetcher.order.draws import Draws, draws_of
from prefetcher.order.mixing import expected_mixing
from prefetcher.order.permutation import dealt, dealt_apart, key_of
from prefetcher.order.samples import Samples, even_samples, rows_at, storage_chunks_of
from prefetcher.order.shard import WHOLE, Filling, Shard, in_order
from prefetcher.order.sizes import SMALLEST_MIX

_GOOD_MIXING = 0.9  # below it is worth a word; 64 blocks to a chunk reach 0.95 and more


class Place(NamedTuple):
    """A batch's place: which pass, and which position within it, both from 0."""

    pass_number: int
    position: int


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
        shard: This process's share. Sizes, positions and numbers are those of all processes
            together; `chunk` gives what this one reads.
        files: One past the last row of each file, int64 (files,); None for a single file. Blocks
            are pieces of files, unless that takes many more pieces than there are files.
        pad_to: A last batch is filled up to a multiple of this many rows; None for no filling.
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
    shard: Shard = WHOLE
    pad_to: int | None = None
    files: NDArray[np.int64] | None = None

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

    def own_rows(self, position: int) -> int:
        """Samples of this process in the batch at `position`."""
        first, last = self.shard.of(self.batch_rows(position))
        return last - first

    def filling(self, position: int) -> Filling | None:
        """How this process's part of the batch at `position` is filled up; None for not at all."""
        if self.pad_to is None:
            return None
        samples = self.batch_rows(position)
        rows = -(-samples // self.pad_to) * self.pad_to
        return Filling(self.own_rows(position), rows // self.shard.count, rows / samples)

    def chunk_of(self, ordinal: int) -> tuple[int, int]:
        """The number of the chunk that holds a batch, and the batch's index in it."""
        place = self.place(ordinal)
        chunk, index = divmod(place.position, self.batches_per_chunk)
        return place.pass_number * self.num_chunks + chunk, index

    @property
    def own_batch_size(self) -> int:
        """Samples of this process in a batch that is full."""
        return self.batch_size // self.shard.count

    @cached_property
    def largest_batch(self) -> int:
        """Samples of this process in its largest batch: no more than it has."""
        return -(-min(self.batch_size, len(self.samples)) // self.shard.count)

    @cached_property
    def largest_chunk(self) -> int:
        """Room for this process's samples of the largest chunk that there is, in whole batches.

        A remainder that is dropped has room too, as it is read with the others.
        """
        batches = -(-len(self.samples) // min(self.batch_size, len(self.samples)))
        return min(self.batches_per_chunk, batches) * self.largest_batch

    @property
    def blocks_in_chunk(self) -> int:
        """Blocks that a chunk is made of, those of all processes; at least one."""
        samples = min(self.chunk_size, len(self.samples))
        return max(1, samples // self.samples_in_block)

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

    @cached_property
    def decodings(self) -> float:
        """How often a storage chunk is decoded in a pass, by all processes together: about 1.

        One that is cut, by the end of a chunk or of a process's share, is decoded twice. Where the
        order is kept, each process has slots of every batch, and decodes all that these lie in.
        """
        size, count = min(self.chunk_size, len(self.samples)), self.shard.count
        together, even = self.samples_in_storage_chunk, self.even_samples
        if together == 1:
            return 1.0
        if not self.shuffle:
            shares = (Shard(index, count) for index in range(count))
            slots = (in_order(size, self.batch_size, share) for share in shares)
            chunks = (rows_at(self.samples, each) // self.align for each in slots)
            return sum(len(np.unique(each)) for each in chunks) * together / size
        ends = np.arange(1, count + 1) * size
        cut = count if even == 1 else np.count_nonzero(ends % (count * even))
        return 1 + cut * together / size

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
        planned = chunk_plan(number, self._given(number), self.own_batch_size, self._edges)
        if lead is None:
            return planned
        return led(planned, lead, self._edges, is_last=lead + 1 == self.batches_in(number))

    def _given(self, number: int) -> NDArray[np.int64]:
        """The file rows that this process's batches of a chunk get, one after another.

        A last batch that is filled up has as many for each process: the one that some lack is their
        neighbour's.
        """
        pass_number, chunk = divmod(number, self.num_chunks)
        start = chunk * self.chunk_size
        size, filled = min(self.chunk_size, len(self.samples) - start), self.pad_to is not None
        if not self.shuffle:
            given = in_order(size, self.batch_size, self.shard, filled=filled)
            return rows_at(self.samples, start + given)
        key = key_of(self.seed, pass_number)
        how = self.batch_size, key_of(int(key), chunk), self.shard
        first, last = self.shard.of(size, filled=filled)
        if self._draws.copies:  # which are spread over the batches of all processes
            drawn = self._drawn(key, start, start + size)
            given = dealt_apart(drawn, *how)
        else:
            drawn = self._drawn(key, start + first, start + last)
            given = dealt(size, *how) - first
        lacking = last - first - len(given)
        given = np.append(given, np.full(lacking, len(drawn) - 1))
        return drawn[given]

    def _drawn(self, key: np.uint64, start: int, stop: int) -> NDArray[np.int64]:
        """The file rows of the draws from `start` to `stop` of the pass with this key."""
        return self._draws.rows(key, self._blocks.drawn(key, start, stop))

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
            pieces=self._edges.pieces,
        )

    @cached_property
    def _edges(self) -> Edges:
        """Where the reading of a chunk may be cut."""
        if self.files is None or self.block_size == 1:
            return Edges(self.align)
        whole = self.block_size >= self.samples_in_storage_chunk
        return Edges(self.align, pieces_of(self.files, self.block_size, self.align if whole else 1))
