"""The lane of rows of variable length: each batch has its rows, each row is read once."""

from __future__ import annotations

import numpy as np
import pytest
from helpers.numbered import NumberedRows, need
from hypothesis import given
from hypothesis import strategies as st

from prefetcher.columns.column import Span, View
from prefetcher.columns.ragged import OBJECT_BYTES
from prefetcher.columns.rowmap import RowMap
from prefetcher.hdf5.dataset import Dataset
from prefetcher.order.plan import Plan
from prefetcher.pipeline.buffers import Meter
from prefetcher.pipeline.chunk import Chunk, read_batch
from prefetcher.pipeline.lane import Need
from prefetcher.pipeline.lanes import lanes
from prefetcher.pipeline.objects import ObjectLane

RAGGED = np.dtype(object, metadata={"vlen": np.dtype(np.int32)})
ROWS = 10**6


def dataset(heap_bytes: int = 0) -> Dataset:
    return Dataset(
        name="ragged", shape=(ROWS,), dtype=RAGGED, layout="chunked", storage_chunk=(500,),
        filters=(), stored_bytes=0, way="general", why="", heap_bytes=heap_bytes,
    )  # fmt: skip


def needed(*views: View) -> Need:
    return Need(dataset(), views, RowMap([ROWS], [ROWS], [0], views[0].span.stride))


@given(
    st.integers(1, 60), st.integers(1, 7), st.integers(1, 4), st.booleans(),
    st.sampled_from([Span(), Span(2), Span(0, 3), Span(1, 2, 2)]), st.integers(0, 2**32),
)  # fmt: skip
def test_every_batch_holds_the_rows_of_its_plan(
    n: int, batch_size: int, batches: int, shuffle: bool, span: Span, seed: int
) -> None:
    plan = Plan(range(5, 5 + n), batch_size, batch_size * batches, 1, seed, shuffle)
    view = View("ragged", span)
    used = lanes([needed(view)], {}, plan, 2, 4, Meter())
    assert [type(lane) for lane in used] == [ObjectLane]
    for number in range(plan.num_chunks):
        source = NumberedRows()
        chunk = Chunk(plan.chunk(number), used, plan.batches_in(number))
        for part in chunk.plan.parts:
            chunk.read(part, source)
        rows = [row for run in source.reads for row in range(*run)]
        assert len(rows) == len(set(rows))
        for index in range(plan.batches_in(number)):
            alone = read_batch(chunk.plan, index, used, NumberedRows())[view]
            found = chunk.batch(index)[view]
            samples = chunk.plan.rows[chunk.plan.slots(index)]
            first = samples * span.stride + span.ahead
            wanted = first if span.length is None else first[:, None] + np.arange(span.length)
            assert found.shape == alone.shape == wanted.shape
            for row, other, expected in zip(found.flat, alone.flat, wanted.flat, strict=True):
                assert len(row) == len(other) == expected % 7
                assert (row == expected).all()
                assert (other == expected).all()


def test_all_columns_say_how_many_elements_are_read() -> None:
    short, long, whole = (View("ragged", Span(), most=most) for most in (4, 9, None))
    assert needed(short).most == 4
    assert needed(short, long).most == 9
    assert needed(short, whole).most is None
    assert needed(long).row_bytes == OBJECT_BYTES + 9 * 4


def test_what_is_not_cut_counts_as_all_of_the_file() -> None:
    of_file = need(dataset(heap_bytes=50 * ROWS))
    assert of_file.row_bytes == OBJECT_BYTES + 50


@pytest.mark.parametrize("samples", [1, 8, 100])
def test_memory_is_counted_for_the_rows_that_there_are(samples: int) -> None:
    plan = Plan(range(samples), batch_size=8, chunk_size=32, block_size=32)
    (lane,) = lanes([needed(View("ragged", Span(), most=10))], {}, plan, 2, 3, Meter())
    each = OBJECT_BYTES + 40
    held = 2 * plan.largest_chunk + 4 * plan.largest_batch
    assert lane.most_bytes(2, 3) == held * each
