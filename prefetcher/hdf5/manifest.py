"""The manifest of a data set in several files: which, in which order, and their checksums."""

from __future__ import annotations

import hashlib
import io
import json
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from prefetcher.errors import CorruptError, FileError, FileMissingError
from prefetcher.storage.retry import Result, Retry

FORMAT = "prefetcher-manifest"
VERSION = 1


@dataclass(frozen=True, slots=True)
class Shard:
    """One file of the data set."""

    name: str
    """The file's name, in the folder of the manifest."""
    rows: int
    """Rows of each dataset in it."""
    nbytes: int
    """Bytes of the whole file."""
    sha256: str
    """Of the whole file, in hexadecimal."""


@dataclass(frozen=True, slots=True)
class Manifest:
    """The files of one data set, in the order of their rows."""

    path: Path
    shards: tuple[Shard, ...]

    @property
    def rows(self) -> int:
        """Rows of each dataset in all files together."""
        return sum(shard.rows for shard in self.shards)

    @property
    def paths(self) -> tuple[Path, ...]:
        """The files, in order."""
        return tuple(self.path.with_name(shard.name) for shard in self.shards)

    def verify(self) -> None:
        """Reads every file whole and compares it with its checksum.

        Raises:
            CorruptError: A file is not the one that was written.
            FileMissingError: There is no such file any more.
        """
        for path, shard in zip(self.paths, self.shards, strict=True):
            if checksum(path) != shard.sha256:
                raise CorruptError(f"{path.name} is not what {self.path.name} says: copy it again")


def is_manifest(path: str | os.PathLike[str]) -> bool:
    """Whether a path is meant for a manifest, by its name."""
    return Path(path).suffix == ".json"


def read_manifest(path: str | os.PathLike[str]) -> Manifest:
    """Reads a manifest and looks that its files are there; their bytes are left to `verify`.

    Raises:
        FileMissingError: The manifest or one of its files is missing.
        ReadError: The system could not read the manifest, also not after the retries.
        FileError: It is no manifest, or a file has not the size that it says.
    """
    path = Path(path)
    manifest = Manifest(path, tuple(_shards(path)))
    for file, shard in zip(manifest.paths, manifest.shards, strict=True):
        if not file.is_file():
            raise FileMissingError(f"{path.name} names {shard.name}, which is not beside it")
        if file.stat().st_size != shard.nbytes:
            raise FileError(
                f"{shard.name} has {file.stat().st_size} bytes, {path.name} says {shard.nbytes}: "
                "copy or write it again"
            )
    return manifest


def _shards(path: Path) -> list[Shard]:
    content = _content(path)
    try:
        version = content["format"], content["v"]
        shards = [Shard(**shard) for shard in content["files"]]
        sound = version == (FORMAT, VERSION) and bool(shards) and all(map(_is_sound, shards))
    except (KeyError, TypeError):
        sound = False
    if not sound:
        raise FileError(
            f"{path.name} is not a manifest of version {VERSION}, with names of files beside it: "
            "prefetcher convert --shards writes one"
        )
    return shards


def _content(path: Path) -> Any:
    try:
        return json.loads(_read(path, io.BufferedReader.read))
    except ValueError as error:
        raise FileError(f"{path.name} is not JSON ({error})") from error


def _is_sound(shard: Shard) -> bool:
    """A name leads nowhere else: a manifest from a stranger must not read other files."""
    return shard.name == Path(shard.name).name not in ("", "..") and shard.rows >= 0


def write_manifest(path: Path, shards: Sequence[Shard]) -> None:
    """Writes a manifest by temporary name and rename; the same shards give the same bytes."""
    content = {
        "format": FORMAT,
        "v": VERSION,
        "rows": sum(shard.rows for shard in shards),
        "files": [
            {"name": s.name, "rows": s.rows, "nbytes": s.nbytes, "sha256": s.sha256} for s in shards
        ],
    }
    partial = path.with_name(path.name + ".partial")
    partial.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    partial.replace(path)


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
