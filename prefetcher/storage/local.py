"""A file of this machine: reads that need no lock, and the check that it is still the same."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path

from prefetcher.clock import State, doing
from prefetcher.errors import CorruptError, FileMissingError, OpenFilesError
from prefetcher.storage.protocol import Identity, Piece, Range, check_identity

_ANNOUNCED = 512 << 10
"""Bytes in one call of fadvise: of a larger range many disks' queues take only the beginning."""
_PROBES = 8
_VECTOR = 1024
"""Pieces in one call of preadv: what Linux and macOS accept (IOV_MAX)."""


class LocalBytes:
    """One file open for reading at any offset, from any number of threads at once.

    Raises:
        FileMissingError: There is no such file.
        OpenFilesError: The process has as many files open as it may.
        OSError: The system cannot open it.
    """

    def __init__(self, path: Path, identity: Identity) -> None:
        self._path = path
        self._identity = identity
        self._fd = _opened(path)
        self.size = os.fstat(self._fd).st_size if identity.size is None else identity.size

    def check_unchanged(self) -> None:
        """Raises `FileChangedError` if the file was written to since it was described."""
        status = os.fstat(self._fd)
        # The usual answer, by the shortest way: it is asked after every read.
        if (status.st_size, status.st_mtime_ns, status.st_ino) != self._identity:
            check_identity(self._path.name, status, self._identity)

    def expect(self, ranges: Sequence[Range]) -> None:
        """Tells the system that these bytes will be read soon, unless it has them in memory.

        A random read waits for the disk each time. Told before, the system has many of them under
        way at once, and gives them as fast as it reads in sequence. Only advice: it never fails.
        """
        with doing(State.READ), suppress(OSError):
            if not hasattr(os, "posix_fadvise") or self.in_memory(ranges):
                return
            for start, named in _merged(ranges):
                stop = min(named, self.size)  # a damaged file may name more
                for at in range(start, stop, _ANNOUNCED):
                    size = min(_ANNOUNCED, stop - at)
                    os.posix_fadvise(self._fd, at, size, os.POSIX_FADV_WILLNEED)

    def in_memory(self, ranges: Sequence[Range]) -> bool:
        """Whether the page cache has the first byte of some of these, by a read that never waits.

        Advice on what is there already would cost a quarter of the time to copy it.
        """
        try:
            for start, _ in ranges[:: -(-len(ranges) // _PROBES) or 1]:
                os.preadv(self._fd, [bytearray(1)], start, os.RWF_NOWAIT)
        except (OSError, AttributeError):  # not in memory; or a system that cannot tell
            return False
        return True

    def read(self, offset: int, wanted: int, pieces: Sequence[Piece]) -> None:
        """Fills `pieces` one after the other with the bytes from `offset` on; blocks."""
        if offset < 0 or offset + wanted > self.size:
            raise CorruptError(
                f"bytes {offset} to {offset + wanted} are wanted, the file has only {self.size}"
            )
        while True:
            # numpy's stubs know the buffer protocol from Python 3.12 on only.
            done = os.preadv(self._fd, pieces[:_VECTOR], offset)  # type: ignore[arg-type]
            if done == wanted:
                return
            if done == 0:
                self.check_unchanged()
                raise CorruptError(f"the file ends at byte {offset}, in the middle of the rows")
            offset += done
            wanted -= done
            pieces = _rest(pieces, done)

    def close(self) -> None:
        """Closes the file. The caller makes sure that nobody reads."""
        os.close(self._fd)


TOO_MANY = (errno.EMFILE, errno.ENFILE)
"""What the system says when no more files may be open: in this process, or at all."""


def too_many(path: Path, error: OSError) -> OpenFilesError:
    """The error for a file that could not be opened because so many are."""
    return OpenFilesError(
        f"{path.name} cannot be opened: {error}. This process may not have more files open at "
        "once: raise the limit with `ulimit -n 4096` before it is started"
    )


def _opened(path: Path) -> int:
    try:
        return os.open(path, os.O_RDONLY | getattr(os, "O_CLOEXEC", 0))
    except FileNotFoundError as error:
        raise FileMissingError(f"there is no file {path}: check the path") from error
    except OSError as error:
        if error.errno in TOO_MANY:
            raise too_many(path, error) from error
        raise


def _merged(ranges: Sequence[Range]) -> Iterator[Range]:
    """What lies side by side, or nearly so, as one range."""
    ordered = iter(sorted(ranges))
    start, stop = next(ordered, (0, 0))
    for following in ordered:
        if following[0] > stop + _ANNOUNCED:
            yield start, stop
            start = following[0]
        stop = max(stop, following[1])
    yield start, stop


def _rest(pieces: Sequence[Piece], done: int) -> Sequence[Piece]:
    """What is left of `pieces` after their first `done` bytes were filled."""
    for at, piece in enumerate(pieces):
        if done < piece.nbytes:
            return [piece.reshape(-1)[done:], *pieces[at + 1 :]]
        done -= piece.nbytes
    return []
