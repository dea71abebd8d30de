"""What a reader and a batcher do: plain functions over what the engine gives them.

All readers draw their next part from one line, and all batchers their next batch from another. So
readers work on the same chunk until its last part is out, and batchers on the same stretch of
batches. The lines fix the order, the channels keep it, and timing changes nothing.

They end when a channel says so, or when there are no more items for them: a worker may be sent away
between two. An error of theirs takes the place of the item that they were at.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import count
from typing import Any, Generic, TypeVar

from numpy.typing import NDArray

from prefetcher.batch import Batch, Recipe
from prefetcher.clock import Clock, State
from prefetcher.pipeline.channel import Channel, Closed, Idle
from prefetcher.pipeline.chunk import Chunk, Column, RowSource, read_batch
from prefetcher.plan import Part, Plan

T = TypeVar("T")

Task = tuple[Chunk, Part]
"""A chunk, and the part of its reading that one reader does."""


@dataclass(frozen=True, slots=True)
class Shared:
    """What the workers of one run share.

    Attributes:
        first: The batch that the run starts at, counted over all passes.
        chunked: The first batch that comes out of a chunk. One before it is read on its own, by the
            batcher that is to make it and has nothing else to do before there is a chunk.
        where: The file and the datasets, for error messages.
    """

    plan: Plan
    columns: Sequence[Column]
    source: RowSource
    recipe: Recipe
    chunks: Channel[Chunk]
    batches: Channel[Batch]
    first: int
    chunked: int
    where: str

    @property
    def row_bytes(self) -> int:
        """Decoded bytes of one sample."""
        return sum(column.dataset.row_bytes for column in self.columns)

    def tasks(self) -> Iterator[Task]:
        """Every part of every chunk from the first that is wanted on, without end."""
        for number in count(self.plan.chunk_of(self.chunked)[0]):
            chunk = self.chunk(number)
            chunk.expect(self.source)
            for part in chunk.plan.parts:
                yield chunk, part

    def chunk(self, number: int) -> Chunk:
        """A planned chunk that holds no memory yet."""
        return Chunk(self.plan, self.plan.chunk(number), self.columns)

    def batches_wanted(self, number: int) -> int:
        """Batches of a chunk that will be taken: all, but in the first those before `chunked`."""
        chunk, index = self.plan.chunk_of(self.chunked)
        return self.plan.batches_in(number) - (index if number == chunk else 0)

    def alone(self, ordinal: int) -> Batch:
        """A batch read on its own, in the calling thread, whatever the others are at."""
        number, index = self.plan.chunk_of(ordinal)
        chunk = self.chunk(number)
        return self.finished(read_batch(chunk, index, self.columns, self.source), chunk, ordinal)

    def finished(self, arrays: dict[str, NDArray[Any]], chunk: Chunk, ordinal: int) -> Batch:
        """The batch that is handed out, made of the arrays read for it."""
        place = self.plan.place(ordinal)

        def where() -> str:
            rows = chunk.plan.rows[chunk.plan.slots(self.plan.chunk_of(ordinal)[1])]
            shown = ", ".join(map(str, rows[:4])) + (", ..." if len(rows) > 4 else "")
            return (
                f"batch {place.position} of pass {place.pass_number}: rows {shown} of {self.where}"
            )

        return self.recipe.make(arrays, place, where)


class Line(Generic[T]):
    """An iterator that several threads may draw from; each item goes to one of them."""

    def __init__(self, items: Iterator[T]) -> None:
        self._items = items
        self._lock = threading.Lock()

    def __iter__(self) -> Iterator[T]:
        return self

    def __next__(self) -> T:
        with self._lock:
            return next(self._items)


def read_parts(shared: Shared, tasks: Iterable[Task], clock: Clock) -> None:
    """A reader: fills chunks part by part; whoever does a chunk's last part hands it on."""
    clock.begin()
    for chunk, part in tasks:
        try:
            clock.switch(State.WAIT_OUT)
            shared.chunks.reserve(chunk.number)
            clock.switch(State.GATHER)
            done = chunk.read(part, shared.source)
            clock.samples += part.stop - part.start
            clock.bytes += (part.stop - part.start) * shared.row_bytes
            if done:
                shared.chunks.put(chunk.number, chunk, takes=shared.batches_wanted(chunk.number))
                clock.items += 1
        except Closed:
            return
        except BaseException as error:  # noqa: BLE001 - goes to whoever asks for the batch
            shared.chunks.fail(chunk.number, error)
            return
        del chunk, part  # while this thread waits for its next task, their memory is another's


def make_batches(shared: Shared, ordinals: Iterable[int], clock: Clock) -> None:
    """A batcher: takes batch after batch out of the chunks and through the recipe."""
    clock.begin()
    for ordinal in ordinals:
        try:
            clock.switch(State.WAIT_IN)
            samples = shared.plan.batch_rows(shared.plan.place(ordinal).position)
            if ordinal < shared.chunked:
                clock.switch(State.GATHER)
                batch = shared.alone(ordinal)
                clock.bytes += samples * shared.row_bytes
            else:
                number, index = shared.plan.chunk_of(ordinal)
                chunk = shared.chunks.look(number)
                clock.switch(State.GATHER)
                batch = shared.finished(chunk.batch(index), chunk, ordinal)
                del chunk
                shared.chunks.take(number)  # not before: with the last take its memory is another's
            clock.switch(State.WAIT_OUT)
            shared.batches.put(ordinal, batch)
            del batch
        except Idle:
            raise
        except Closed:
            return
        except BaseException as error:  # noqa: BLE001
            shared.batches.fail(ordinal, error)
            return
        clock.items += 1
        clock.samples += samples
