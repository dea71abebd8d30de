"""What a snapshot of the counters says when it is printed."""

from __future__ import annotations

from dataclasses import replace

import pytest
from helpers.watched import NO_STAGE, NO_WORK, stats_of

from prefetcher.pipeline.stats import QueueStats


def test_a_snapshot_prints_in_four_lines() -> None:
    stage = replace(NO_STAGE, workers=2, had_s=20.0, wait_out_s=15.0)
    stats = stats_of(
        running_s=10.0,
        pass_number=1,
        position=29,
        batches=1234,
        samples=39_488,
        bytes=1_234_567_890,
        first_batch_s=0.25,
        stall_s=0.5,
        replays=2,
        restarts=1,
        read=replace(stage, work=replace(NO_WORK, read_s=5.0)),
        chunk_queue=QueueStats(2, 1, 0, 0.0, 0.0),
        buffer_bytes=170_000_000,
        buffer_peak_bytes=180_500_000,
    )
    assert str(stats).splitlines() == [
        "1,234 batches, 39,488 samples, 1,234.6 MB in 10.0 s; last: pass 1, position 29",
        "waited 0.50 s for batches (5.0 %); first batch after 0.25 s; 2 read again, 1 restarts",
        (
            "readers 2 (busy 25 %, no input 0 %, no room 75 %); "
            "batchers 1 (busy 0 %, no input 0 %, no room 0 %)"
        ),
        "queues: 1 of 2 chunks, 0 of 16 batches; buffers: 170.0 MB, at most 180.5 MB",
    ]


def test_before_the_first_request() -> None:
    assert "first batch none yet" in str(stats_of())


@pytest.mark.parametrize("part", ["stall_s", "buffer_peak_bytes", "put_wait_s"])
def test_all_figures_are_in_the_representation(part: str) -> None:
    assert f"{part}=" in repr(stats_of())
