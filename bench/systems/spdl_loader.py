"""SPDL: a pipeline of threads that read chunks, shuffle them and hand out batches."""

from __future__ import annotations

import random
from collections.abc import Generator, Iterator

from spdl.pipeline import PipelineBuilder

from bench.systems import Batch, Feed
from bench.systems.chunks import Chunks, cut

READY = 100
"""Batches kept ready: a chunk, as this package has."""


def batches(feed: Feed) -> Generator[Batch]:
    """Two chunks are read at a time; they arrive in the order in which they were drawn."""
    chunks = Chunks(feed)

    def parts(chunk: Batch) -> Iterator[Batch]:
        yield from cut(*chunk, feed.batch_size)

    pipeline = (
        PipelineBuilder()
        .add_source(_numbers(len(chunks), feed))
        .pipe(chunks.__getitem__, concurrency=2, output_order="input")
        .pipe(parts)
        .add_sink(READY)
        .build(num_threads=3)
    )
    with pipeline.auto_stop():
        yield from pipeline.get_iterator()


def _numbers(count: int, feed: Feed) -> Iterator[int]:
    dice = random.Random(feed.seed)
    for _ in range(feed.passes):
        yield from dice.sample(range(count), count)
