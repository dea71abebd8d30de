"""The seed article's generator: a slice through h5py, shuffled with numpy, cut in batches."""

from __future__ import annotations

from collections.abc import Generator

from bench.systems import Batch, Feed
from bench.systems.chunks import Chunks, cut


def batches(feed: Feed) -> Generator[Batch]:
    """One chunk after the other, in the file's order; nothing happens while a batch is used."""
    chunks = Chunks(feed)
    for _ in range(feed.passes):
        for number in range(len(chunks)):
            yield from cut(*chunks[number], feed.batch_size)
