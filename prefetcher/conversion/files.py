"""Files of a source: regular ones only, as a FIFO or a device would hang or never end."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import BinaryIO

from prefetcher.errors import FileError, FileMissingError

_HOW = os.O_RDONLY | sum(getattr(os, name, 0) for name in ("O_NONBLOCK", "O_CLOEXEC", "O_BINARY"))
_KINDS = {
    stat.S_IFDIR: "a folder",
    stat.S_IFIFO: "a FIFO",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
    stat.S_IFSOCK: "a socket",
}


def check_regular(path: Path) -> os.stat_result:
    """What the system knows of a file, links followed.

    Raises:
        FileMissingError: There is no such file.
        FileError: It is no regular file.
    """
    try:
        status = path.stat()
    except FileNotFoundError as error:
        raise FileMissingError(f"there is no file {path}: check the path") from error
    _check(path, status)
    return status


def open_regular(path: Path) -> BinaryIO:
    """Opens a file for reading; never waits for a writer.

    Raises:
        FileMissingError: There is no such file.
        FileError: It is no regular file.
        OSError: It cannot be opened.
    """
    check_regular(path)  # a device may do something when it is opened
    descriptor = os.open(path, _HOW)
    try:
        _check(path, os.fstat(descriptor))  # another may have come to its place
        return os.fdopen(descriptor, "rb")
    except BaseException:
        os.close(descriptor)
        raise


def _check(path: Path, status: os.stat_result) -> None:
    kind = stat.S_IFMT(status.st_mode)
    if kind != stat.S_IFREG:
        raise FileError(
            f"{path.name} is {_KINDS.get(kind, 'something else')}, not a regular file: copy what "
            "it gives into one"
        )
