"""Waiting with a limit: what does not happen fails, and shows where every thread stands."""

from __future__ import annotations

import faulthandler
import tempfile
from collections.abc import Callable
from threading import Event, Thread
from typing import Generic, NoReturn, TypeVar

import pytest

LIMIT_S = 30.0
"""Seconds until a wait counts as a hang. Far beyond what a busy machine needs; never slept."""

T = TypeVar("T")


def fail_with_stacks(what: str) -> NoReturn:
    """Fails the test with `what` and the stacks of all threads."""
    with tempfile.TemporaryFile("w+") as stacks:
        faulthandler.dump_traceback(stacks, all_threads=True)
        stacks.seek(0)
        pytest.fail(f"{what}\n{stacks.read()}")


def wait_for(event: Event, what: str, limit_s: float = LIMIT_S) -> None:
    """Waits until `event` is set, at most `limit_s` seconds."""
    if not event.wait(limit_s):
        fail_with_stacks(f"not within {limit_s:g} s: {what}")


def join(thread: Thread, limit_s: float = LIMIT_S) -> None:
    """Waits until `thread` has ended, at most `limit_s` seconds."""
    thread.join(limit_s)
    if thread.is_alive():
        fail_with_stacks(f"still running after {limit_s:g} s: {thread.name}")


class Task(Generic[T]):
    """A call on a thread of its own, whose result or error is asked for with a limit."""

    def __init__(self, call: Callable[[], T]) -> None:
        self._call = call
        self._result: list[T] = []
        self._error: BaseException | None = None
        self._thread = Thread(target=self._run, name=f"test-{call}", daemon=True)
        self._thread.start()

    def result(self, limit_s: float = LIMIT_S) -> T:
        """What the call returned; raises what it raised."""
        join(self._thread, limit_s)
        if self._error is not None:
            raise self._error
        return self._result[0]

    def _run(self) -> None:
        try:
            self._result.append(self._call())
        except BaseException as error:  # handed to whoever asks for the result
            self._error = error
