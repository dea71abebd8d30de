"""Shares of a plan: together they are the plan of one process, at every position."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from prefetcher.order.plan import Plan
from prefetcher.order.shard import Shard, in_order
from prefetcher.order.sizes import whole_chunk_size


def batch(plan: Plan, ordinal: int, lead: int | None = None) -> NDArray[np.int64]:
    """The rows that this share reads for a batch, what only fills it up last."""
    number, index = plan.chunk_of(ordinal)
    chunk = plan.chunk(number, lead)
    return chunk.rows[chunk.slots(index)]


def own(plan: Plan, ordinal: int) -> NDArray[np.int64]:
    """The rows of this share of a batch."""
    return batch(plan, ordinal)[: plan.own_rows(plan.place(ordinal).position)]


def shares(plan: Plan, count: int) -> list[Plan]:
    return [replace(plan, shard=Shard(index, count)) for index in range(count)]


@st.composite
def shared(draw: st.DrawFn) -> tuple[Plan, int]:
    """A plan that a number of processes can share, and that number."""
    count = draw(st.integers(1, 5))
    batch_size = count * draw(st.integers(1, 4))
    n = draw(st.integers(1, 150))
    samples: range | NDArray[np.int64] = range(3, 3 + n)
    if draw(st.booleans()):
        samples = np.random.default_rng(n).integers(0, n, size=n)  # copies, in no order
    weights = np.random.default_rng(n).random(n) if draw(st.booleans()) else None
    chunk_size = batch_size * draw(st.integers(1, 6))
    plan = Plan(
        samples,
        batch_size,
        chunk_size,
        block_size=draw(st.integers(1, chunk_size)),
        seed=draw(st.integers(0, 99)),
        shuffle=weights is not None or draw(st.booleans()),
        drop_remainder=n >= batch_size and draw(st.booleans()),
        align=draw(st.integers(1, 12)),
        weights=weights,
    )
    dividing = [rows for rows in range(count, batch_size + 1, count) if batch_size % rows == 0]
    alike = n % batch_size % count == 0
    pad_to = None if plan.drop_remainder else draw(st.sampled_from([None] * alike + dividing))
    return replace(plan, pad_to=pad_to), count


@given(shared(), st.integers(0, 3))
def test_together_they_hold_the_batches_of_one_process(given: tuple[Plan, int], skip: int) -> None:
    plan, count = given
    for ordinal in range(skip * plan.num_batches, (skip + 1) * plan.num_batches):
        together = np.concatenate([own(each, ordinal) for each in shares(plan, count)])
        assert Counter(together.tolist()) == Counter(own(plan, ordinal).tolist())


@given(shared())
def test_each_has_as_many_samples_of_a_batch(given: tuple[Plan, int]) -> None:
    plan, count = given
    for position in range(plan.num_batches):
        samples = plan.batch_rows(position)
        assert sum(each.own_rows(position) for each in shares(plan, count)) == samples
        read = [len(batch(each, position)) for each in shares(plan, count)]
        assert set(read) == {-(-samples // count)}


@given(shared())
def test_what_fills_a_batch_up_makes_the_mean_that_of_its_samples(given: tuple[Plan, int]) -> None:
    plan, count = given
    for position in range(plan.num_batches):
        samples = plan.batch_rows(position)
        fillings = [each.filling(position) for each in shares(plan, count)]
        if plan.pad_to is None:
            assert fillings == [None] * count
            continue
        rows = sum(each.rows for each in fillings if each)
        assert rows % plan.pad_to == 0
        assert samples <= rows < samples + plan.pad_to
        weights = sum(each.own * each.weight for each in fillings if each)
        assert weights == pytest.approx(rows)
        for each, filling in zip(shares(plan, count), fillings, strict=True):
            assert filling is not None
            assert 1 <= len(batch(each, position)) <= filling.rows  # there is a row to repeat


@given(shared(), st.data())
def test_a_batch_that_leads_is_the_same_share(given: tuple[Plan, int], data: st.DataObject) -> None:
    plan, count = given
    each = replace(plan, shard=Shard(data.draw(st.integers(0, count - 1)), count))
    ordinal = data.draw(st.integers(0, 2 * plan.num_batches))
    lead = each.chunk_of(ordinal)[1]
    assert batch(each, ordinal, lead).tolist() == batch(each, ordinal).tolist()


@given(shared())
def test_a_share_has_room_for_its_chunks(given: tuple[Plan, int]) -> None:
    plan, count = given
    for each in shares(plan, count):
        sizes = [len(each.chunk(number).rows) for number in range(each.num_chunks)]
        assert max(sizes) <= each.largest_chunk
        assert each.largest_batch * count < plan.largest_batch + count


@pytest.mark.parametrize("count", [1, 2, 4, 8])
@pytest.mark.parametrize("align", [32, 64, 100])
def test_no_storage_chunk_is_decoded_by_two(count: int, align: int) -> None:
    """But for one at each end of a share, where no chunk size is whole storage chunks."""
    n = 320_000
    size = whole_chunk_size(align * 96, 32, align * 8)
    plan = Plan(range(n), 32, size, align, align=align)
    chunks = 5
    decoded = sum(
        len(np.unique(each.chunk(number).rows // align))
        for each in shares(plan, count)
        for number in range(chunks)
    )
    cut = count * chunks if size % (align * count) else 0
    assert decoded <= chunks * size / align + cut
    for each in shares(plan, count):
        assert len(each.chunk(0).rows) == size // count


@given(shared())
def test_all_tell_alike_what_they_decode_together(given: tuple[Plan, int]) -> None:
    """Also in the order of the file, where one may need more storage chunks than another."""
    plan, count = given
    each = shares(plan, count)
    assert len({share.decodings for share in each}) == 1
    if not plan.shuffle and plan.num_chunks == 1 and not plan.drop_remainder:
        decoded = sum(len(np.unique(share.chunk(0).rows // plan.align)) for share in each)
        if plan.pad_to is None and plan.samples_in_storage_chunk > 1:
            stored = len(plan.samples) / plan.samples_in_storage_chunk
            assert each[0].decodings == pytest.approx(decoded / stored)


@given(st.integers(0, 60), st.integers(1, 5), st.integers(1, 4))
def test_in_order(size: int, count: int, times: int) -> None:
    batch_size = count * times
    positions = [in_order(size, batch_size, Shard(index, count)) for index in range(count)]
    assert sorted(np.concatenate(positions).tolist()) == list(range(size))
    for index, mine in enumerate(positions):
        slots = mine[: size // batch_size * times] % batch_size
        assert set((slots // times).tolist()) <= {index}
