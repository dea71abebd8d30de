"""The manifest of a data set in several files: which, in which order, and what is in them.

It may hold what is to be known of each file, so that none is opened before it is read. All of that
is checked then, as a manifest may be old, or a stranger's.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from prefetcher.arguments import normal_path
from prefetcher.errors import CorruptError, FileError, FileMissingError
from prefetcher.hdf5.dataset import Dataset
from prefetcher.hdf5.describe import FileDescription, describe
from prefetcher.hdf5.ways import WAYS
from prefetcher.storage.protocol import Identity
from prefetcher.storage.retry import Result, Retry

FORMAT = "prefetcher-manifest"
VERSION = 2
_MOST = 1 << 62  # rows, bytes: more is no file of this world
_LAYOUTS = ("contiguous", "chunked", "compact")


@dataclass(frozen=True, slots=True)
class Shard:
    """One file of the data set."""

    name: str
    """The file's name, in the folder of the manifest."""
    rows: int
    """Rows of its longest dataset."""
    nbytes: int
    """Bytes of the whole file."""
    sha256: str | None = None
    """Of the whole file, in hexadecimal; None where nobody took it."""
    mtime_ns: int | None = None
    """When it was last written, in nanoseconds; None where a copy may have another time."""
    datasets: tuple[Dataset, ...] = ()
    """Those whose rows can be read without opening other files; none, if they are not known."""


@dataclass(frozen=True, slots=True)
class Manifest:
    """The files of one data set, in the order of their rows."""

    path: Path
    shards: tuple[Shard, ...]

    @property
    def rows(self) -> int:
        """Rows of all files together."""
        return sum(shard.rows for shard in self.shards)

    @property
    def paths(self) -> tuple[Path, ...]:
        """The files, in order."""
        folder = os.fspath(self.path.parent)
        return tuple(Path(os.path.join(folder, shard.name)) for shard in self.shards)  # noqa: PTH118

    def descriptions(
        self, *, allow_external: bool = False, retries: int = 3
    ) -> Iterator[FileDescription]:
        """Each file as the manifest has it; without datasets where it says nothing of them."""
        for path, shard in zip(self.paths, self.shards, strict=True):
            identity = Identity(shard.nbytes, shard.mtime_ns, None)
            yield FileDescription(
                path, shard.nbytes, identity, shard.datasets, allow_external, retries,
                self.path.name,
            )  # fmt: skip

    def verify(self) -> None:
        """Reads every file whole and compares it with its checksum.

        Raises:
            CorruptError: A file is not the one that was written.
            FileMissingError: There is no such file any more.
            FileError: The manifest has no checksums.
        """
        for path, shard in zip(self.paths, self.shards, strict=True):
            if shard.sha256 is None:
                raise FileError(
                    f"{self.path.name} has no checksum of {path.name}: make it anew with "
                    "`prefetcher manifest --checksums`"
                )
            if checksum(path) != shard.sha256:
                raise CorruptError(f"{path.name} is not what {self.path.name} says: copy it again")


def is_manifest(path: str | os.PathLike[str]) -> bool:
    """Whether a path is meant for a manifest, by its name."""
    return Path(path).suffix == ".json"


def is_written(path: Path) -> bool:
    """Whether there is a manifest, of whatever version. Raises as `read_manifest` does."""
    content = _content(path)
    return isinstance(content, dict) and content.get("format") == FORMAT


def read_manifest(path: str | os.PathLike[str]) -> Manifest:
    """Reads a manifest and looks that its files are there; their bytes are left to `verify`.

    Size and time of a file whose datasets it knows are compared when that is first opened, as to
    ask for those of many files takes long where they lie on a server.

    Raises:
        FileMissingError: The manifest or one of its files is missing.
        ReadError: The system could not read the manifest, also not after the retries.
        FileError: It is no manifest, or a file has not the size that it says.
    """
    path = Path(path)
    manifest = Manifest(path, tuple(_shards(path)))
    there = set(os.listdir(path.parent))  # noqa: PTH208 - names are all of it
    for shard in manifest.shards:
        file = path.with_name(shard.name) if not shard.datasets else None
        if shard.name not in there or (file and not file.is_file()):
            raise FileMissingError(f"{path.name} names {shard.name}, which is not beside it")
        if file and file.stat().st_size != shard.nbytes:
            raise FileError(
                f"{shard.name} has {file.stat().st_size} bytes, {path.name} says {shard.nbytes}: "
                "copy or write it again"
            )
    return manifest


