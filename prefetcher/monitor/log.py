"""The log file: one JSON object per line, appended whole, readable while it grows."""

from __future__ import annotations

import errno
import json
import math
import os
from collections.abc import Mapping
from numbers import Integral, Real
from pathlib import Path
from typing import Final

from prefetcher.errors import FileError

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
        if not begins_like_ours(self._file.read(len(_HEAD))):
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


def begins_like_ours(line: bytes) -> bool:
    """Whether a line, or as much of it as there is, begins as every line of a log does."""
    return line.startswith(_HEAD) or _HEAD.startswith(line)
