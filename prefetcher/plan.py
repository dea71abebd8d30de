"""Which rows, in which order. Pure arithmetic: no file, no thread, memory independent of n.

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

import math
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from itertools import pairwise
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from prefetcher.mixing import expected_mixing

Samples = range | NDArray[np.int64]
"""The file row of each sample, in the order the user named them."""
Run = tuple[int, int]
"""The first of some file rows that lie side by side, and one past the last."""


class Part(NamedTuple):
    """A piece of a chunk's reading that one reader does: reading indices `start` to `stop`."""

    start: int
    stop: int
    runs: list[Run]
    """The file rows that these reading indices stand for."""


CHUNK_SIZE = 3200
"""Samples in a chunk by default, or more: 100 batches of 32, which is 157 MB of 128x128 colour
pictures."""
MOST_READERS = 8
"""Readers among whom a chunk's reading is cut; more would gain nothing."""

_ROUNDS = 8  # Luby and Rackoff need 4 with an ideal round function; ours is only a good mixer
_PARTS = 2 * MOST_READERS  # pieces of a chunk's reading: enough for all to end together
_SMALLEST_MIX = 64  # blocks in a chunk: 64 one-class blocks keep over 95 % of the label entropy
_GOOD_MIXING = 0.9  # below it is worth a word; 64 blocks to a chunk reach 0.95 and more
_GROWN_BYTES = 256 << 20  # what all chunks in memory may grow to, so that each has so many blocks
_RANKS = (8, 4, 2, 1)  # processes that could share a chunk without reading a storage chunk twice
_TABLE_BITS = 16  # a table of 512 KiB at most, made once in a pass in some ten milliseconds
_BLOCK_BYTES = 1 << 20  # from about 1 MiB on, a random read costs what a sequential one costs


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
            and what follows are ascending when shuffled.
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
        block_size: Neighbouring samples that stay together until they are in a chunk.
        seed: Any number from 0 to 2**64 - 1.
        shuffle: False keeps the order of `samples`.
        drop_remainder: Leaves out a last batch that is not full.
        align: Rows in a storage chunk; blocks start at multiples of it where they can.
    """

    samples: Samples
    batch_size: int
    chunk_size: int
    block_size: int
    seed: int = 0
    shuffle: bool = True
    drop_remainder: bool = False
    align: int = 1

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
        return max(1, self.largest_chunk // self.block_size)

    @property
    def mixes_well(self) -> bool:
        """Whether `mixing` is 0.9 or more; worked out only where it is in doubt."""
        enough = self.blocks_in_chunk >= _SMALLEST_MIX or self.num_chunks == 1
        return self.shuffle and (enough or self.mixing >= _GOOD_MIXING)

    @cached_property
    def mixing(self) -> float:
        """How well a file sorted by class is mixed, compared with a full permutation (1.0).

        It is the expected entropy of the labels in a batch, as a share of what a full permutation
        gives, for ten classes of equal size (`prefetcher.mixing`). Near 0, batches hold one class.
        Dealing can reach slightly more than 1.
        """
        if not self.shuffle:
            return 0.0
        return expected_mixing(len(self.samples), self.batch_size, self.chunk_size, self.block_size)

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
            key = _key(self.seed, pass_number)
            drawn = self._rows(self._drawn(key, start, stop))
            turn = np.argsort(drawn, kind="stable")
            rows, index = drawn[turn], _inverse(turn)
            order = index[_dealt(stop - start, self.batch_size, _key(int(key), chunk))]
        else:
            rows = self._rows(np.arange(start, stop))
            order = np.arange(stop - start)
        planned = ChunkPlan(number, rows, order, self.batch_size, self._parts(rows))
        return planned if lead is None else self._led(planned, lead)

    def _led(self, chunk: ChunkPlan, lead: int) -> ChunkPlan:
        """The same chunk, read in another order."""
        storage_chunks = chunk.rows // self.align
        first = np.isin(storage_chunks, storage_chunks[chunk.slots(lead)])
        turn = np.argsort(~first, kind="stable")
        rows, leading = chunk.rows[turn], int(np.count_nonzero(first))
        order = _inverse(turn)[chunk.order]
        led = replace(chunk, rows=rows, order=order, parts=self._parts(rows[:leading]))
        if lead + 1 == self.batches_in(chunk.number):
            return led
        rest = self._parts(rows[leading:], leading) if leading < len(rows) else ()
        return replace(led, parts=led.parts + rest, leading=leading)

    def _rows(self, samples: NDArray[np.int64]) -> NDArray[np.int64]:
        """File rows of these samples."""
        if isinstance(self.samples, range):
            return self.samples.start + samples * self.samples.step
        return self.samples[samples]

    def _drawn(self, key: np.uint64, start: int, stop: int) -> NDArray[np.int64]:
        """Samples at `start` to `stop` of the pass, blocks in permuted order.

        The blocks lie on a grid that starts at a storage chunk's edge. What the grid leaves over
        at both ends is shorter than a block and comes last, so that every other chunk is full.
        """
        size, head = self.block_size, self._head()
        blocks = (len(self.samples) - head) // size
        at = np.arange(start, stop)
        whole = at[: max(0, blocks * size - start)]
        left_over = at[len(whole) :] - blocks * size
        number, row = np.divmod(whole, size)
        first, last = start // size, min(-(-stop // size), blocks)
        drawn = head + _permuted(blocks, key, np.arange(first, last))[number - first] * size + row
        tail = left_over + blocks * size  # equals head + blocks * size + (left_over - head)
        return np.concatenate([drawn, np.where(left_over < head, left_over, tail)])

    def _head(self) -> int:
        """Samples before the first block that starts at a storage chunk's edge."""
        if self.align == 1 or not isinstance(self.samples, range) or self.samples.step != 1:
            return 0
        return min(-self.samples.start % self.align, len(self.samples))

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


