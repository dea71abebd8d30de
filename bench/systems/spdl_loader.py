"""SPDL: a pipeline of threads that read chunks, shuffle them and hand out batches."""

from __future__ import annotations

import random
from collections.abc import Generator, Iterator

from spdl.pipeline import PipelineBuilder

from bench.systems import Batch, Feed
from bench.systems.chunks import Chunks, cut

CHUNKS_AHEAD = 2


def batches(feed: Feed) -> Generator[Batch]:
    """Two chunks are read at a time, and arrive in the order in which they were drawn.

    They are cut by whoever takes them: as a stage of its own that was slower, and held more chunks.
    """
    chunks = Chunks(feed)
    pipeline = (
        PipelineBuilder()
        .add_source(_numbers(len(chunks), feed))
        .pipe(chunks.__getitem__, concurrency=CHUNKS_AHEAD, output_order="input")
        .add_sink(1)
        .build(num_threads=CHUNKS_AHEAD)
    )
    with pipeline.auto_stop():
        for x, y in pipeline.get_iterator():
            yield from cut(x, y, feed.batch_size)


def _numbers(count: int, feed: Feed) -> Iterator[int]:
    dice = random.Random(feed.seed)
    for _ in range(feed.passes):
        yield from dice.sample(range(count), count)
