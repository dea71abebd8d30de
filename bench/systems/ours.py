"""This package, as a user has it: a `PrefetchSequence`, asked for one batch after the other."""

from __future__ import annotations

from collections.abc import Generator
from typing import Any

import prefetcher
from bench.systems import Batch, Feed

REPLAYED = 400
"""Batches that the ceiling keeps, if there are so many: 0.6 GB of pictures. A server's processor
holds 300 MB in its cache, and what is fed from there is fed faster than any memory could."""


def batches(feed: Feed, **settings: Any) -> Generator[Batch]:
    """Batches of a `PrefetchSequence` with these settings, all else as it comes."""
    with sequence(feed, **settings) as opened:
        for _ in range(feed.passes):
            for index in range(len(opened)):
                yield opened[index]


def sequence(feed: Feed, **settings: Any) -> prefetcher.PrefetchSequence:
    """The sequence itself."""
    return prefetcher.PrefetchSequence(
        feed.path,
        x=feed.x,
        y=feed.y,
        rows=None if feed.rows is None else (0, feed.rows),
        batch_size=feed.batch_size,
        chunk_size=feed.chunk_size,
        seed=feed.seed,
        **settings,
    )


def replay(of: prefetcher.PrefetchSequence) -> prefetcher.ceiling.Replay:
    """The same batches, or many of them, from memory."""
    return prefetcher.replay(of, REPLAYED)


# What is imported when it is first used would else be in the first batch's time.
prefetcher.PrefetchSequence  # noqa: B018
