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

from prefetcher.batch import Batch, Recipe
from prefetcher.clock import Clock, State
from prefetcher.order.chunk import ChunkPlan, Part
from prefetcher.order.plan import Plan
from prefetcher.padding import padded
from prefetcher.pipeline.channel import Channel, Closed, Idle
from prefetcher.pipeline.chunk import Chunk, read_batch
from prefetcher.pipeline.lane import Arrays, Lane, RowSource

T = TypeVar("T")

Task = tuple[Chunk, Part]
"""A chunk, and the part of its reading that one reader does."""


@dataclass(frozen=True, slots=True)
class Shared:
    """What the workers of one run share.

    Attributes:
        lead: Takes the run's first chunk as soon as its leading batch, `first`, can be taken.
        chunks: Takes each chunk when it is whole.
        first: The batch that the run starts at, counted over all passes.
        where: The file and the datasets, for error messages.
    """

    plan: Plan
    lanes: Sequence[Lane[Any]]
    source: RowSource
    recipe: Recipe
    lead: Channel[Chunk]
    chunks: Channel[Chunk]
    batches: Channel[Batch]
    first: int
    where: str

    @property
    def sample_bytes(self) -> int:
        """Bytes that are read for one sample, on average."""
        return sum(lane.sample_bytes for lane in self.lanes)

    def tasks(self) -> Iterator[Task]:
        """Every part of every chunk from the first that is wanted on, without end."""
        first, lead = self.plan.chunk_of(self.first)
        for number in count(first):
            chunk = self.chunk(number, lead if number == first else None)
            chunk.expect(self.source)
            for part in chunk.plan.parts:
                yield chunk, part

    def chunk(self, number: int, lead: int | None = None) -> Chunk:
        """A planned chunk that holds no memory yet."""
        return Chunk(self.plan.chunk(number, lead), self.lanes, self.batches_wanted(number))

    def leads(self, ordinal: int) -> bool:
        """Whether a batch comes before its chunk: the run's first, if more of that is wanted."""
        if ordinal != self.first:
            return False
        number, index = self.plan.chunk_of(ordinal)
        return index + 1 < self.plan.batches_in(number)

    def batches_wanted(self, number: int) -> int:
        """Batches that will be taken out of a chunk."""
        first, index = self.plan.chunk_of(self.first)
        return self.plan.batches_in(number) - (index if number == first else 0)

    def fail(self, chunk: Chunk, part: Part, error: BaseException) -> None:
        """A part could not be read: the error takes the place of what it belonged to."""
        if chunk.leads(part):
            self.lead.fail(self.first, error)
        self.chunks.fail(chunk.number, error)

    def close(self) -> None:
        """Ends every channel, and so every worker."""
        for channel in (self.lead, self.chunks, self.batches):
            channel.close()

    def alone(self, ordinal: int) -> Batch:
        """A batch read on its own, in the calling thread, whatever the others are at."""
        number, index = self.plan.chunk_of(ordinal)
        chunk = self.plan.chunk(number)
        return self.finished(read_batch(chunk, index, self.lanes, self.source), chunk, ordinal)

    def finished(self, arrays: Arrays, chunk: ChunkPlan, ordinal: int) -> Batch:
        """The batch that is handed out, made of the arrays read for it."""
        place = self.plan.place(ordinal)
        rows = chunk.rows[chunk.slots(self.plan.chunk_of(ordinal)[1])]

        def where() -> str:
            shown = ", ".join(map(str, rows[:4])) + (", ..." if len(rows) > 4 else "")
            return (
                f"batch {place.position} of pass {place.pass_number}: rows {shown} of {self.where}"
            )

        batch = self.recipe.make(arrays, rows, place, where)
        filling = self.plan.filling(place.position)
        return batch if filling is None else padded(batch, filling)


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

    def drop(self) -> None:
        """Lets the iterator go, and what it holds: the chunk whose parts it gives, for one."""
        with self._lock:
            self._items = iter(())


def read_parts(shared: Shared, tasks: Iterable[Task], clock: Clock) -> None:
    """A reader: fills chunks part by part; whoever does the last part hands the chunk on."""
    clock.begin()
    for chunk, part in tasks:
        try:
            if not chunk.leads(part):  # whose chunk has room, and is wanted though the rest failed
                clock.switch(State.WAIT_OUT)
                shared.chunks.reserve(chunk.number)
            clock.switch(State.GATHER)
            done = chunk.read(part, shared.source)
            clock.samples += part.stop - part.start
            clock.bytes += (part.stop - part.start) * shared.sample_bytes
            if done.lead:
                shared.lead.put(shared.first, chunk)
            if done.chunk:
                shared.chunks.put(chunk.number, chunk)
                clock.items += 1
        except Closed:
            return
        except BaseException as error:  # noqa: BLE001 - goes to whoever asks for the batch
            shared.fail(chunk, part, error)
            return
        del chunk, part  # while this thread waits for its next task, their memory is another's


def make_batches(shared: Shared, ordinals: Iterable[int], clock: Clock) -> None:
    """A batcher: takes batch after batch out of the chunks and through the recipe."""
    clock.begin()
    for ordinal in ordinals:
        try:
            clock.switch(State.WAIT_IN)
            samples = shared.plan.own_rows(shared.plan.place(ordinal).position)
            number, index = shared.plan.chunk_of(ordinal)
            leads = shared.leads(ordinal)
            chunk = shared.lead.get(ordinal) if leads else shared.chunks.look(number)
            clock.switch(State.GATHER)
            arrays, planned = chunk.batch(index), chunk.plan
            last = chunk.taken()
            del chunk
            if last:
                shared.chunks.take(number)  # not before: now its memory is another's
            batch = shared.finished(arrays, planned, ordinal)
            del arrays
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
