"""Which files are open: as many as the process may have, the least recently used closed first.

Knows nothing of what is in them. One object, `OPEN_FILES`, serves all data sets of a process,
because the system's limit is the process's too.
"""

from __future__ import annotations

import os
import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Protocol, TypeVar, cast

from prefetcher.errors import OpenFilesError
from prefetcher.machine.limits import descriptors_allowed, descriptors_open

MOST_DESCRIPTORS = 4096
"""Ours, also where the system allows more: to open a file again takes microseconds."""
MOST_BYTES = 32 << 20
"""Memory of all open files together: about a hundred files that are read through h5py."""
_EACH = 2
"""Descriptors that a file takes while it is opened: h5py's and our own."""


class Opened(Protocol):
    """What an open file is to this module."""

    @property
    def descriptors(self) -> int:
        """How many it takes."""

    @property
    def nbytes(self) -> int:
        """Memory that goes back when it is closed."""

    def close(self) -> None:
        """Closes it. Nobody reads."""


T = TypeVar("T", bound=Opened)


class _Entry:
    """One file that is open, or about to be."""

    __slots__ = ("left", "lock", "opened", "users")

    def __init__(self) -> None:
        self.lock = threading.RLock()  # held while it is opened, by whoever comes first
        self.opened: Opened | None = None
        self.users = 0
        self.left = False
        """Whether its owner is done with it."""


def descriptors_ours() -> int:
    """The most descriptors that this package keeps open when nobody reads: half of the limit."""
    return min(descriptors_allowed() // 2, MOST_DESCRIPTORS)


def check_descriptors(threads: int, each: int = _EACH) -> None:
    """Refuses what cannot work: fewer free descriptors than are needed at the same time.

    Args:
        threads: Those that read at once, each one file.
        each: Descriptors of one file.

    Raises:
        OpenFilesError: The limit is too low.
    """
    allowed, taken = descriptors_allowed(), descriptors_open()
    needed = threads * each
    if taken + needed > allowed:
        raise OpenFilesError(
            f"{threads} threads that read take {needed} open files at once, {taken} are open, and "
            f"the limit is {allowed}: raise it with `ulimit -n {2 * (taken + needed)}`, or take "
            "fewer readers"
        )


class OpenFiles:
    """The files that are open. Any number of threads may call at once.

    A file is open from the first `enter` on. When too many are, the one that was not used for the
    longest time is closed; never one between its `enter` and its `leave`, though there be too many.

    Args:
        most_descriptors: Asked at each opening, as the limit may change.
        most_bytes: Memory that they may take together.
    """

    def __init__(
        self,
        most_descriptors: Callable[[], int] = descriptors_ours,
        most_bytes: int = MOST_BYTES,
    ) -> None:
        self._most_descriptors = most_descriptors
        self._most_bytes = most_bytes
        self.renew()

    def renew(self) -> None:
        """Begins anew, with nothing open: in a process that was forked, which has only copies."""
        # Re-entrant: a finalizer may close a file on a thread that holds it.
        self._lock = threading.RLock()
        self._entries: OrderedDict[Hashable, _Entry] = OrderedDict()
        self._most = 0
        self._descriptors = 0
        self._bytes = 0

    def __len__(self) -> int:
        return len(self._entries)

    @property
    def descriptors(self) -> int:
        """Those that are taken now."""
        return self._descriptors

    def enter(self, key: Hashable, opening: Callable[[], T]) -> T:
        """The open file of that key, for use until `leave`; `opening` is called if it is closed.

        Raises:
            OpenFilesError: It cannot be opened although every other file was closed that may be.
            Exception: What `opening` raises. Then nothing was entered.
        """
        with self._lock:
            entry = self._entries.get(key)
            if entry is None:
                entry = self._entries[key] = _Entry()
            else:
                self._entries.move_to_end(key)
            entry.users += 1
            opened = entry.opened
        if opened is not None:
            return cast("T", opened)
        try:
            with entry.lock:
                if entry.opened is None:
                    self._open(entry, opening)
                return cast("T", entry.opened)
        except BaseException:
            self.leave(key)
            raise

    def leave(self, key: Hashable) -> None:
        """Ends a use of a file, which stays open if there is room for it."""
        closing = None
        with self._lock:
            entry = self._entries[key]
            entry.users -= 1
            if not entry.users and (entry.left or entry.opened is None or self._is_full(0)):
                closing = self._taken_out(key)
        if closing is not None:
            closing.close()

    def forget(self, key: Hashable) -> None:
        """Closes a file, or leaves that to the last who uses it. Never waits for one."""
        with self._lock:
            entry = self._entries.get(key)
            if entry is None:
                return
            entry.left = True
            closing = None if entry.users else self._taken_out(key)
        if closing is not None:
            closing.close()

    def _open(self, entry: _Entry, opening: Callable[[], Opened]) -> None:
        self._most = self._most_descriptors()
        if self._is_full(_EACH):
            self._make_room(_EACH)
        try:
            opened = opening()
        except OpenFilesError:  # others of this process have the rest
            if not self._make_room(self._most):
                raise
            opened = opening()
        with self._lock:
            entry.opened = opened
            self._descriptors += opened.descriptors
            self._bytes += opened.nbytes
            full = self._is_full(0)
        if full:
            self._make_room(0)

    def _is_full(self, more: int) -> bool:
        return self._descriptors + more > self._most or self._bytes > self._most_bytes

    def _make_room(self, more: int) -> bool:
        """Closes what is not used until so many descriptors are free; whether it closed any."""
        any_closed = False
        while self._is_full(more) and (closing := self._least_used()) is not None:
            closing.close()  # without the lock, as HDF5 may wait for its own
            any_closed = True
        return any_closed

    def _least_used(self) -> Opened | None:
        """What was not used for the longest time and is not used now, taken out."""
        with self._lock:
            for key, entry in self._entries.items():
                if not entry.users:
                    return self._taken_out(key)
        return None

    def _taken_out(self, key: Hashable) -> Opened | None:
        opened = self._entries.pop(key).opened
        if opened is not None:
            self._descriptors -= opened.descriptors
            self._bytes -= opened.nbytes
        return opened


OPEN_FILES = OpenFiles()
"""Those of this process."""
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=OPEN_FILES.renew)
