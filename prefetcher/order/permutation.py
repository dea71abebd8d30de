"""Permutations that depend on a key alone: of blocks, and of the samples of a chunk. Pure.

The hash is our own and not one of numpy's generators, whose streams may change between versions:
the order of the data must not.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from prefetcher.order.shard import WHOLE, Shard

_ROUNDS = 8  # Luby and Rackoff need 4 with an ideal round function; ours is only a good mixer
_TABLE_BITS = 16  # a table of 512 KiB at most, made once in a pass in some ten milliseconds


def shuffled(size: int, *key: int) -> NDArray[np.int64]:
    """A permutation of range(size): the same on every machine for the same key."""
    return np.argsort(_mix(np.arange(size, dtype=np.uint64) + key_of(*key)))


def _mix(values: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """The finalizer of splitmix64 (Steele et al., OOPSLA 2014): a bijection of 64-bit words."""
    values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return values ^ (values >> np.uint64(31))


def uniform(numbers: NDArray[np.int64], key: np.uint64) -> NDArray[np.float64]:
    """A number from 0 to 1, without 1, for each of these numbers and this key."""
    hashed: NDArray[np.uint64] = _mix(numbers.astype(np.uint64) + key) >> np.uint64(11)
    return hashed.astype(np.float64) * 2.0**-53


@lru_cache(maxsize=64)
def key_of(*parts: int) -> np.uint64:
    """One 64-bit key out of several numbers."""
    key = np.zeros(1, np.uint64)
    for part in parts:
        key = _mix((key ^ np.uint64(part)) + np.uint64(0x9E3779B97F4A7C15))
    return np.uint64(key[0])


def inverse(permutation: NDArray[np.int64]) -> NDArray[np.int64]:
    """The permutation that undoes this one: where each of its numbers stands."""
    places = np.empty_like(permutation)
    places[permutation] = np.arange(len(permutation))
    return places


def dealt(size: int, batch_size: int, key: np.uint64, shard: Shard = WHOLE) -> NDArray[np.int64]:
    """A permutation of range(size): which of the drawn samples the batches get, one after another.

    Slot i of every batch gets its samples from stretch i of the drawn ones, in the order of their
    hashes. Stretches differ in length by one at most; the longer ones make a short last batch.

    Args:
        size: How many samples were drawn.
        batch_size: Slots in a batch.
        key: What the hashes depend on, beside the samples' numbers.
        shard: The slots that are dealt to: a share of the permutation, which is that stretch of
            the drawn samples in another order.
    """
    first, last = shard.of(batch_size)
    cards, there = _deal(_edges(size, batch_size)[first : last + 1], key)
    return cards.T[there.T]


def dealt_apart(
    values: NDArray[np.int64], batch_size: int, key: np.uint64, shard: Shard = WHOLE
) -> NDArray[np.int64]:
    """As `dealt`, with copies of a value in different batches: none has two before all have one.

    Copies are put beside each other first. Those in one stretch go to different batches anyway.
    Where they go on in the next stretch, they go to the batches that have the fewest of them.

    Args:
        values: What each of the samples is, in the order in which they were drawn.
        batch_size: As in `dealt`.
        key: As in `dealt`.
        shard: As in `dealt`; the share is no stretch of the drawn samples here.
    """
    _, found, of_value = np.unique(values, return_index=True, return_inverse=True)
    beside = np.argsort(found[of_value], kind="stable")
    edges = _edges(len(values), batch_size)
    cards, there = _deal(edges, key)
    _part_copies(values[beside], edges, cards, there)
    first, last = shard.of(batch_size)
    return beside[cards[first:last].T[there[first:last].T]]


def _edges(size: int, batch_size: int) -> NDArray[np.int64]:
    """Where each stretch begins, and where the last ends."""
    return np.arange(batch_size + 1) * size // batch_size


def _deal(edges: NDArray[np.int64], key: np.uint64) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """What each stretch gives to each batch, (stretches, batches), and whether there is any."""
    starts, lengths = edges[:-1, None], np.diff(edges)[:, None]
    card = np.arange(lengths.max())
    there = card < lengths
    hashes = _mix((starts + card).astype(np.uint64) + key)
    hashes[~there] = np.iinfo(np.uint64).max  # what is not there comes last
    return starts + np.argsort(hashes, axis=1, kind="stable"), there


def _part_copies(
    values: NDArray[np.int64],
    edges: NDArray[np.int64],
    cards: NDArray[np.int64],
    there: NDArray[np.bool_],
) -> None:
    """Changes `cards` so that copies on both sides of an edge go to different batches."""
    inner = edges[1:-1]
    cut = np.flatnonzero((inner > 0) & (values[inner] == values[inner - 1])) + 1
    held, of = np.zeros(cards.shape[1], np.int64), None
    for stretch in cut.tolist():
        before = cards[stretch - 1][there[stretch - 1]]
        here = cards[stretch][: np.count_nonzero(there[stretch])]
        value = values[edges[stretch]]
        if value != of:
            held, of = np.zeros_like(held), value
        held[: len(before)] += values[before] == value
        copies = values[here] == value
        fewest = np.lexsort((here, held[: len(here)]))[: np.count_nonzero(copies)]
        taking = np.zeros_like(copies)
        taking[fewest] = True
        giving, taking = copies & ~taking, taking & ~copies
        here[giving], here[taking] = here[taking], here[giving]


def spread(
    values: NDArray[np.float64], groups: NDArray[np.int64], parts: float, key: np.uint64
) -> NDArray[np.int64]:
    """A permutation in which each of `parts` parts has about the same values.

    They are put in order of their values and dealt out in rounds, one to each part. So those of one
    group, which have one value, go to different parts while there are as many.

    Args:
        values: What is to be spread, (n,).
        groups: The group of each, ascending (n,).
        parts: How many; a last part that is smaller counts by its size.
        key: The permutation is at random but for that.
    """
    numbers = np.arange(len(values))
    hashes = _mix(numbers.astype(np.uint64) + key)
    line = np.lexsort((hashes[np.searchsorted(groups, groups)], values))
    turns = (numbers / parts).astype(np.int64)
    turn = np.lexsort((hashes[line], turns))
    part = numbers - np.searchsorted(turns, turns)
    last = int(
        np.searchsorted(turns, turns[-1])
    )  # too few for all parts: not the first ones always
    part[last:] = (part[last:] * parts / (len(part) - last)).astype(np.int64)
    return line[turn][np.lexsort((_mix(hashes[line[turn]]), part))]


def permuted(size: int, key: np.uint64, indices: NDArray[np.int64]) -> NDArray[np.int64]:
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
        hashed = _mix(right ^ key_of(int(key), turn))
        left, right = right, left ^ (hashed >> np.uint64(64 - width))
    return (left << np.uint64(low)) | right
