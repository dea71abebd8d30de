"""Backups in a folder: each one whole or not there at all, the last two kept.

A backup is written under a temporary name, forced to the disk and only then renamed, so a kill at
any moment leaves those before it as they were. It is numpy's own .npz, which `numpy.load` opens,
with a SHA-256 of all that after its end.
"""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Mapping
from hashlib import file_digest, sha256
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import numpy as np
from numpy.typing import NDArray

from prefetcher.errors import StateError

Arrays = Mapping[str, NDArray[Any]]

_KEPT = 2  # a disk that loses the newest one still leaves the other
_FACTS = "facts.json"
_DIGEST_BYTES = 32
_PIECE = 1 << 20

_logger = logging.getLogger("prefetcher")


class Saved(NamedTuple):
    """One backup: what JSON can hold, and arrays by name."""

    facts: dict[str, Any]
    arrays: Arrays


class Store:
    """The backups of one training. For one process at a time.

    Args:
        folder: Made if it is not there. Other files in it are left alone.
    """

    def __init__(self, folder: str | os.PathLike[str]) -> None:
        self._folder = Path(folder)

    def save(self, facts: Mapping[str, Any], arrays: Arrays) -> None:
        """Keeps a backup; returns when it is on the disk.

        Args:
            facts: What JSON can hold.
            arrays: Numpy arrays by name; not changed, and not kept.

        Raises:
            OSError: The folder cannot be written, or the disk is full; older backups stay.
        """
        self._folder.mkdir(parents=True, exist_ok=True)
        before = self._backups()
        number = _number(before[-1]) + 1 if before else 1
        path = self._folder / f"backup-{number:06d}.npz"
        part = path.with_suffix(".part")
        text = np.frombuffer(json.dumps(facts).encode(), np.uint8)
        with part.open("w+b") as file:
            np.savez(file, allow_pickle=False, **{_FACTS: text, **arrays})
            file.seek(0)
            file.write(file_digest(file, "sha256").digest())
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
        _sync(self._folder)
        for old in before[: 1 - _KEPT]:
            old.unlink()

    def newest(self) -> Saved | None:
        """The newest backup that is whole, None where there are none.

        Raises:
            StateError: There are backups, and not one is whole.
            OSError: A file cannot be read.
        """
        backups = self._backups()
        for path in reversed(backups):
            saved = _load(path)
            if saved is not None:
                return saved
            _logger.warning("%s is damaged: taking the one before it", path.name)
        if backups:
            raise StateError(
                f"no backup in {self._folder.name} is whole: copy one back, or remove the folder "
                "to begin anew"
            )
        return None

    def _backups(self) -> list[Path]:
        return sorted(self._folder.glob("backup-*.npz"), key=_number)


def _load(path: Path) -> Saved | None:
    """The backup in a file, None if it is not as it was written."""
    with path.open("rb") as file:
        if not _is_whole(file):
            return None
        file.seek(0)
        with np.load(file) as archive:
            arrays = {name: archive[name] for name in archive.files}
    facts = json.loads(arrays.pop(_FACTS).tobytes())
    return Saved(facts, arrays)


def _is_whole(file: BinaryIO) -> bool:
    left = file.seek(0, os.SEEK_END) - _DIGEST_BYTES
    file.seek(0)
    digest = sha256()
    while left > 0 and (piece := file.read(min(_PIECE, left))):
        digest.update(piece)
        left -= len(piece)
    return file.read() == digest.digest()


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
