"""How long a thread waited for a CPU. Linux counts it for each thread; no other system does."""

from __future__ import annotations

import os
import sys
from typing import Final

_FILE: Final = "/proc/thread-self/schedstat"
_LONGEST: Final = 96  # three numbers of 64 bits, with what is between them


class RunQueue:
    """The calling thread's waits for a CPU. Opened, read and closed by that thread.

    Raises:
        OSError: This system does not count them; the message says why.
    """

    def __init__(self) -> None:
        if sys.platform != "linux":
            raise OSError("only Linux counts how long a thread waits for a CPU")
        # Held open: a look at an open file takes a microsecond or two, opening it takes twenty.
        self._descriptor = os.open(_FILE, os.O_RDONLY)
        try:
            counted = self.read()[1] > 0  # a thread that runs was given a CPU at least once
        except ValueError:
            counted = False
        if not counted:
            self.close()
            raise OSError("this kernel does not count how long a thread waits for a CPU")

    def read(self) -> tuple[float, int]:
        """Seconds for which the thread was ready to run and had no CPU; times it was given one.

        Both since the thread began. Sleeping is in neither: waiting for a lock, for Python's GIL,
        for a disk or for the network. Time in which a quota of the cgroup held it up counts.
        """
        _, waited_ns, timeslices = os.pread(self._descriptor, _LONGEST, 0).split()
        return int(waited_ns) / 1e9, int(timeslices)

    def close(self) -> None:
        """Closes the file. Once."""
        os.close(self._descriptor)


def check_counted() -> None:
    """Does nothing where waits for a CPU are counted.

    Raises:
        OSError: They are not; the message says why.
    """
    RunQueue().close()
