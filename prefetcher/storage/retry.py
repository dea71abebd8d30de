"""Trying again where a network or a disk had a moment of weakness."""

from __future__ import annotations

import errno
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass

_TRANSIENT = frozenset({errno.EIO, getattr(errno, "ESTALE", errno.EIO), errno.ETIMEDOUT})
_FIRST_PAUSE_S = 0.1
"""Grows fourfold with each try: three tries span two seconds, a failover of a file server."""


@dataclass(frozen=True, slots=True)
class Retry:
    """How often a read is tried again, and who is told."""

    retries: int
    stopping: threading.Event
    """Ends a pause at once."""
    on_retry: Callable[[Mapping[str, object]], None] | None

    def again(self, error: OSError, read: Callable[[], None], where: Mapping[str, object]) -> None:
        """Calls `read` until it works; `error` is what a first try raised.

        Raises:
            OSError: the last error, if it may not be tried again, after `retries` times or once
                `stopping` was set.
        """
        for attempt in range(1, self.retries + 1):
            if error.errno not in _TRANSIENT:
                break
            pause = _FIRST_PAUSE_S * 4 ** (attempt - 1)
            self._report({**where, "attempt": attempt, "pause_s": pause, "error": str(error)})
            if self.stopping.wait(pause):
                break
            try:
                return read()
            except OSError as another:
                error = another
        raise error

    def _report(self, event: Mapping[str, object]) -> None:
        if self.on_retry is not None:
            self.on_retry(event)
