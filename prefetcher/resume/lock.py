"""One training for one folder: a lock that ends with the process, however that ends."""

from __future__ import annotations

import errno
import logging
import os
import stat
import sys
from pathlib import Path
from weakref import WeakValueDictionary, finalize

from prefetcher.errors import FileBusyError, FileError

if sys.platform == "win32":
    import msvcrt
else:
    import fcntl

NAME = "lock"
"""The file whose lock stands for the folder's. It is empty, and stays."""

_OPEN = (
    os.O_RDWR
    | os.O_CREAT
    | getattr(os, "O_NOFOLLOW", 0)  # through a link, a file would be made where it leads
    | getattr(os, "O_NONBLOCK", 0)  # a FIFO is opened at once
    | getattr(os, "O_CLOEXEC", 0)
)
_BUSY = (errno.EAGAIN, errno.EACCES, errno.EDEADLK)
_NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP)

_logger = logging.getLogger("prefetcher")


class FolderLock:
    """The right to keep backups in a folder. Within one process, who asks last has it.

    Args:
        folder: Made by `hold` if it is not there.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._end: finalize[[int], FolderLock] | None = None

    def hold(self) -> None:
        """Takes the lock, if it is not held here already; does not wait.

        Raises:
            FileBusyError: Another process has it.
            FileError: The folder cannot be made or written.
        """
        if self._end is not None and self._end.alive:
            return
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            path = self._folder.resolve() / NAME
            if before := _holders.get(path):  # a training of this process that was broken off
                before.release()
            descriptor = os.open(path, _OPEN, 0o666)
        except OSError as error:
            raise FileError(
                f"no backup can be written into {self._folder.name}: {error}"
            ) from error
        self._end = finalize(self, os.close, descriptor)
        _holders[path] = self
        try:
            self._take(descriptor)
        except BaseException:
            self.release()
            raise

    def _take(self, descriptor: int) -> None:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise FileError(f"{NAME} in {self._folder.name} is no file: remove it")
        try:
            _lock(descriptor)
        except OSError as error:
            if error.errno in _BUSY:
                raise FileBusyError(
                    f"another process trains with the backup folder {self._folder.name} now: wait "
                    "until it has ended, or choose another folder"
                ) from error
            if error.errno not in _NO_LOCKS:
                raise
            _logger.warning(
                "the disk of %s has no locks: take care that one process trains with it",
                self._folder.name,
            )

    def release(self) -> None:
        """Lets others have it. Does nothing if it is not held here."""
        if self._end is not None:
            self._end()


_holders: WeakValueDictionary[Path, FolderLock] = WeakValueDictionary()
"""Who has which lock file in this process."""


def _lock(descriptor: int) -> None:
    if sys.platform == "win32":
        msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
    else:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)


def _forget() -> None:
    """A forked child has no lock, and keeps none alive when its parent ends."""
    for holder in list(_holders.values()):
        holder.release()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget)
