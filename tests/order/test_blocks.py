"""Blocks: each draw is in one, they cut no storage chunk, and copies are spread over several."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from prefetcher.order.blocks import Grid, Room, Uneven, blocks_of, pieces_of
from prefetcher.order.draws import EachOnce, Weighted
from prefetcher.order.permutation import key_of


def decodings(plan: Any, number: int) -> int:
    """Storage chunks that are decoded in a chunk."""
    return len(set((plan.chunk(number).rows // plan.align).tolist()))


@given(
    st.lists(st.integers(0, 300), min_size=1, max_size=200),
    st.integers(1, 40),
    st.integers(1, 30),
    st.integers(1, 5),
    st.data(),
)
def test_each_draw_comes_once_wherever_one_begins(
    rows: list[int], size: int, span: int, copies: int, data: st.DataObject
) -> None:
    blocks, key = Uneven(EachOnce(np.array(rows)), size, span, Room(3, copies)), key_of(1, 2)
    whole = blocks.drawn(key, 0, len(rows))
    assert sorted(whole.tolist()) == list(range(len(rows)))
    first, step, ends = blocks._table(key)
    counts = np.diff(ends, prepend=0)
    for at, by, count in zip(first.tolist(), step.tolist(), counts.tolist(), strict=True):
        held = np.sort(np.array(rows))[at + by * np.arange(count)]
        assert np.unique(held, return_counts=True)[1].max() <= copies
    start = data.draw(st.integers(0, len(rows) - 1))
    stop = data.draw(st.integers(start + 1, len(rows)))
    assert blocks.drawn(key, start, stop).tolist() == whole[start:stop].tolist()


def pieces(drawn: NDArray[np.int64], rows: NDArray[np.int64], align: int) -> int:
    """Stretches of a pass that lie in one storage chunk each."""
    return 1 + int(np.count_nonzero(np.diff(rows[drawn] // align)))


@pytest.mark.parametrize("share", [0.02, 0.3, 0.8])
def test_blocks_of_a_mask_cut_no_storage_chunk(share: float) -> None:
    rows = np.flatnonzero(np.random.default_rng(0).random(20_000) < share)
    in_storage_chunk = -(-len(rows) // len(set(rows // 32)))
    blocks = blocks_of(rows, EachOnce(rows), max(20, in_storage_chunk), 32,
                       in_storage_chunk=in_storage_chunk, room=Room(9, 9),
                       weighted=False)  # fmt: skip
    drawn = blocks.drawn(key_of(0), 0, len(rows))
    assert pieces(drawn, rows, 32) == len(set(rows // 32))
    assert 20 <= blocks.usual_size <= 2 * 32


def test_a_dense_and_a_sparse_half_cut_none_either() -> None:
    rng = np.random.default_rng(0)
    rows = np.flatnonzero(rng.random(20_000) < np.repeat([1.0, 0.05], 10_000))
    blocks = Uneven(EachOnce(rows), 25, 32, Room(9, 9))
    assert pieces(blocks.drawn(key_of(0), 0, len(rows)), rows, 32) == len(set(rows // 32))


def test_a_storage_chunk_full_of_copies_is_in_several_blocks_of_distinct_rows() -> None:
    """Sorted by class, the rare class would else be in a few blocks, each a chunk full of it."""
    weights = np.where(np.arange(6400) < 64, 50.0, 0.5)
    draws = Weighted(range(6400), weights)
    blocks, key = Uneven(draws, 32, 32, Room(2, 100)), key_of(0)
    drawn = blocks.drawn(key, 0, draws.count)
    rare = draws.rows(key, drawn) < 64
    changes = int(np.count_nonzero(np.diff(rare)))
    assert rare.sum() > 3000
    assert changes > 60, "the rare rows come in many places of the pass"
    assert blocks.usual_size <= 48


def test_asked_to_be_smaller_than_a_storage_chunk_they_are() -> None:
    rows = np.arange(0, 1000, 2)
    for size, kind in ((4, Grid), (16, Uneven)):
        blocks = blocks_of(rows, EachOnce(rows), size, 32,
                           in_storage_chunk=16, room=Room(9, 9), weighted=False)  # fmt: skip
        assert isinstance(blocks, kind)


@given(st.integers(0, 100), st.integers(1, 200), st.integers(1, 9), st.integers(1, 40))
def test_the_grid_of_a_stride_lies_at_edges_of_storage_chunks(
    start: int, count: int, step: int, align: int
) -> None:
    samples = range(start, start + count * step, step)
    for each in (samples, samples[::-1]):
        draws = EachOnce(each)
        even = align // np.gcd(align, step) if step < align else 1
        blocks = blocks_of(each, draws, int(even), align,
                           in_storage_chunk=int(even), room=Room(9, 9), weighted=False)  # fmt: skip
        rows = draws.rows(np.uint64(0), np.arange(count))
        drawn = blocks.drawn(key_of(0), 0, count)
        assert sorted(drawn.tolist()) == list(range(count))
        # What the grid leaves over is two pieces that lie side by side at the end, if at all.
        assert pieces(drawn, rows, align) <= len(set(rows // align)) + 1


FILES = st.lists(st.integers(0, 120), min_size=2, max_size=40).filter(any)


@given(FILES, st.integers(1, 60), st.integers(1, 20))
def test_files_are_cut_into_pieces_of_whole_storage_chunks(
    rows: list[int], size: int, align: int
) -> None:
    ends = np.cumsum(rows)
    pieces = pieces_of(ends, size, align)
    assert pieces is not None
    assert (np.diff(pieces) > 0).all()
    assert pieces[-1] == ends[-1]
    for end, count in zip(ends.tolist(), rows, strict=True):
        own = pieces[(pieces >= end - count) & (pieces < end)] - (end - count)
        assert not (own % align).any()
        if count:
            assert own[0] == 0
        lengths = np.diff(own)
        assert (lengths * 4 >= 3 * size).all()
        assert len(set(lengths.tolist())) <= 1


def test_one_file_and_files_of_too_many_pieces_are_not_cut() -> None:
    assert pieces_of(np.array([100]), 10, 1) is None
    assert pieces_of(np.array([10**9, 2 * 10**9]), 10, 1) is None
    many = pieces_of(np.arange(1, 10**6 + 1), 10, 1)  # as many as there are files
    assert many is not None
    assert len(many) == 10**6 + 1


@given(FILES, st.integers(2, 60), st.integers(1, 20), st.integers(0, 2**32))
def test_no_block_crosses_from_one_file_into_the_next(
    rows: list[int], size: int, align: int, seed: int
) -> None:
    """Unless the files are smaller: then a block has whole ones."""
    ends, n = np.cumsum(rows), sum(rows)
    pieces = pieces_of(ends, size, align)
    draws = EachOnce(range(n))
    blocks = blocks_of(range(n), draws, size, align, in_storage_chunk=align, room=Room(3, 3),
                       weighted=False, pieces=pieces)  # fmt: skip
    assert isinstance(blocks, Uneven)
    key = key_of(seed)
    assert sorted(blocks.drawn(key, 0, n).tolist()) == list(range(n))
    first, _, block_ends = blocks._table(key)
    edges = set(pieces.tolist() if pieces is not None else ())
    for at, count in zip(first.tolist(), np.diff(block_ends, prepend=0).tolist(), strict=True):
        assert {at, at + count} <= edges