def default_chunk_size(
    samples: int, batch_size: int, block_size: int, row_bytes: int, align: int, chunks: int
) -> int:
    """The chunk size that mixes well: 3200 samples, or more where blocks are long.

    It grows until a chunk has 64 blocks, or all samples, as far as all chunks together fit 256 MiB.
    The size is whole batches, and whole storage chunks where that takes at most an eighth more.

    Args:
        samples: Samples in a pass.
        batch_size: Samples in a batch.
        block_size: Samples in a block.
        row_bytes: Decoded bytes of one sample.
        align: Rows in a storage chunk, 1 when the dataset is contiguous.
        chunks: Chunks that are in memory at once.
    """
    room = _GROWN_BYTES * 8 // 9 // (max(row_bytes, 1) * chunks)
    wanted = max(CHUNK_SIZE, min(_SMALLEST_MIX * block_size, room, samples))
    for ranks in _RANKS:
        unit = math.lcm(batch_size, ranks * align)
        size = -(-wanted // unit) * unit
        if size <= wanted * 9 // 8:
            return size
    return -(-wanted // batch_size) * batch_size


def whole_chunk_size(wanted: int, batch_size: int, align: int) -> int:
    """The largest size up to `wanted` that cuts no batch, and no storage chunk if it can.

    A storage chunk that lies in two chunks is decoded twice in a pass. A size that cuts none is
    taken if it keeps three quarters of `wanted`.
    """
    unit = math.lcm(batch_size, align)
    size = wanted // unit * unit
    return size if 4 * size >= 3 * wanted else max(batch_size, wanted // batch_size * batch_size)


def default_block_size(chunk_size: int, row_bytes: int, align: int) -> int:
    """The block size that mixes well and still reads at full speed.

    About 1 MiB, at least 64 blocks to a chunk, and whole storage chunks. On 320,000 samples
    sorted into 10 classes this keeps over 95 % of a full permutation's batch label entropy; one
    block to a chunk keeps none (docs/shuffling.md has the figures).

    Args:
        chunk_size: Samples in a chunk.
        row_bytes: Decoded bytes of one sample.
        align: Rows in a storage chunk, 1 when the dataset is contiguous.
    """
    wanted = max(1, min(_BLOCK_BYTES // max(row_bytes, 1), chunk_size // _SMALLEST_MIX))
    return align * max(1, wanted // align)


def shuffled(size: int, *key: int) -> NDArray[np.int64]:
    """A permutation of range(size): the same on every machine for the same key."""
    return np.argsort(_mix(np.arange(size, dtype=np.uint64) + _key(*key)))


def runs_of(rows: NDArray[np.int64]) -> list[Run]:
    """Where `rows` rise by one they are a run; at least one row."""
    return _runs(rows, np.append(0, np.flatnonzero(np.diff(rows) != 1) + 1))


def _runs(rows: NDArray[np.int64], starts: NDArray[np.int64]) -> list[Run]:
    """The runs that begin at these indices, the first of which is 0."""
    last = rows[np.append(starts[1:], len(rows)) - 1]
    return list(zip(rows[starts].tolist(), (last + 1).tolist(), strict=True))


def _mix(values: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """The finalizer of splitmix64 (Steele et al., OOPSLA 2014): a bijection of 64-bit words.

    Our own hash and not numpy's generators, whose streams may change between versions: the order
    of the data must not.
    """
    values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return values ^ (values >> np.uint64(31))


@lru_cache(maxsize=64)
def _key(*parts: int) -> np.uint64:
    """One 64-bit key out of several numbers."""
    key = np.zeros(1, np.uint64)
    for part in parts:
        key = _mix((key ^ np.uint64(part)) + np.uint64(0x9E3779B97F4A7C15))
    return np.uint64(key[0])


def _inverse(permutation: NDArray[np.int64]) -> NDArray[np.int64]:
    inverse = np.empty_like(permutation)
    inverse[permutation] = np.arange(len(permutation))
    return inverse


def _dealt(size: int, batch_size: int, key: np.uint64) -> NDArray[np.int64]:
    """A permutation of range(size): which of the drawn samples the batches get, one after another.

    Slot i of every batch gets its samples from stretch i of the drawn ones, in the order of their
    hashes. Stretches differ in length by one at most; the longer ones make a short last batch.
    """
    edges = np.arange(batch_size + 1) * size // batch_size
    starts, lengths = edges[:-1, None], np.diff(edges)[:, None]
    card = np.arange(-(-size // batch_size))
    there = card < lengths
    hashes = _mix((starts + card).astype(np.uint64) + key)
    hashes[~there] = np.iinfo(np.uint64).max  # what is not there comes last
    dealt = starts + np.argsort(hashes, axis=1, kind="stable")
    return dealt.T[there.T]


def _permuted(size: int, key: np.uint64, indices: NDArray[np.int64]) -> NDArray[np.int64]:
    """Where `indices` go in a permutation of range(size) that is never written down.

    A Feistel network over the next power of two; results outside the range are sent through
    again until they fall inside (cycle walking, Black and Rogaway 2002).
    """
    bits = max(2, (size - 1).bit_length())
    values = indices.astype(np.uint64)
    outside = np.arange(len(values))
    while len(outside):
        values[outside] = _sent(values[outside], bits, key)
        outside = outside[values[outside] >= size]
    return values.astype(np.int64)


def _sent(values: NDArray[np.uint64], bits: int, key: np.uint64) -> NDArray[np.uint64]:
    """Through the network; where that has few words, they are all sent once, and looked up."""
    if bits <= _TABLE_BITS:
        return _table(bits, key)[values]
    return _feistel(values, bits, key)


@lru_cache(maxsize=4)
def _table(bits: int, key: np.uint64) -> NDArray[np.uint64]:
    return _feistel(np.arange(1 << bits, dtype=np.uint64), bits, key)


def _feistel(values: NDArray[np.uint64], bits: int, key: np.uint64) -> NDArray[np.uint64]:
    """A permutation of `bits`-bit words; the halves may differ in width by one bit."""
    low, high = bits // 2, bits - bits // 2
    left, right = values >> np.uint64(low), values & np.uint64((1 << low) - 1)
    for turn in range(_ROUNDS):
        width = high if turn % 2 == 0 else low
        hashed = _mix(right ^ _key(int(key), turn))
        left, right = right, left ^ (hashed >> np.uint64(64 - width))
    return (left << np.uint64(low)) | right
