"""Backups in a folder: each one whole or not there at all, the last two kept.

A backup is written under a temporary name, forced to the disk and only then renamed, so a kill at
any moment leaves those before it as they were. It is numpy's own .npz, which `numpy.load` opens,
with a SHA-256 of all that after its end.

The checksum tells damage, not who wrote it. So what is in a folder is opened as a stranger's: no
link is written through, nothing but a regular file is read, and nothing is unpacked or unpickled.
"""

from __future__ import annotations

import errno
import json
import logging
import os
import stat
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from hashlib import file_digest, sha256
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import numpy as np
from numpy.typing import NDArray

from prefetcher.errors import FileError, StateError
from prefetcher.resume.lock import FolderLock

Arrays = Mapping[str, NDArray[Any]]

_KEPT = 2  # a disk that loses the newest one still leaves the other
_FACTS = "facts.json"
_DIGEST_BYTES = 32
_PIECE = 1 << 20
_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)

# What Windows lacks is 0; O_BINARY is Windows's own.
_BINARY = getattr(os, "O_BINARY", 0) | getattr(os, "O_CLOEXEC", 0)
_NEW = os.O_RDWR | os.O_CREAT | os.O_EXCL | getattr(os, "O_NOFOLLOW", 0) | _BINARY
_OLD = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | _BINARY  # a FIFO is opened without a writer

_logger = logging.getLogger("prefetcher")


class Saved(NamedTuple):
    """One backup: what JSON can hold, and arrays by name."""

    facts: dict[str, Any]
    arrays: Arrays


class Store:
    """The backups of one training.

    Args:
        folder: Made if it is not there. Other files in it are left alone.
    """

    def __init__(self, folder: str | os.PathLike[str]) -> None:
        self._folder = Path(folder)
        self._lock = FolderLock(self._folder)

    def hold(self) -> None:
        """Makes the folder this training's until `release`, or until this process ends.

        Raises:
            FileBusyError: Another process trains with this folder.
            FileError: The folder cannot be made or written.
        """
        self._lock.hold()

    def release(self) -> None:
        """Lets others have the folder. Without a hold it does nothing."""
        self._lock.release()

    def save(self, facts: Mapping[str, Any], arrays: Arrays) -> None:
        """Keeps a backup; returns when it is on the disk.

        Args:
            facts: What JSON can hold.
            arrays: Numpy arrays by name; not changed, and not kept.

        Raises:
            FileError: The folder cannot be written, or the disk is full; older backups stay.
        """
        with self._errors_named(arrays):
            self._folder.mkdir(parents=True, exist_ok=True)
            before = self._backups()
            number = _number(before[-1]) + 1 if before else 1
            path = self._folder / f"backup-{number:06d}.npz"
            part = path.with_suffix(".part")
            try:
                _write(part, facts, arrays)
                part.replace(path)
            except BaseException:
                with suppress(OSError):
                    part.unlink()  # a full disk has other uses for it
                raise
            _sync(self._folder)
            for old in filter(_is_file, before[: 1 - _KEPT]):
                old.unlink()

    @contextmanager
    def _errors_named(self, arrays: Arrays) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            if error.errno in _NO_ROOM:
                size = sum(array.nbytes for array in arrays.values()) / 1e6
                raise FileError(
                    f"the disk is full: a backup of {size:,.0f} MB does not fit into "
                    f"{self._folder.name}. Those before it are kept: free some and run again"
                ) from error
            raise FileError(
                f"no backup can be written into {self._folder.name}: {error}"
            ) from error

    def newest(self) -> Saved | None:
        """As `newest_named`, without the name."""
        found = self.newest_named()
        return found and found[1]

    def newest_named(self) -> tuple[str, Saved] | None:
        """The newest backup that is whole, with its file's name; None where there are none.

        Raises:
            StateError: There are backups, and not one is whole; or the newest whole one is no
                backup of this package.
            OSError: A file cannot be read.
        """
        backups = self._backups()
        for path in reversed(backups):
            saved = _load(path)
            if saved is not None:
                return path.name, saved
            _logger.warning("%s is damaged: taking the one before it", path.name)
        if backups:
            raise StateError(
                f"no backup in {self._folder.name} is whole: copy one back, or remove the folder "
                "to begin anew"
            )
        return None

    def load(self, name: str) -> Saved | None:
        """The backup in the file of that name, None if it is not whole.

        Raises:
            StateError: It is whole, but no backup of this package.
            OSError: The file cannot be read.
        """
        return _load(self._folder / name)

    def _backups(self) -> list[Path]:
        return sorted(self._folder.glob("backup-*.npz"), key=_number)


def _write(part: Path, facts: Mapping[str, Any], arrays: Arrays) -> None:
    part.unlink(missing_ok=True)  # a link that somebody put there, not what it leads to
    text = np.frombuffer(json.dumps(facts).encode(), np.uint8)
    with os.fdopen(os.open(part, _NEW, 0o666), "w+b") as file:
        np.savez(file, allow_pickle=False, **{_FACTS: text, **arrays})
        file.seek(0)
        file.write(file_digest(file, "sha256").digest())
        file.flush()
        os.fsync(file.fileno())


def _load(path: Path) -> Saved | None:
    """The backup in a file, None if it is not as it was written."""
    if not path.is_file():
        return None
    with os.fdopen(os.open(path, _OLD), "rb") as file:
        if not _is_whole(file):
            return None
        try:
            return _unpacked(file)
        except OSError:
            raise
        # The bytes are those that somebody sealed; what they make numpy raise may be anything.
        except Exception as error:
            raise StateError(
                f"{path.name} in {path.parent.name} is whole, but no backup of this package "
                f"({type(error).__name__}: {error}): remove it to take the one before it"
            ) from error


def _unpacked(file: BinaryIO) -> Saved:
    with zipfile.ZipFile(file) as archive:
        members = archive.infolist()
        size = sum(member.file_size for member in members)
        if any(m.compress_type for m in members) or size > file.seek(0, os.SEEK_END):
            raise ValueError("its arrays are packed, and a backup's are not")
    file.seek(0)
    with np.load(file, allow_pickle=False) as archive:
        arrays = {name: archive[name] for name in archive.files}
    facts = json.loads(arrays.pop(_FACTS).tobytes())
    if not isinstance(facts, dict):
        raise TypeError("its facts are no object")
    return Saved(facts, arrays)


def _is_whole(file: BinaryIO) -> bool:
    # Asked of the open file: another may have come to its place meanwhile.
    if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
        return False
    left = file.seek(0, os.SEEK_END) - _DIGEST_BYTES
    file.seek(0)
    digest = sha256()
    while left > 0 and (piece := file.read(min(_PIECE, left))):
        digest.update(piece)
        left -= len(piece)
    return file.read() == digest.digest()


def _is_file(path: Path) -> bool:
    return stat.S_ISREG(path.lstat().st_mode)


def _number(path: Path) -> int:
    digits = path.stem.removeprefix("backup-")
    return int(digits) if digits.isdecimal() else 0


def _sync(folder: Path) -> None:
    """Forces a rename to the disk, where the system lets folders be opened."""
    if os.name == "posix":
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
