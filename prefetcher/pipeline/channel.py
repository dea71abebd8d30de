"""A bounded, ordered, closable channel between threads.

Items are numbered. `put(k)` waits until `k < lowest + depth`, where `lowest` is the smallest
number that is still to be taken. So any number of workers may deliver out of turn, the order is
that of the numbers, and the item that the consumer needs next can always be put.

It ends in one of three ways, and says which:

- `close()`: you closed it. Everybody who waits or comes later gets `Closed`.
- `fail(k, error)`: the other side failed. Items before k still come; who asks for k or later
  gets the error itself.
- nobody took anything for a while: who waits for room gets `Idle`.

Waiting is on a condition, never by polling.
"""

from __future__ import annotations

import threading
from time import monotonic
from typing import Generic, TypeVar

T = TypeVar("T")

_CLOSE_PATIENCE = 1.0  # seconds; see `close`


class Closed(Exception):  # noqa: N818 - an answer, not an error
    """You closed the channel."""


class Idle(Exception):  # noqa: N818
    """Nobody has taken anything for the channel's idle time."""


class Channel(Generic[T]):
    """See the module. Every method may be called from any thread.

    Args:
        depth: Items that may be in here, or under way to it, at once; at least 1.
        first: The number of the first item.
        idle: Seconds since the last get after which waiting for room gives up; None for never.
        burst: Who found no room waits until there is room for so many items, 1 to `depth`. Each
            wake-up takes the interpreter from whoever trains, so few of them are best.
    """

    def __init__(
        self, depth: int, first: int = 0, *, idle: float | None = None, burst: int = 1
    ) -> None:
        self.depth = depth
        # Re-entrant: a finalizer may call close() in a thread that is inside this channel.
        self._lock = threading.RLock()
        self._filled = threading.Condition(self._lock)
        self._emptied = threading.Condition(self._lock)
        self._items: dict[int, T] = {}
        self._lowest = first
        self._taken: set[int] = set()
        self._closed = False
        self._failed_at: int | None = None
        self._error: BaseException | None = None
        self._burst = burst
        self._wakes_at: int | None = None  # the value of `_lowest` that those without room wait for
        self._idle = idle
        self._getters = 0
        self._last_get: float | None = None

    def reserve(self, number: int) -> None:
        """Waits until there is room for item `number`; a later put of it does not wait.

        Raises:
            Closed: The channel was closed, or failed before this number.
            Idle: Nothing was taken for the idle time.
        """
        with self._lock:
            if number >= self._lowest + self.depth:
                self._wait_for_room(number)
            if self._ended(number):
                raise Closed

    def put(self, number: int, item: T) -> None:
        """Waits for room, then delivers an item, which leaves when it is taken.

        Raises:
            Closed: The channel was closed, or failed before this number.
            Idle: Nothing was taken for the idle time.
        """
        with self._lock:
            self.reserve(number)
            self._items[number] = item
            if self._getters:
                self._filled.notify_all()

    def get(self, number: int) -> T:
        """Waits for item `number` and takes it.

        Raises:
            Closed: The channel was closed.
            BaseException: What `fail` was given, if that was for this number or an earlier one.
        """
        with self._lock:
            item = self.look(number)
            self.take(number)
            return item

    def look(self, number: int) -> T:
        """Waits for item `number` and leaves it where it is: its room is not free until `take`.

        Raises:
            Closed: The channel was closed.
            BaseException: What `fail` was given, if that was for this number or an earlier one.
        """
        with self._lock:
            if number not in self._items:
                self._wait_for(number)
            self._last_get = monotonic()
            if self._closed:
                raise Closed
            if number not in self._items and self._error is not None:
                raise self._error
            return self._items[number]

    def take(self, number: int) -> None:
        """Takes an item that was looked at. Does nothing if the channel was closed."""
        with self._lock:
            if number not in self._items:
                return
            del self._items[number]  # its memory is free before anybody learns of the room
            self._taken.add(number)
            while self._lowest in self._taken:
                self._taken.remove(self._lowest)
                self._lowest += 1
            if self._wakes_at is not None and self._lowest >= self._wakes_at:
                self._wakes_at = None
                self._emptied.notify_all()

    def fail(self, number: int, error: BaseException) -> None:
        """Ends the channel from item `number` on: the error takes the item's place.

        Of several failures the one with the smallest number is kept, as it is met first; the
        others are noted on it. Never waits for room.
        """
        with self._lock:
            if self._closed:
                pass  # nobody will be told of it
            elif self._failed_at is None or self._error is None:
                self._failed_at, self._error = number, error
            elif self._error is not error:
                if number < self._failed_at:
                    self._failed_at, self._error, error = number, error, self._error
                self._error.add_note(f"also: {type(error).__name__}: {error}")
            else:
                self._failed_at = min(self._failed_at, number)
            self._wake_all()

    def close(self) -> None:
        """Ends the channel for all. May be called twice, and from a finalizer in any thread.

        A finalizer runs wherever memory is allocated, perhaps in a thread that holds the lock of
        another channel whose own finalizer wants this one. So the lock is not waited for without
        limit; the flag alone ends every thread that is not waiting.
        """
        self._closed = True
        if self._lock.acquire(timeout=_CLOSE_PATIENCE):
            try:
                self._items.clear()
                self._error = None  # its traceback holds frames, and so what they worked on
                self._wake_all()
            finally:
                self._lock.release()

    @property
    def lowest(self) -> int:
        """The smallest number that is still to be taken."""
        return self._lowest

    @property
    def ready(self) -> int:
        """Items that could be got now."""
        return len(self._items)

    def _ended(self, number: int) -> bool:
        return self._closed or (self._failed_at is not None and number >= self._failed_at)

    def _wake_all(self) -> None:
        self._filled.notify_all()
        self._emptied.notify_all()

    def _wait_for(self, number: int) -> None:
        self._getters += 1
        try:
            while not self._ended(number) and number not in self._items:
                self._filled.wait()
        finally:
            self._getters -= 1

    def _wait_for_room(self, number: int) -> None:
        while not self._ended(number) and number >= self._lowest + self.depth:
            wakes_at = number - self.depth + self._burst
            if self._wakes_at is None or wakes_at < self._wakes_at:
                self._wakes_at = wakes_at
            self._emptied.wait(self._patience())

    def _patience(self) -> float | None:
        """Seconds to wait for room before another look at whether anybody takes anything."""
        if self._idle is None or self._getters or self._last_get is None:
            return self._idle
        left = self._last_get + self._idle - monotonic()
        if left <= 0:
            raise Idle
        return left
