"""A chunk in memory, while readers fill it and batchers empty it."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np

from prefetcher.order.chunk import ChunkPlan, Part
from prefetcher.order.permutation import inverse
from prefetcher.order.runs import runs_of
from prefetcher.pipeline.lane import Arrays, Hold, Lane, RowSource


class Done(NamedTuple):
    """What became complete: all that the leading batch needs, or the whole chunk."""

    lead: bool
    chunk: bool


class Chunk:
    """One chunk while it is read by readers and emptied by batchers.

    A part is written by one reader, a batch is taken by one batcher, and no batch is taken before
    all parts are done that it is drawn from: so every row has one owner at a time.

    Args:
        plan: Which rows, and where each goes.
        lanes: What it takes its memory from.
        wanted: Batches that will be taken out of it.
    """

    def __init__(self, plan: ChunkPlan, lanes: Sequence[Lane[Any]], wanted: int) -> None:
        self.plan = plan
        self._lanes = lanes
        self._lock = threading.Lock()
        self._wanted = wanted
        self._leading_left = plan.leading
        self._left = plan.parts[-1].stop
        self._laid: list[tuple[Lane[Any], Any]] | None = None
        self._holds: list[Hold] | None = None

    @property
    def number(self) -> int:
        """The chunk's number, counted over all passes."""
        return self.plan.number

    def expect(self, source: RowSource) -> None:
        """Has the system fetch all of it, before the first part is read."""
        with self._lock:
            laid_out = self._lay()
        for lane, laid in laid_out:
            lane.expect(laid, source)

    def read(self, part: Part, source: RowSource) -> Done:
        """Reads one part in every lane, and tells what is complete with it."""
        self._fill(part, source)  # on its own, so that no name here holds memory that it counts out
        samples, leads = part.stop - part.start, self.leads(part)
        with self._lock:
            self._left -= samples
            self._leading_left -= samples if leads else 0
            return Done(lead=leads and not self._leading_left, chunk=not self._left)

    def _fill(self, part: Part, source: RowSource) -> None:
        fill(self._allocated(), part, source)

    def leads(self, part: Part) -> bool:
        """Whether the leading batch may need this part."""
        return part.start < self.plan.leading

    def batch(self, index: int) -> Arrays:
        """The arrays of one batch. Each batch may be asked for once, then `taken`."""
        arrays: Arrays = {}
        for hold in self._allocated():
            arrays |= hold.batch(index)
        return arrays

    def taken(self) -> bool:
        """One more batch is out. Whether it was the last, which gives the memory back.

        It does so whoever has the chunk: the reader that handed it on may not have let go of it.
        """
        with self._lock:
            self._wanted -= 1
            if not self._wanted:
                self._holds = self._laid = None
            return not self._wanted

    def _allocated(self) -> list[Hold]:
        """The buffers; taken by whoever comes first, so that a planned chunk holds no memory."""
        with self._lock:
            if self._holds is None:
                self._holds = [lane.hold(self.plan, laid, whole=True) for lane, laid in self._lay()]
            return self._holds

    def _lay(self) -> list[tuple[Lane[Any], Any]]:
        """Each lane, and what it needs for this chunk: worked out once. Holds the lock."""
        if self._laid is None:
            self._laid = [(lane, lane.lay(self.plan)) for lane in self._lanes]
        return self._laid


def read_batch(
    chunk: ChunkPlan, index: int, lanes: Sequence[Lane[Any]], source: RowSource
) -> Arrays:
    """Reads one batch of a chunk on its own, each run of neighbouring rows at once."""
    slots = chunk.slots(index)
    turn = np.argsort(slots)
    rows = chunk.rows[slots[turn]]
    part = Part(0, len(rows), runs_of(rows))
    alone = replace(chunk, rows=rows, order=inverse(turn), parts=(part,), leading=0)
    holds = [lane.hold(alone, lane.lay(alone), whole=False) for lane in lanes]
    fill(holds, part, source)
    arrays: Arrays = {}
    for hold in holds:
        arrays |= hold.batch(0)
    return arrays


def fill(holds: Sequence[Hold], part: Part, source: RowSource) -> None:
    """Reads one part for all lanes; who reads files visits each once."""
    source.read_all([wanted for hold in holds for wanted in hold.wanted(part)])
    for hold in holds:
        hold.complete(part, source)
