"""Rows into one file: written in order while others decode, with a place to go on from."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Executor
from dataclasses import dataclass
from pathlib import Path
from time import monotonic
from typing import Any, NamedTuple

import numpy as np

from prefetcher.conversion.failures import Failures
from prefetcher.conversion.finished import is_whole, rows_made
from prefetcher.conversion.journal import Journal
from prefetcher.conversion.options import Options
from prefetcher.conversion.plan import Plan, attributes, within
from prefetcher.conversion.source import Failure, Loaded, Part, RowNumbers, Source
from prefetcher.conversion.work import in_order
from prefetcher.errors import FileError
from prefetcher.filters.encode import Encoded, Encoder
from prefetcher.writing.partial import PartialFile

CHECKPOINT_SECONDS = 10.0
"""The most work that a crash costs; each checkpoint waits for the disk once."""

Progress = Callable[[int, int], None]
"""Told of so many more rows that are done, and how many of them were left out."""


@dataclass(frozen=True, slots=True)
class Task:
    """A part, and what encodes the storage chunk that its rows will most likely be."""

    part: Part
    encoders: Mapping[str, Encoder]


class Done(NamedTuple):
    """What came of a task."""

    loaded: Loaded
    encoded: Mapping[str, Encoded]
    """Datasets with a codec, where no row of the storage chunk is missing."""


def load(task: Task) -> Done:
    """Runs a task: a function of a module, so that it can be sent to another process."""
    loaded = task.part.load()
    whole = {
        name: encoder
        for name, encoder in task.encoders.items()
        if len(loaded.arrays[name]) == encoder.rows
    }
    return Done(loaded, {name: whole[name].encode(loaded.arrays[name]) for name in whole})


class SingleFile:
    """One conversion into one file."""

    def __init__(self, source: Source, plan: Plan, out: Path, options: Options) -> None:
        self._source = source
        self._plan = plan
        self._out = out
        self._options = options
        self._journal = Journal(out, plan.fingerprint)
        self._failures = Failures(options.on_error)
        self._portion = 0
        self._done = 0  # rows of the portion that need no loading any more
        self._saved_at = monotonic()

    def write(self, executor: Executor, ahead: int, progress: Progress) -> Failures:
        """Writes everything; what was written stays if this is broken off.

        Returns:
            The rows that were left out, those of the plan included.
        """
        self._failures.add(self._plan.failures.rows)
        self._file = self._begin()
        try:
            progress(self._rows_before(), len(self._failures))
            self._write_portions(executor, ahead, progress)
            self._failures.check()
            self._finish()
        except BaseException:
            self._break_off()
            raise
        return self._failures

    @property
    def outputs(self) -> tuple[Path, ...]:
        """What `PrefetchSequence` takes: the file."""
        return (self._out,)

    @property
    def paths(self) -> tuple[Path, ...]:
        """The files that are written."""
        return (self._out,)

    @property
    def rows_done(self) -> int:
        """Rows that need no room any more: none, as the partial file counts as free."""
        return 0

    @property
    def rows_finished(self) -> int:
        """Rows of a file that is finished already; 0 where there is something to do."""
        if self._journal.read() is not None:
            return 0
        groups = [portion.name for portion in self._plan.portions]
        rows = rows_made(self._out, groups, self._source, self._plan, self._options)
        return rows if is_whole(rows, self._out, self._plan) else 0

    def _begin(self) -> PartialFile:
        state = self._journal.read() if self._options.resume else None
        if state is None:
            self._journal.remove()
            layouts = {
                within(portion.name, name): layout
                for portion in self._plan.portions
                for name, layout in self._plan.layouts.items()
            }
            return PartialFile.create(self._out, layouts, resumable=True)
        self._go_on_from(state)
        return PartialFile.resume(self._out, state["bytes"], state["datasets"])

    def _go_on_from(self, state: dict[str, Any]) -> None:
        self._portion = state["portion"]
        failed = {int(row): Failure(*told) for row, told in state["failures"].items()}
        rows = self._plan.portions[self._portion].rows
        self._done = consumed(rows, failed, state["rows"])
        later = set(rows[self._done :].tolist())  # they are met once more
        self._failures.add({row: told for row, told in failed.items() if row not in later})

    def _rows_before(self) -> int:
        before = self._plan.portions[: self._portion]
        return sum(len(portion.rows) for portion in before) + self._done

    def _write_portions(self, executor: Executor, ahead: int, progress: Progress) -> None:
        for number in range(self._portion, len(self._plan.portions)):
            self._portion = number
            group, rows = self._plan.portions[number]
            numbers = self._steps(rows[self._done :])
            tasks = self._tasks(group, self._steps(rows[self._done :]))
            for some, done in zip(numbers, in_order(executor, load, tasks, ahead), strict=True):
                self._take(group, some, done)
                progress(len(some), len(done.loaded.failures))
                if monotonic() - self._saved_at >= CHECKPOINT_SECONDS:
                    self._save()
            if not self._failures.stop_writing:
                self._file.flush([within(group, name) for name in self._plan.layouts])
            self._done = 0

    def _steps(self, rows: RowNumbers) -> Iterator[RowNumbers]:
        step = self._plan.storage_rows
        return (rows[start : start + step] for start in range(0, len(rows), step))

    def _tasks(self, group: str, steps: Iterator[RowNumbers]) -> Iterator[Task]:
        every = self._file.encoders
        names = ((name, within(group, name)) for name in self._plan.layouts)
        encoders = {name: every[place] for name, place in names if place in every}
        return (Task(self._source.part(some), encoders) for some in steps)

    def _take(self, group: str, rows: RowNumbers, done: Done) -> None:
        loaded, encoded = done
        failures = {int(rows[at]): failure for at, failure in loaded.failures.items()}
        self._failures.add(failures)
        if self._failures.stop_writing:
            return
        for name, array in loaded.arrays.items():
            self._file.append(within(group, name), array, encoded.get(name))

    def _save(self) -> None:
        """Puts what was written on the disk and notes how far it goes."""
        self._journal.remove()  # while indexes are written, there is nothing to go on from
        nbytes, datasets = self._file.checkpoint()
        group = self._plan.portions[self._portion].name
        written = min(datasets[within(group, name)]["rows"] for name in self._plan.layouts)
        for name in self._plan.layouts:
            datasets[within(group, name)]["rows"] = written
        state = {
            "portion": self._portion,
            "rows": written,
            "bytes": nbytes,
            "datasets": datasets,
            "failures": self._failures.rows,
        }
        self._journal.write(state)
        self._saved_at = monotonic()

    def _finish(self) -> None:
        if not any(self._file.rows.values()):
            raise FileError("nothing could be read: every row was left out")
        groups = [portion.name for portion in self._plan.portions]
        for place, values in attributes(self._source, self._plan, self._options, groups):
            self._file.set_attributes(place, values)
        self._journal.remove()
        self._file.commit()

    def _break_off(self) -> None:
        """Leaves a file that can be gone on with, or none."""
        try:
            if any(self._file.rows.values()):
                self._save()
        except FileError:  # a full disk: then the checkpoint before it has to do
            self._file.suspend()
            return
        if self._journal.read():
            self._file.suspend()
        else:
            self._file.discard()


def consumed(rows: RowNumbers, failed: dict[int, Failure], written: int) -> int:
    """How many of `rows` lie before the end of the first `written` good ones."""
    if not written:
        return 0
    good = ~np.isin(rows, list(failed))
    return int(np.searchsorted(np.cumsum(good), written)) + 1
