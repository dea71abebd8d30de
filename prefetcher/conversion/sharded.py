"""Rows into several files and a manifest, for each split its own.

A shard is one task. Whoever runs it, and however often, its bytes are the same: it is written under
a name of its own and then renamed.
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from concurrent.futures import Executor
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from prefetcher.conversion.failures import LISTED, Failures
from prefetcher.conversion.finished import is_whole, rows_made
from prefetcher.conversion.journal import Journal
from prefetcher.conversion.options import Options
from prefetcher.conversion.plan import Plan, attributes
from prefetcher.conversion.single import Progress
from prefetcher.conversion.source import Failure, Part, RowNumbers, Source
from prefetcher.conversion.work import in_order
from prefetcher.errors import FileError
from prefetcher.hdf5.manifest import Shard, checksum, read_manifest, shard_of, write_manifest
from prefetcher.writing.partial import Layout, PartialFile


@dataclass(frozen=True)
class Done:
    """What came of a shard."""

    shard: Shard | None
    """None where it was given up because of its failures."""
    failures: Mapping[int, Failure]
    """By the row of the source."""


@dataclass(frozen=True)
class ShardTask:
    """One file to write: picklable, and the same whoever runs it."""

    path: Path
    parts: tuple[tuple[RowNumbers, Part], ...]
    layouts: Mapping[str, Layout]
    attributes: tuple[tuple[str, Mapping[str, Any]], ...]
    skip: bool
    """Whether rows that cannot be loaded are left out; else the file is given up."""

    def run(self) -> Done:
        """Loads and writes all rows, and gives the file its name."""
        # Two workers may run it at once, when one was thought dead.
        temporary = self.path.with_name(f"{self.path.name}.{uuid.uuid4().hex}.partial")
        file = PartialFile.create(self.path, self.layouts, partial=temporary)
        try:
            failures = self._fill(file)
            if failures and not self.skip:
                file.discard()
                return Done(None, failures)
            rows = next(iter(file.rows.values()))
            file.commit()
        except BaseException:
            file.discard()
            raise
        name, nbytes = self.path.name, self.path.stat().st_size
        return Done(Shard(name, rows, nbytes, checksum(self.path)), failures)

    def _fill(self, file: PartialFile) -> dict[int, Failure]:
        failures: dict[int, Failure] = {}
        for rows, part in self.parts:
            loaded = part.load()
            failures |= {int(rows[at]): why for at, why in loaded.failures.items()}
            if not self.skip and len(failures) >= LISTED:
                break
            for name, array in loaded.arrays.items():
                file.append(name, array)
        for place, values in self.attributes:
            file.set_attributes(place, values)
        file.flush()
        return failures


def run(task: ShardTask) -> Done:
    """Runs a task: a function of a module, so that it can be sent to another process."""
    return task.run()


class ShardedFiles:
    """One conversion into several files."""

    def __init__(self, source: Source, plan: Plan, out: Path, options: Options) -> None:
        self._source = source
        self._plan = plan
        self._out = out
        self._options = options
        self._journal = Journal(self._out, plan.fingerprint)
        self._failures = Failures(options.on_error)
        self._spans = {path: rows for files in self._files().values() for path, rows in files}
        self._done: dict[Path, Done] = {}

    def write(self, executor: Executor, ahead: int, progress: Progress) -> Failures:
        """Writes every shard and then the manifest; shards that are done stay if it is broken off.

        Returns:
            The rows that were left out, those of the plan included.
        """
        self._failures.add(self._plan.failures.rows)
        if self._options.resume:
            self._recall()
        else:
            self._journal.remove()
        left = [path for path in self._spans if path not in self._done]
        progress(sum(len(self._spans[path]) for path in self._done), len(self._failures))
        tasks = map(self._task, left)
        try:
            for path, done in zip(left, in_order(executor, run, tasks, ahead), strict=True):
                self._keep(path, done)
                progress(len(self._spans[path]), len(done.failures))
        finally:
            self._clear()
        self._failures.check()
        self._finish()
        return self._failures

    @property
    def rows_done(self) -> int:
        """Rows of shards that another run has finished."""
        if not self._options.resume:
            return 0
        names = {path.name: path for path in self._spans}
        kept = [names.get(each["shard"]["name"]) for each in self._kept()]
        return sum(len(self._spans[path]) for path in kept if path and path.is_file())

    @property
    def rows_finished(self) -> int:
        """Rows of files that are finished already; 0 where there is something to do."""
        if self._journal.read() is not None:
            return 0
        rows = 0
        for path, files in self._files().items():
            try:
                manifest = read_manifest(path)
            except FileError:
                return 0
            names = [file.name for file, _ in files]
            first = manifest.paths[0]
            made = rows_made(first, [""], self._source, self._plan, self._options)
            if [shard.name for shard in manifest.shards] != names or not made:
                return 0
            rows += manifest.rows
        return rows if is_whole(rows, self._out, self._plan) else 0

    def _kept(self) -> list[dict[str, Any]]:
        """The shards that the journal has."""
        kept: list[dict[str, Any]] = (self._journal.read() or {}).get("shards", [])
        return kept

    def _files(self) -> dict[Path, list[tuple[Path, RowNumbers]]]:
        """The files that each manifest names, and their rows: as many in each, to within one."""
        found = {}
        # A worker may run in another folder.
        out = self._out.resolve()
        for name, rows in self._plan.portions:
            stem = f"{out.stem}-{name}" if name else out.stem
            spans = np.array_split(rows, min(self._options.shards or 1, len(rows)))
            found[self._out.with_name(f"{stem}.json")] = [
                (out.with_name(f"{stem}-{number:05}-of-{len(spans):05}.h5"), span)
                for number, span in enumerate(spans)
            ]
        return found

    def _task(self, path: Path) -> ShardTask:
        rows, step = self._spans[path], self._plan.storage_rows
        steps = [rows[start : start + step] for start in range(0, len(rows), step)]
        return ShardTask(
            path,
            tuple((some, self._source.part(some)) for some in steps),
            self._plan.layouts,
            tuple(attributes(self._source, self._plan, self._options, groups=[""])),
            self._options.on_error == "skip",
        )

    def _keep(self, path: Path, done: Done) -> None:
        self._failures.add(done.failures)
        if done.shard is None:
            return
        self._done[path] = done
        self._journal.write({"shards": [asdict(done) for done in self._done.values()]})

    def _recall(self) -> None:
        """Takes the shards of another run that are still what they were."""
        paths = {path.name: path for path in self._spans}
        for kept in self._kept():
            shard = Shard(**kept["shard"] | {"datasets": ()})
            path = paths[shard.name]
            with suppress(FileError):
                if checksum(path) == shard.sha256:
                    failures = {int(row): Failure(*why) for row, why in kept["failures"].items()}
                    self._done[path] = Done(shard, failures)
                    self._failures.add(failures)

    def _clear(self) -> None:
        """Removes what workers left that were killed."""
        for path in self._spans:
            for left in path.parent.glob(f"{path.name}.*.partial"):
                left.unlink(missing_ok=True)

    def _finish(self) -> None:
        for manifest, files in self._files().items():
            shards = [(path, self._done[path].shard) for path, _ in files]
            # Without their times, which a copy need not keep.
            told = [
                replace(shard, datasets=shard_of(path, mtime=False).datasets)
                for path, shard in shards
                if shard
            ]
            write_manifest(manifest, told)
        self._journal.remove()

    @property
    def outputs(self) -> tuple[Path, ...]:
        """Where the manifests are written, one for each split."""
        return tuple(self._files())

    @property
    def paths(self) -> tuple[Path, ...]:
        """The files, in order."""
        return tuple(self._spans)