def _shards(path: Path) -> list[Shard]:
    content = _content(path)
    shards = None
    try:
        if (content["format"], content["v"]) == (FORMAT, VERSION):
            kinds = list(map(_kind, content["datasets"]))
            alike: dict[tuple[Dataset, ...], tuple[Dataset, ...]] = {}
            shards = [_shard(kinds, alike, **shard) for shard in content["files"]]
    except (LookupError, TypeError, ValueError):
        shards = None
    if not shards:
        raise FileError(
            f"{path.name} is not a manifest of version {VERSION}, with names of files beside it: "
            "`prefetcher manifest` writes one"
        )
    return shards


def _kind(told: Mapping[str, Any]) -> Callable[[int, int], Dataset]:
    """Makes the datasets of one kind, by their rows and stored bytes.

    Raises:
        ValueError: It says what no dataset can be.
        TypeError: As above, like the next.
        LookupError: Something is missing.
    """
    name, dtype = told["name"], np.dtype(_text(told["dtype"], 32))
    row_shape, chunk = _sizes(told["row_shape"], 0), told["storage_chunk"]
    chunk = None if chunk is None else _sizes(chunk, 1)
    _check(isinstance(name, str) and name and normal_path(name) == name and "\0" not in name)
    _check(not dtype.hasobject and dtype.names is None and not dtype.subdtype and dtype.itemsize)
    _check(chunk is None or len(chunk) == 1 + len(row_shape))
    _check(told["layout"] in _LAYOUTS and (told["layout"] == "chunked") == (chunk is not None))
    _check(told["way"] in WAYS)
    filters = tuple(_text(each, 64) for each in told["filters"])
    layout, way = told["layout"], told["way"]

    @cache  # most files have the same
    def dataset(rows: int, stored_bytes: int) -> Dataset:
        shape = (_size(rows, 0), *row_shape)
        stored = _size(stored_bytes, 0)
        return Dataset(
            name, shape, dtype, layout, chunk, filters, stored, way, "its manifest says so"
        )

    return dataset


def _shard(
    kinds: Sequence[Callable[[int, int], Dataset]],
    alike: dict[tuple[Dataset, ...], tuple[Dataset, ...]],
    *,
    name: str,
    rows: int,
    nbytes: int,
    sha256: str | None,
    mtime_ns: int | None,
    datasets: Sequence[tuple[int, int, int]],
) -> Shard:
    """One file. A name leads nowhere else: a manifest from a stranger must not read other files."""
    _check(isinstance(name, str) and name == os.path.basename(name))  # noqa: PTH119 - of many
    _check(name not in ("", ".", "..") and "\0" not in name)
    _check(mtime_ns is None or type(mtime_ns) is int)
    _check(sha256 is None or isinstance(sha256, str))
    found = tuple([kinds[_size(kind, 0)](rows, stored) for kind, rows, stored in datasets])
    found = alike.setdefault(found, found)
    return Shard(name, _size(rows, 0), _size(nbytes, 0), sha256, mtime_ns, found)


def _check(sound: object) -> None:
    if not sound:
        raise ValueError


def _size(number: Any, least: int) -> int:
    """The same, if it is a whole number that a file may have."""
    if type(number) is not int or not least <= number < _MOST:
        raise ValueError(number)
    return number


def _sizes(numbers: Any, least: int) -> tuple[int, ...]:
    _check(isinstance(numbers, list) and len(numbers) <= 32)
    return tuple(_size(number, least) for number in numbers)


