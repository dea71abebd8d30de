"""Permutations: every index once, the same for a key in every version."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from prefetcher.order.permutation import dealt, dealt_apart, permuted, spread, uniform


@pytest.mark.parametrize("size", [9, 600, 65_536])
def test_few_blocks_are_looked_up_and_many_computed_to_the_same_order(
    monkeypatch: pytest.MonkeyPatch, size: int
) -> None:
    looked_up = permuted(size, np.uint64(7), np.arange(size))
    monkeypatch.setattr("prefetcher.order.permutation._TABLE_BITS", 0)
    assert permuted(size, np.uint64(7), np.arange(size)).tolist() == looked_up.tolist()


@given(st.integers(1, 500), st.integers(1, 40), st.integers(0, 2**64 - 1))
def test_a_chunk_is_dealt_like_cards(size: int, batch_size: int, key: int) -> None:
    """Every batch, the short last one too, has at most one sample of each stretch."""
    order = dealt(size, batch_size, np.uint64(key))
    stretches = ((np.arange(size) + 1) * batch_size - 1) // size
    assert sorted(order) == list(range(size))
    for start in range(0, size, batch_size):
        batch = stretches[order[start : start + batch_size]]
        assert (np.diff(batch) > 0).all()


@given(st.integers(1, 16), st.integers(1, 20), st.integers(1, 12), st.integers(0, 2**64 - 1))
def test_copies_are_dealt_to_different_batches(
    batch_size: int, batches: int, kinds: int, key: int
) -> None:
    """Each batch has as many copies of a value as any other, to within one."""
    drawn = np.random.default_rng(key).integers(0, kinds, size=batch_size * batches)
    deal = dealt_apart(drawn, batch_size, np.uint64(key))
    assert sorted(deal.tolist()) == list(range(len(drawn)))
    of_batch = drawn[deal].reshape(batches, batch_size)
    held = np.stack([np.bincount(batch, minlength=kinds) for batch in of_batch])
    assert (np.ptp(held, axis=0) <= 1).all()


@given(st.integers(1, 300), st.integers(1, 16), st.integers(0, 2**64 - 1))
def test_where_there_are_no_copies_dealing_apart_is_dealing(
    size: int, batch_size: int, key: int
) -> None:
    values = np.arange(size)[::-1]
    apart = dealt_apart(values, batch_size, np.uint64(key))
    assert apart.tolist() == dealt(size, batch_size, np.uint64(key)).tolist()


def test_copies_on_both_sides_of_an_edge_take_any_of_the_batches_left() -> None:
    """Three copies in ten batches, cut by an edge: the last is in each of them as often."""
    values = np.array([*range(100, 108), 1, 1, 1, *range(200, 209)])
    found = [
        int(np.flatnonzero(dealt_apart(values, 2, np.uint64(key)) == 10)[0]) // 2
        for key in range(3000)
    ]
    counts = np.bincount(found, minlength=10)
    assert ((counts - 300) ** 2 / 300).sum() < 27.9  # 9 degrees of freedom: once in 1,000 trials


@given(st.integers(0, 2**62), st.integers(0, 2**64 - 1))
def test_uniform_numbers_are_below_one(first: int, key: int) -> None:
    found = uniform(np.arange(first, first + 1000), np.uint64(key))
    assert (found >= 0).all()
    assert (found < 1).all()
    assert 0.4 < found.mean() < 0.6


@given(
    st.lists(st.tuples(st.integers(0, 3), st.integers(1, 9)), min_size=1, max_size=30),
    st.floats(0.2, 12),
    st.integers(0, 2**64 - 1),
)
def test_values_are_spread_over_the_parts(
    kinds: list[tuple[int, int]], parts: float, key: int
) -> None:
    """A stretch of a whole part has as many of each value as its share, to within two."""
    groups = np.repeat(np.arange(len(kinds)), [count for _, count in kinds])
    values = np.array([float(value) for value, _ in kinds])[groups]
    order = spread(values, groups, parts, np.uint64(key))
    assert sorted(order.tolist()) == list(range(len(values)))
    if parts == int(parts) and len(values) % int(parts) == 0:
        for value in range(4):
            held = (values[order] == value).reshape(int(parts), -1).sum(axis=1)
            assert np.ptp(held) <= 1 + (0 < value < 3)


@pytest.mark.parametrize("parts", [1, 4, 7])
def test_a_group_goes_to_different_parts(parts: int) -> None:
    groups = np.repeat(np.arange(8), parts)
    values = np.random.default_rng(0).permutation(8).astype(float)[groups]
    for key in range(20):
        order = spread(values, groups, parts, np.uint64(key))
        for part in groups[order].reshape(parts, -1):
            assert len(set(part.tolist())) == 8


def test_where_values_are_alike_any_place_is_as_likely() -> None:
    first = [
        int(spread(np.ones(12), np.arange(12), 3.5, np.uint64(key * 1_000_003))[0])
        for key in range(6000)
    ]
    counts = np.bincount(first, minlength=12)
    assert ((counts - 500) ** 2 / 500).sum() < 31.3  # 11 degrees of freedom: once in 1,000 trials
