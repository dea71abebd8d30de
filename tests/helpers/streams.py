"""Streams over small files, what they give, and a source that fails."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from helpers.files import ids_of
from prefetcher.batch import Made, Recipe
from prefetcher.columns.column import Column, Span, View
from prefetcher.config import Settings
from prefetcher.errors import ReadError
from prefetcher.hdf5.places import Wanted
from prefetcher.hdf5.sharded import ShardedSource
from prefetcher.hdf5.shards import describe_all
from prefetcher.needs import needs_of
from prefetcher.order.plan import Plan
from prefetcher.order.runs import Run
from prefetcher.pipeline.stream import Feed, Stream

N, BATCH, CHUNK = 203, 5, 20

AUTO_MOST = 4


@contextmanager
def streaming(path: Path, *, idle: float = 60.0, **settings: Any) -> Iterator[Stream]:
    asked = Settings(path, batch_size=BATCH, chunk_size=CHUNK, **settings)
    shards = describe_all(path)
    views = {name: View(name, Span()) for name in ("x", "y")}
    made: dict[str | Column, Made] = {name: (view, np.asarray) for name, view in views.items()}
    recipe = Recipe(("x", "y"), made, asked.transform, asked.seed)
    plan = Plan(range(N), BATCH, CHUNK, 3, asked.seed, asked.shuffle)
    needs, _ = needs_of(shards, views.values())
    feed = Feed(asked, shards, plan, recipe, needs, idle=idle, auto_most=AUTO_MOST)
    stream = Stream(feed, None, {})
    try:
        yield stream
    finally:
        stream.close()


def ids(stream: Stream, *ordinals: int) -> list[list[int]]:
    places = [stream._feed.plan.place(ordinal) for ordinal in ordinals]
    return [ids_of(stream.get(place)[0]) for place in places]


def planned(stream: Stream, ordinal: int) -> list[int]:
    plan = stream._feed.plan
    number, index = plan.chunk_of(ordinal)
    chunk = plan.chunk(number)
    return [int(i) for i in chunk.rows[chunk.order[index * BATCH : (index + 1) * BATCH]]]


class Failing:
    """A source that breaks at one row, as often as it is told to."""

    row = -1
    times = 0

    def __init__(self, *args: Any, **keywords: Any) -> None:
        self._source = ShardedSource(*args, **keywords)

    def expect(self, name: str, runs: Sequence[Run]) -> None:
        self._source.expect(name, runs)

    def read_all(self, wanted: Sequence[Wanted]) -> None:
        runs = [run for each in wanted for run in each.runs]
        if any(start <= Failing.row < stop for start, stop in runs) and Failing.times > 0:
            Failing.times -= 1
            raise ReadError(f"broken at row {Failing.row}")
        self._source.read_all(wanted)

    def close(self) -> None:
        self._source.close()
