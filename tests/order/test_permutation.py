"""Permutations: every index once, the same for a key in every version."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from prefetcher.order.permutation import dealt, permuted


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
