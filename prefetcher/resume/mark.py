"""A mark in a folder, by which another process knows that it sees the same folder."""

from __future__ import annotations

import os
import stat
from pathlib import Path

NAME = "shared"
"""The file that holds the mark. It is there for a moment, when a training begins."""

_BINARY = getattr(os, "O_BINARY", 0) | getattr(os, "O_CLOEXEC", 0)
_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_NOFOLLOW", 0) | _BINARY
_OLD = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_NOFOLLOW", 0) | _BINARY


def write(folder: Path, mark: str) -> None:
    """Leaves a mark, in the place of an older one.

    Raises:
        OSError: The folder cannot be written.
    """
    remove(folder)
    with os.fdopen(os.open(folder / NAME, _NEW, 0o666), "wb") as file:
        file.write(mark.encode())
        file.flush()
        os.fsync(file.fileno())  # a network file system then shows it to others


def read(folder: Path) -> str | None:
    """The mark that the folder has, None if this process sees none there."""
    try:
        with os.fdopen(os.open(folder / NAME, _OLD), "rb") as file:
            if stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                return file.read(64).decode(errors="replace")
    except OSError:
        pass
    return None


def remove(folder: Path) -> None:
    """Takes the mark away, if there is one.

    Raises:
        OSError: The folder cannot be written.
    """
    (folder / NAME).unlink(missing_ok=True)
