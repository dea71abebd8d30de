"""The pipeline on paper: cases worked out by hand, and what holds for all of them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prefetcher.tuning.flow import Flow

times = st.floats(0.001, 10)
flows = st.builds(
    Flow,
    chunk_s=st.lists(times, min_size=1, max_size=5),
    batch_s=st.floats(0, 1),
    step_s=st.floats(0.001, 1),
    batches=st.integers(1, 12),
)
depths = st.integers(1, 8)


@pytest.mark.parametrize(
    ("flow", "queues", "share"),
    [
        # Reading is as fast as training: one chunk is read while the other is emptied.
        (Flow([1.0], 0.0, 0.1, 10), (2, 1), 0.0),
        # With room for one chunk, its last batch is out when seven are trained: one is in the
        # queue, one with the batcher, one in training. These three steps cover some of the reading.
        (Flow([1.0], 0.0, 0.1, 10), (1, 1), 0.7 * 29 / (0.7 * 29 + 30)),
        (Flow([1.0], 0.0, 0.1, 10), (1, 5), 0.3 * 29 / (0.3 * 29 + 30)),
        # Batchers that take as long as a step are no hindrance, slower ones are.
        (Flow([0.001], 0.1, 0.1, 10), (2, 2), 0.0),
        (Flow([0.001], 0.2, 0.1, 10), (2, 2), 0.1 * 299 / (0.2 * 299 + 0.1)),
    ],
)
def test_by_hand(flow: Flow, queues: tuple[int, int], share: float) -> None:
    assert flow.stall_share(*queues) == pytest.approx(share, abs=1e-3)


@given(flows, depths, depths)
def test_more_room_never_makes_training_wait_longer(flow: Flow, chunks: int, batches: int) -> None:
    here = flow.stall_share(chunks, batches) + 1e-9
    assert flow.stall_share(chunks + 1, batches) <= here
    assert flow.stall_share(chunks, batches + 1) <= here


@given(flows, depths, depths)
def test_no_queue_makes_reading_faster(flow: Flow, chunks: int, batches: int) -> None:
    share = flow.stall_share(chunks, batches)
    assert 0 <= share < 1
    trained_s = 30 * flow.batches * flow.step_s
    read_s = sum(flow.chunk_s[i % len(flow.chunk_s)] for i in range(1, 30))
    assert trained_s / (1 - share) >= read_s * (1 - 1e-9)