def _text(text: Any, longest: int) -> str:
    if not isinstance(text, str) or len(text) > longest:
        raise ValueError(text)
    return text


def _content(path: Path) -> Any:
    try:
        return json.loads(_read(path, io.BufferedReader.read))
    except ValueError as error:
        raise FileError(f"{path.name} is not JSON ({error})") from error


def shard_of(path: Path, *, mtime: bool = True, checksums: bool = False) -> Shard:
    """Looks into a file for its place in a manifest.

    Args:
        path: The file.
        mtime: Whether to tell its time: any change is noticed then, and so is a copy.
        checksums: Whether to read all of it.

    Raises:
        PrefetchError: As `prefetcher.hdf5.describe.describe` and `checksum`.
    """
    found = describe(path)
    datasets = tuple(filter(_is_told, found.datasets))
    return Shard(
        path.name,
        max((dataset.rows for dataset in datasets), default=0),
        found.size,
        checksum(path) if checksums else None,
        found.identity.mtime_ns if mtime else None,
        datasets,
    )


def _is_told(dataset: Dataset) -> bool:
    """Whether a manifest can tell all of it; else the file is asked, as without a manifest."""
    usable = dataset.shape and not dataset.refused and not dataset.missing_filter
    usable = usable and dataset.packing is None  # attributes, which a manifest does not hold
    plain = dataset.dtype.names is None and not dataset.dtype.subdtype
    plain = plain and bool(dataset.dtype.itemsize) and not dataset.dtype.hasobject
    alike = plain and np.dtype(dataset.dtype.str) == dataset.dtype
    return bool(usable and alike and dataset.layout in _LAYOUTS)


def write_manifest(path: Path, shards: Sequence[Shard]) -> None:
    """Writes a manifest by temporary name and rename; the same shards give the same bytes."""
    kinds: dict[str, int] = {}
    files = [
        {
            "name": shard.name,
            "rows": shard.rows,
            "nbytes": shard.nbytes,
            "sha256": shard.sha256,
            "mtime_ns": shard.mtime_ns,
            "datasets": [
                [kinds.setdefault(_kind_text(each), len(kinds)), each.rows, each.stored_bytes]
                for each in shard.datasets
            ],
        }
        for shard in shards
    ]
    head = {"format": FORMAT, "v": VERSION, "rows": sum(shard.rows for shard in shards)}
    # A line for each file: a diff shows what changed.
    lines = ",\n  ".join(map(json.dumps, files))
    text = json.dumps(head)[:-1] + ",\n "
    text += f'"datasets": [\n  {",".join(f"{kind}" for kind in kinds)}\n ],\n '
    partial = path.with_name(path.name + ".partial")
    partial.write_text(f'{text}"files": [\n  {lines}\n ]}}\n', encoding="utf-8")
    partial.replace(path)


def _kind_text(dataset: Dataset) -> str:
    return json.dumps(
        {
            "name": dataset.name,
            "dtype": dataset.dtype.str,
            "row_shape": dataset.row_shape,
            "layout": dataset.layout,
            "storage_chunk": dataset.storage_chunk,
            "filters": dataset.filters,
            "way": dataset.way,
        }
    )


def checksum(path: Path) -> str:
    """The SHA-256 of a file's bytes, in hexadecimal.

    Raises:
        FileMissingError: There is no such file.
        ReadError: The system could not read it, also not after the retries.
    """
    return _read(path, _digest)


def _digest(file: io.BufferedReader) -> str:
    return hashlib.file_digest(file, "sha256").hexdigest()


def _read(path: Path, take: Callable[[io.BufferedReader], Result]) -> Result:
    """What `take` makes of a file, which is opened anew and read again where that may help."""

    def look() -> Result:
        try:
            with path.open("rb") as file:
                return take(file)
        except FileNotFoundError as error:
            raise FileMissingError(f"there is no file {path}: check the path") from error

    return Retry().opening(path.name, look)
