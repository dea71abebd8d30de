"""The log file: one JSON object per line, appended whole, readable while it grows."""

from __future__ import annotations

import errno
import json
import math
import os
from collections.abc import Mapping
from numbers import Integral, Real
from pathlib import Path
from typing import Any, Final

from prefetcher.errors import FileError, FileMissingError

VERSION: Final = 1
"""Version of the schema, `v` of every line."""

_HEAD: Final = b'{"v":'


class LogFile:
    """Appends lines to a log. Each line is one write to the system: on return it is in the file.

    Raises:
        FileError: the file exists and is not a log; nothing was written to it.
        OSError: it cannot be opened for appending.
    """

    def __init__(self, path: Path) -> None:
        # Unbuffered, so that a fork, a crash or a full disk never leaves half of a later line.
        self._file = path.open("ab+", buffering=0)
        try:
            self._continue_after(path)
        except BaseException:
            self.close()
            raise

    def _continue_after(self, path: Path) -> None:
        """Makes sure that the next line starts a line of a log, also after a writer was killed."""
        size = self._file.seek(0, os.SEEK_END)
        if not size:
            return
        self._file.seek(0)
        if not _begins_like_ours(self._file.read(len(_HEAD))):
            raise FileError(f"{path.name} is not a log of this package; log to another file")
        self._file.seek(size - 1)
        if self._file.read(1) != b"\n":
            self._append(b"\n")

    def write(self, kind: str, content: Mapping[str, object]) -> None:
        """Appends one line of `kind` with `content`.

        Raises:
            OSError: the disk is full or gone.
        """
        line = json.dumps(
            plain({"v": VERSION, "kind": kind, **content}), allow_nan=False, separators=(",", ":")
        )
        self._append(line.encode() + b"\n")

    def _append(self, data: bytes) -> None:
        if self._file.write(data) != len(data):
            raise OSError(errno.ENOSPC, "only a part of the line could be written")

    def close(self) -> None:
        """Closes the file; calling it twice is fine."""
        self._file.close()


def plain(value: object) -> object:
    """The same value in JSON's types: numpy numbers too, NaN and infinity as None, the rest as str.

    Settings are whatever the user gave (slices, functions, paths), and a log must hold them all.
    """
    if value is None or isinstance(value, bool | str):
        return value
    if isinstance(value, Integral):
        return int(value)
    if isinstance(value, Real):
        return float(value) if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    return str(value)


def read_log(path: str | os.PathLike[str]) -> list[dict[str, Any]]:
    """Reads a utilization log, also one that is still being written.

    A line that its writer could not finish (killed, disk full) is skipped: the last one of the
    file, or the last one before a new run.

    Args:
        path: the file given to `Monitor`.

    Returns:
        One dict per line, in file order, each with `v` and `kind`; empty for an empty file.

    Raises:
        FileMissingError: there is no such file.
        FileError: it cannot be read, is not a log, was written by a newer version, or has a bad
            line in the middle; the message names the line, counted from 1.
    """
    path = Path(path)
    lines = _content(path).splitlines()
    records = [_parse(line) for line in lines]
    return [
        _checked(record, path.name, number)
        for number, record in enumerate(records, start=1)
        if record is not None or not _is_torn(lines, records, number - 1)
    ]


def _content(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError as error:
        raise FileMissingError(
            f"{path.name}: expected a log, found no such file; give the path given to Monitor"
        ) from error
    except OSError as error:
        raise FileError(f"{path.name}: the log cannot be read ({error.strerror})") from error


def _parse(line: bytes) -> dict[str, Any] | None:
    """The line's object, None when it is not one whole object of ours."""
    try:
        record = json.loads(line)
    except ValueError:  # not JSON, or not even text
        return None
    return record if isinstance(record, dict) and "v" in record and "kind" in record else None


def _is_torn(lines: list[bytes], records: list[dict[str, Any] | None], index: int) -> bool:
    """Whether the bad line at `index` is the beginning of one that its writer did not finish."""
    following = records[index + 1] if index + 1 < len(records) else {"kind": "run"}
    ended_there = following is not None and following["kind"] == "run"
    return ended_there and _begins_like_ours(lines[index])


def _begins_like_ours(line: bytes) -> bool:
    return line.startswith(_HEAD) or _HEAD.startswith(line)


def _checked(record: dict[str, Any] | None, file: str, number: int) -> dict[str, Any]:
    if record is None:
        raise FileError(
            f"{file}, line {number}: expected one JSON object of a utilization log, found "
            "something else; is this the log, and was it edited?"
        )
    if record["v"] != VERSION:
        raise FileError(
            f"{file}, line {number}: this version reads logs of version {VERSION}, the line has "
            f"{record['v']!r}; install a newer prefetcher to read it"
        )
    return record
