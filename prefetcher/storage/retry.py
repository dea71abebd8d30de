"""Trying again where a network or a disk had a moment of weakness."""

from __future__ import annotations

import errno
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TypeVar

from prefetcher.errors import PrefetchError, ReadError

Result = TypeVar("Result")
_TRANSIENT = frozenset({errno.EIO, getattr(errno, "ESTALE", errno.EIO), errno.ETIMEDOUT})
_FIRST_PAUSE_S = 0.1
"""Grows fourfold with each try: three tries span two seconds, a failover of a file server."""


def may_pass(error: OSError) -> bool:
    """Whether the same read may work a moment later."""
    return error.errno in _TRANSIENT


@dataclass(frozen=True, slots=True)
class Retry:
    """How often a read is tried again, and who is told."""

    retries: int = 3
    stopping: threading.Event = field(default_factory=threading.Event)
    """Ends a pause at once."""
    on_retry: Callable[[Mapping[str, object]], None] | None = None

    def opening(self, name: str, look: Callable[[], Result]) -> Result:
        """What `look` finds in the file `name`, which it opens anew each time.

        Raises:
            ReadError: the system could not read it, also not after the retries.
        """
        try:
            try:
                return look()
            except OSError as error:
                return self.again(error, look, {"file": name})
        except PrefetchError:
            raise
        except OSError as error:
            raise ReadError(f"reading {name} failed: {error}") from error

    def again(
        self, error: OSError, read: Callable[[], Result], where: Mapping[str, object]
    ) -> Result:
        """Calls `read` until it works; `error` is what a first try raised.

        Raises:
            OSError: the last error, if it may not be tried again, after `retries` times or once
                `stopping` was set.
        """
        try:
            for attempt in range(1, self.retries + 1):
                if not may_pass(error):
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
        finally:
            del error  # it holds this frame, which would hold open files until the next collection

    def _report(self, event: Mapping[str, object]) -> None:
        if self.on_retry is not None:
            self.on_retry(event)
