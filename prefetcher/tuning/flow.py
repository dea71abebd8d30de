"""How long training waits for a pipeline with queues of given depths, worked out on paper."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import cycle, islice

_CHUNKS = 30  # that are gone through at least: enough for queues of a few to fill and to empty


@dataclass(frozen=True, slots=True)
class Flow:
    """A pipeline's pace, whatever its depths.

    Attributes:
        chunk_s: Seconds that the readers take for one chunk after another, again and again.
        batch_s: Seconds from one batch of the batchers to their next, at least 0.
        step_s: Seconds that training takes for a batch, above 0.
        batches: Batches in a chunk.
    """

    chunk_s: Sequence[float]
    batch_s: float
    step_s: float
    batches: int

    def stall_share(self, chunk_queue: int, batch_queue: int) -> float:
        """The share of its time, 0 to 1, that training waits, after the first batch.

        The readers begin a chunk when there is room for it, and the batchers a batch when its chunk
        is whole; a chunk's room is free when its last batch was taken out, a batch's when training
        took it.
        """
        chunks_out: list[float] = []
        taken: list[float] = []
        read = made = free = waited = 0.0
        chunks = max(_CHUNKS, 2 * len(self.chunk_s))
        for number, seconds in enumerate(islice(cycle(self.chunk_s), chunks)):
            room = chunks_out[number - chunk_queue] if number >= chunk_queue else 0.0
            read = max(read, room) + seconds
            for _ in range(self.batches):
                out = max(made, read)
                room = taken[-batch_queue] if len(taken) >= batch_queue else 0.0
                made = max(out + self.batch_s, room)
                waited += max(0.0, made - free) if taken else 0.0
                taken.append(max(free, made))
                free = taken[-1] + self.step_s
            chunks_out.append(out)
        return waited / (waited + len(taken) * self.step_s)
