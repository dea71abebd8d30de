"""The threads of one stage: how many work there may change while they work."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator
from typing import Generic, TypeVar

from prefetcher.clock import Clock
from prefetcher.pipeline.stats import Team
from prefetcher.pipeline.workers import Line

T = TypeVar("T")


class Crew(Generic[T]):
    """Numbered members that draw their work from one line, each with the clock of its number.

    One thread resizes it, and its members do the rest.

    Args:
        kind: "reader" or "batcher".
        team: Their clocks.
        line: Their work, item by item, without end.
        task: What a member does with the items that it draws.
    """

    def __init__(
        self, kind: str, team: Team, line: Line[T], task: Callable[[Iterable[T], Clock], None]
    ) -> None:
        self._kind = kind
        self._team = team
        self._line = line
        self._task = task
        self._wanted = 0
        self._present: dict[int, threading.Thread] = {}
        self._lock = threading.RLock()

    def resize(self, wanted: int, run: Callable[[int], None]) -> list[threading.Thread]:
        """Members numbered `wanted` and above leave after their item; makes those missing below.

        Args:
            wanted: How many there shall be, 1 or more.
            run: What a new member's thread calls with its number, and that calls `work`.

        Returns:
            The threads of new members, for the caller to start.
        """
        with self._lock:
            self._wanted = wanted
            self._team.resize(wanted)
            new = {
                number: threading.Thread(
                    target=run, args=(number,), name=f"prefetch-{self._kind}-{number}", daemon=True
                )
                for number in range(wanted)
                if number not in self._present
            }
            self._present |= new
            return list(new.values())

    def work(self, number: int) -> None:
        """What the member of that number does until it is told to leave or its line fails."""
        self._task(self._items(number), self._team.clocks[number])

    def leave(self, number: int) -> None:
        """The calling member leaves, if it has not yet; from now on its number may be another's."""
        with self._lock:
            if self._present.get(number) is threading.current_thread():
                self._team.clocks[number].end()
                del self._present[number]

    def _items(self, number: int) -> Iterator[T]:
        while True:
            yield next(self._line)  # not by a variable, which would keep the item's memory
            if number >= self._wanted and self._dismissed(number):
                return

    def _dismissed(self, number: int) -> bool:
        """Whether a member is told to leave; then it has left."""
        with self._lock:
            if number < self._wanted:  # wanted again in the meantime
                return False
            self.leave(number)
            return True
