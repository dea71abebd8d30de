"""The obvious way to read ahead: two threads that read chunks, and a `queue.Queue` of batches."""

from __future__ import annotations

import queue
import threading
from collections.abc import Generator

from bench.systems import Batch, Feed
from bench.systems.chunks import Chunks, cut

READY = 100
"""Batches kept ready: a chunk, as this package has."""


def batches(feed: Feed) -> Generator[Batch]:
    """Each thread reads every other chunk; a pass ends when both are done."""
    chunks = Chunks(feed)
    for _ in range(feed.passes):
        ready: queue.Queue[Batch | None] = queue.Queue(READY)
        for first in (0, 1):
            arguments = (chunks, range(first, len(chunks), 2), feed.batch_size, ready)
            threading.Thread(target=_produce, args=arguments, daemon=True).start()
        for _ in (0, 1):
            yield from iter(ready.get, None)


def _produce(
    chunks: Chunks, numbers: range, batch_size: int, ready: queue.Queue[Batch | None]
) -> None:
    for number in numbers:
        for batch in cut(*chunks[number], batch_size):
            ready.put(batch)
    ready.put(None)
