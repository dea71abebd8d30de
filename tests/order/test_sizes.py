"""The sizes of chunks and blocks that a file gets where the user wrote none."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prefetcher.order.plan import Plan
from prefetcher.order.sizes import (
    CHUNK_SIZE,
    default_block_size,
    default_chunk_size,
    whole_chunk_size,
)

MOST_BYTES = 256 << 20
"""What chunks may grow to, all in memory together."""


@pytest.mark.parametrize(
    ("row_bytes", "align", "expected"),
    [
        (49_152, 1, 21),  # 1 MiB
        (784, 1, 50),  # at least 64 blocks to a chunk
        (49_152, 32, 32),  # a whole storage chunk, though it is more than 1 MiB
        (784, 32, 32),
        (784, 20, 40),
        (4, 1250, 1250),
    ],
)
def test_the_default_block(row_bytes: int, align: int, expected: int) -> None:
    assert default_block_size(3200, row_bytes, align) == expected


@st.composite
def stored(draw: st.DrawFn) -> tuple[int, int, int, int, int]:
    """Samples, batch size, rows of a storage chunk, bytes of a row, chunks in memory."""
    return (
        draw(st.integers(1, 10**6)),
        draw(st.integers(1, 512)),
        draw(st.one_of(st.just(1), st.integers(1, 5000))),
        draw(st.integers(1, 10**6)),
        draw(st.integers(1, 4)),
    )


def default_plan(samples: int, batch_size: int, align: int, row_bytes: int, chunks: int) -> Plan:
    """The plan of a sequence that was told none of the sizes."""
    block_size = default_block_size(CHUNK_SIZE, row_bytes, align)
    chunk_size = default_chunk_size(samples, batch_size, block_size, row_bytes, align, chunks)
    return Plan(range(samples), batch_size, chunk_size, block_size, align=align)


@given(stored())
def test_a_chunk_grows_until_it_mixes_or_the_memory_is_full(
    file: tuple[int, int, int, int, int],
) -> None:
    samples, batch_size, _align, row_bytes, chunks = file
    plan = default_plan(*file)
    size, block_size = plan.chunk_size, plan.block_size
    assert size >= CHUNK_SIZE
    assert size % batch_size == 0
    fits = 64 * block_size * row_bytes * chunks <= MOST_BYTES * 8 // 9
    if fits:
        assert size >= min(64 * block_size, samples)
    at_least = max(CHUNK_SIZE, batch_size) * 9 // 8 + batch_size
    assert size <= at_least or size * row_bytes * chunks <= MOST_BYTES + batch_size * row_bytes


@given(stored())
def test_no_storage_chunk_lies_in_two_chunks_where_that_costs_little(
    file: tuple[int, int, int, int, int],
) -> None:
    _, batch_size, align, *_ = file
    plan = default_plan(*file)
    if math.lcm(batch_size, align) * 8 <= CHUNK_SIZE:
        assert plan.chunk_size % align == 0
    if plan.chunk_size % align == 0 and plan.num_samples < 20_000:
        numbers = range(plan.num_chunks)
        chunks = [set((plan.chunk(number).rows // align).tolist()) for number in numbers]
        assert sum(map(len, chunks)) == len(set().union(*chunks))


@pytest.mark.parametrize(
    ("wanted", "batch_size", "align", "expected"),
    [
        (3200, 32, 1, 3200),
        (3200, 32, 32, 3200),
        (1000, 32, 100, 800),  # 992 would cut a storage chunk
        (3200, 256, 100, 3072),  # 6400 rows have whole ones: too far away
        (10, 32, 1, 32),
    ],
)
def test_a_chunk_size_that_the_user_wrote_is_rounded_down(
    wanted: int, batch_size: int, align: int, expected: int
) -> None:
    assert whole_chunk_size(wanted, batch_size, align) == expected
