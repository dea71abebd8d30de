"""`convert`: from whatever holds the data to a file, or files, ready to train on."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, replace
from pathlib import Path
from time import perf_counter
from typing import Any, Literal, Self

from prefetcher.conversion.arrays import array_source
from prefetcher.conversion.finished import left_out, report_of
from prefetcher.conversion.folder import PictureSource, picture_source
from prefetcher.conversion.options import OnError, Options
from prefetcher.conversion.plan import Plan, make_plan
from prefetcher.conversion.repack import StoredSource
from prefetcher.conversion.sharded import ShardedFiles
from prefetcher.conversion.single import Progress, SingleFile
from prefetcher.conversion.source import Source
from prefetcher.conversion.stream import Sample, write_stream
from prefetcher.conversion.work import executor_for
from prefetcher.errors import FileMissingError, SettingsError
from prefetcher.hdf5.attributes import Names
from prefetcher.messages.wording import written
from prefetcher.picture import Color, Resize
from prefetcher.writing.codec import CodecName
from prefetcher.writing.partial import partial_of

PathLike = str | os.PathLike[str]


@dataclass(frozen=True, slots=True)
class Converted:
    """What a conversion wrote."""

    files: tuple[Path, ...]
    """What `PrefetchSequence` takes: the file, or with shards the manifest of each split."""
    rows: int
    """Rows written, of all splits together."""
    skipped: int
    """Rows left out because they could not be read."""
    report: Path | None
    """What was left out and why, one JSON object a line; None where nothing was."""
    seconds: float
    nbytes: int
    """Bytes written, of all files together."""
    was_finished: bool = False
    """Whether `resume` found all of it finished, so that nothing was done."""

    @property
    def file(self) -> Path:
        """The first of `files`, in most cases the only one."""
        return self.files[0]


class Conversion:
    """A conversion that is planned, and then run. Close it, or use it in a ``with``.

    Args:
        source: A folder of pictures, a .npy or .npz file, an HDF5 file, or a mapping of names to
            arrays or .npy files.
        out: The file to make; with shards what their names begin with.
        options: The settings.

    Raises:
        PrefetchError: As `convert`.
    """

    def __init__(
        self, source: PathLike | Mapping[str, Any], out: PathLike, options: Options
    ) -> None:
        self._out = Path(out)
        self._source = _source(source, options)
        if options.codec is None:
            options = replace(options, codec=_codec(self._source))
        self._options = options
        try:
            self._keep_apart([self._out, partial_of(self._out)], source)
            self.plan: Plan = make_plan(self._source, self._out, options)
            how = ShardedFiles if options.shards else SingleFile
            self._work = how(self._source, self.plan, self._out, options)
            files = [*self._work.outputs, *self._work.paths, report_of(self._out)]
            self._keep_apart(files, source)
            self._rows_finished = self._work.rows_finished if options.resume else 0
        except BaseException:
            self._source.close()
            raise

    def _keep_apart(self, files: Sequence[Path], source: PathLike | Mapping[str, Any]) -> None:
        """Raises `SettingsError` if one of the files that will be written is read."""
        given = source.values() if isinstance(source, Mapping) else [source]
        read = [Path(each) for each in given if isinstance(each, str | os.PathLike)]
        read += [self._options.labels] if self._options.labels else []
        pictures = self._source if isinstance(self._source, PictureSource) else None
        for path in files:
            if path.exists() and (
                any(map(path.samefile, read)) or (pictures and pictures.has(path))
            ):
                raise SettingsError(f"{path.name} is read and cannot be written: give another name")

    def run(self, executor: Executor | None = None, progress: Progress | None = None) -> Converted:
        """Writes what was planned, unless it is there already; as `convert`."""
        started = perf_counter()
        if self.is_finished:
            return self._as_it_was(started)
        self.check()
        ours, ahead = executor_for(executor, self._options.workers)
        with ours as running:
            failures = self._work.write(running, ahead, progress or _unseen)
        return Converted(
            files=self._work.outputs,
            rows=self.plan.rows + len(self.plan.failures) - len(failures),
            skipped=len(failures),
            report=failures.report(report_of(self._out)),
            seconds=perf_counter() - started,
            nbytes=self._nbytes,
        )

    @property
    def is_finished(self) -> bool:
        """Whether `resume` has nothing to go on with, as all of it is there."""
        return self._rows_finished > 0

    def check(self) -> None:
        """Raises `FileError` if what is left to write would not fit the disk."""
        if not self.is_finished:
            self.plan.check(self._out, self._work.rows_done)

    def _as_it_was(self, started: float) -> Converted:
        skipped = left_out(self._out)
        return Converted(
            files=self._work.outputs,
            rows=self._rows_finished,
            skipped=skipped,
            report=report_of(self._out) if skipped else None,
            seconds=perf_counter() - started,
            nbytes=self._nbytes,
            was_finished=True,
        )

    @property
    def _nbytes(self) -> int:
        return sum(path.stat().st_size for path in self._work.paths)

    @property
    def needs_one_size(self) -> bool:
        """Whether all pictures have to have the size of the first."""
        return self._options.size is None and isinstance(self._source, PictureSource)

    def sizes(self, progress: Progress | None = None) -> list[tuple[tuple[int, int], int]]:
        """The sizes of the pictures, the most frequent first, each with how many have it.

        Reads the head of every picture. Of other sources there are none.

        Args:
            progress: Called with the pictures that were looked at, and 0, each time.
        """
        if not isinstance(self._source, PictureSource):
            return []
        ours, ahead = executor_for(None, self._options.workers)
        with ours as running:
            return self._source.count_sizes(running, ahead, progress or _unseen).most_common()

    def close(self) -> None:
        """Gives up what the source holds open."""
        self._source.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def convert(
    source: PathLike | Mapping[str, Any] | Iterable[Sample],
    out: PathLike,
    *,
    x: Names | None = None,
    y: Names | None = None,
    size: tuple[int, int] | None = None,
    resize: Resize = "stretch",
    color: Color = "rgb",
    labels: PathLike | None = None,
    path_col: str | None = None,
    label_cols: Sequence[str] = (),
    axis: int | Mapping[str, int] = 0,
    length: int | None = None,
    fill: float = 0,
    mask: bool = False,
    codec: CodecName | Literal["auto"] | None = None,
    split: Mapping[str, float] | None = None,
    shuffle: bool = False,
    seed: int = 0,
    on_error: OnError = "fail",
    workers: int | None = None,
    executor: Executor | None = None,
    shards: int | None = None,
    resume: bool = False,
    allow_external: bool = False,
    progress: Progress | None = None,
) -> Converted:
    """Makes an HDF5 file that is ready to train on; the same whatever the number of workers.

    Args:
        source: A folder of pictures (one class to each sub-folder, or a table of `labels`, or
            neither), a .npy or .npz file, an HDF5 file, a mapping of names to arrays or .npy files,
            or an iterable of samples: dicts, (x, y) tuples or arrays.
        out: The file to make. It is written under another name and replaces a file of this one only
            when it is whole.
        x: Inputs, where the source has several arrays: a name, or several.
        y: The same for the targets.
        size: Height and width of the pictures, in pixels; None where they all have the same. In an
            HDF5 file pictures are rows that hold the bytes of a picture file.
        resize: "stretch"; "pad" keeps the proportions with black bars; "crop" cuts the edges off.
        color: "rgb", "grey" (one channel) or "rgba"; always 8 bits for each channel.
        labels: A CSV or JSONL table with a line for each picture.
        path_col: Its column of paths, relative to the folder; None takes the first.
        label_cols: Its columns of labels; none takes all others. "angle:float64" sets a dtype.
        axis: Of an HDF5 file, along which axis the samples lie: -1 for the last, or one for each
            dataset that needs it: ``{"labels": -1}``.
        length: Of rows of variable length in an HDF5 file: the length that they get. Longer ones
            are cut, shorter ones filled up.
        fill: What they are filled with.
        mask: True writes a dataset of booleans beside each of these, "tokens_mask" for "tokens":
            True where there is an element.
        codec: "gzip", "lz4", "zstd"; "auto" measures. None is "none", because nothing reads faster,
            but "auto" for rows of sparse matrices, which are written dense.
        split: Shares of groups that the rows are dealt out to, by class where there are classes:
            ``{"train": 0.8, "val": 0.2}``.
        shuffle: True writes the rows in a shuffled order.
        seed: Of split and shuffle, 0 to 2**64 - 1.
        on_error: "fail" lists the first ten files that cannot be read; "skip" leaves them out.
        workers: Threads that decode; None takes one for each CPU allowed.
        executor: Where to decode instead: any `concurrent.futures` executor.
        shards: Writes so many files and a manifest instead of one file; of each split so many.
        resume: Goes on with what a broken off conversion left, if it left something. Does nothing
            if `out` is what these settings make of this source; where it has another codec and is
            the same else, that is a `SettingsError`, as it would be replaced.
        allow_external: True follows links and storage out of an HDF5 file; a file from a stranger
            could then have whatever this user can read copied.
        progress: Called with the rows that are done, and how many of them were left out, each time.

    Returns:
        What was written.

    Raises:
        SettingsError: A setting cannot work; the message says what to write instead.
        FileError: Files cannot be read, the disk is or would be full, or nothing is found.
        DatasetError: The arrays do not fit together.
        ReadError: A source broke while it was read, or a worker process died.

    Each choice behind these defaults is told in docs/convert.md.
    """
    options = Options(
        x=x,
        y=y,
        size=size,
        resize=resize,
        color=color,
        labels=None if labels is None else Path(labels),
        path_col=path_col,
        label_cols=tuple(label_cols),
        axis=axis,
        length=length,
        fill=fill,
        mask=mask,
        codec=codec,
        split=split,
        shuffle=shuffle,
        seed=seed,
        on_error=on_error,
        workers=workers,
        shards=shards,
        resume=resume,
        allow_external=allow_external,
    )
    if isinstance(source, str | os.PathLike | Mapping):
        with Conversion(source, out, options) as conversion:
            return conversion.run(executor, progress)
    started = perf_counter()
    out = Path(out)
    options = replace(options, codec=options.codec or "none")
    rows = write_stream(source, out, options, progress or _unseen)
    return Converted((out,), rows, 0, None, perf_counter() - started, out.stat().st_size)


def _source(source: PathLike | Mapping[str, Any], options: Options) -> Source:
    if isinstance(source, Mapping):
        return array_source(source, options)
    path = Path(source)
    if not path.exists():
        raise FileMissingError(f"there is no {path}: check the path")
    if path.is_dir():
        _refuse(path, options, "axis", "length")
        return picture_source(path, options)
    _refuse(path, options, "labels")
    if path.suffix in (".npy", ".npz"):
        _refuse(path, options, "size", "axis", "length")
        return array_source(path, options)
    return StoredSource(path, options)


_FOR = {
    "labels": "a folder of pictures",
    "size": "pictures in a folder, or as rows of an HDF5 file",
    "axis": "HDF5 files",
    "length": "rows of variable length in HDF5 files",
}


def _refuse(path: Path, options: Options, *names: str) -> None:
    """Raises `SettingsError` for settings of another kind of source."""
    for name in names:
        if getattr(options, name):
            kind = "a folder" if path.is_dir() else "a file"
            raise SettingsError(f"{written(name)} is for {_FOR[name]}, and {path.name} is {kind}")


def _codec(source: Source) -> CodecName | Literal["auto"]:
    """Nothing reads faster than "none"; but dense rows of a sparse matrix are mostly zeros."""
    return "auto" if isinstance(source, StoredSource) and source.is_dense else "none"


def _unseen(rows: int, left_out: int) -> None:
    """Shows no progress."""
