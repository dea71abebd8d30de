"""What every place that a file can lie in offers: its bytes by offset, and whether it changed."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from prefetcher.errors import FileChangedError

Piece = NDArray[np.uint8]
"""Contiguous memory to fill, of any shape."""
Range = tuple[int, int]
"""The offset of some bytes of a file, and one past the last."""


class Identity(NamedTuple):
    """What a rewrite of a file cannot keep, as far as it is known; None for what is not.

    Of a file that may grow only the inode counts.
    """

    size: int | None
    """Bytes; None where the file may grow."""
    mtime_ns: int | None
    """When it was last changed, in nanoseconds; None where the file may grow."""
    inode: int | None
    """None where the file was described elsewhere."""

    @property
    def grows(self) -> bool:
        """Whether another process may append to the file meanwhile."""
        return self.size is None


def identity_of(status: os.stat_result, *, grows: bool = False) -> Identity:
    """What tells this state of a file from every other, or a growing file from every other."""
    if grows:
        return Identity(None, None, status.st_ino)
    return Identity(status.st_size, status.st_mtime_ns, status.st_ino)


def is_same(status: os.stat_result, identity: Identity) -> bool:
    """Whether this is that state of a file, as far as it is known."""
    both = zip(identity_of(status), identity, strict=True)
    return all(known is None or now == known for now, known in both)


def check_identity(name: str, status: os.stat_result, identity: Identity) -> None:
    """Raises `FileChangedError` if this state of the file `name` is another."""
    if not is_same(status, identity):
        if identity.grows:
            raise FileChangedError(f"another file took the place of {name}: open that one")
        raise FileChangedError(
            f"{name} was written to after it was opened, so rows read from it may be torn: let the "
            "writer finish, then open it again"
        )


class StoredBytes(Protocol):
    """One file's bytes by offset. Any number of threads may call at once."""

    @property
    def size(self) -> int:
        """Bytes of the whole file."""

    def check_unchanged(self) -> None:
        """Raises `FileChangedError` if the file was written to since it was described."""

    def in_memory(self, ranges: Sequence[Range]) -> bool:
        """Whether these bytes would come at once, as far as a look at a few of them tells."""

    def expect(self, ranges: Sequence[Range]) -> None:
        """Has these bytes fetched, as they will be read soon. Only advice: it never fails."""

    def read(self, offset: int, wanted: int, pieces: Sequence[Piece]) -> None:
        """Fills `pieces` one after the other with the bytes from `offset` on; blocks.

        The caller books the time, as what a clock costs shows where many small pieces are read.

        Args:
            offset: The first byte's.
            wanted: The bytes of all pieces together, which the caller knows without counting.
            pieces: The memory to fill.

        Raises:
            CorruptError: The bytes asked for are not all within the file.
            OSError: They could not be read.
        """

    def close(self) -> None:
        """Closes the file. The caller makes sure that nobody reads."""
