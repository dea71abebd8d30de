"""The file's bytes by offset: reads that need no lock, and the check that it is still the same."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from prefetcher.clock import State, doing
from prefetcher.errors import CorruptError, FileChangedError
from prefetcher.hdf5.opening import Identity, identity_of

Piece = NDArray[np.uint8]
"""Contiguous memory to fill, of any shape."""
_VECTOR = 1024
"""Pieces in one call of preadv: what Linux and macOS accept (IOV_MAX)."""


class StoredBytes:
    """One file open for reading at any offset, from any number of threads at once."""

    def __init__(self, path: Path, identity: Identity) -> None:
        self._name = path.name
        self._identity = identity
        self.size = identity[0]
        self._fd = os.open(path, os.O_RDONLY | getattr(os, "O_CLOEXEC", 0))

    def check_unchanged(self) -> None:
        """Raises `FileChangedError` if the file was written to since it was described."""
        if identity_of(os.fstat(self._fd)) != self._identity:
            raise FileChangedError(
                f"{self._name} was written to after it was opened, so rows read from it may be "
                "torn: let the writer finish, then open it again"
            )

    def read(self, offset: int, pieces: Sequence[Piece]) -> None:
        """Fills `pieces` one after the other with the bytes from `offset` on.

        Raises:
            CorruptError: the bytes asked for are not all within the file.
            OSError: the system could not read them.
        """
        wanted = sum(piece.nbytes for piece in pieces)
        if offset < 0 or offset + wanted > self.size:
            raise CorruptError(
                f"bytes {offset} to {offset + wanted} are wanted, the file has only {self.size}"
            )
        while wanted:
            with doing(State.READ):
                # numpy's stubs know the buffer protocol from Python 3.12 on only.
                done = os.preadv(self._fd, pieces[:_VECTOR], offset)  # type: ignore[arg-type]
            if done == 0:
                self.check_unchanged()
                raise CorruptError(f"the file ends at byte {offset}, in the middle of the rows")
            offset += done
            wanted -= done
            if wanted:
                pieces = _rest(pieces, done)

    def close(self) -> None:
        """Closes the file. The caller makes sure that nobody reads."""
        os.close(self._fd)


def _rest(pieces: Sequence[Piece], done: int) -> Sequence[Piece]:
    """What is left of `pieces` after their first `done` bytes were filled."""
    for at, piece in enumerate(pieces):
        if done < piece.nbytes:
            return [piece.reshape(-1)[done:], *pieces[at + 1 :]]
        done -= piece.nbytes
    return []
