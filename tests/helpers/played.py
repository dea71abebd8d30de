"""Several processes that train as one, played by threads of this one."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from prefetcher.resume.together import Group

LIMIT_S = 30.0
"""A process that left the others makes this a failure instead of a hang."""


def groups(count: int) -> list[Group]:
    """The same group as each of its processes has it; what they tell must go through JSON."""
    barrier = threading.Barrier(count)
    notes: list[Any] = [None] * count

    def member(index: int) -> Group:
        def everyone(note: Any) -> Sequence[Any]:
            notes[index] = json.loads(json.dumps(note))
            barrier.wait(LIMIT_S)
            told = list(notes)
            barrier.wait(LIMIT_S)
            return told

        return Group(index, count, everyone)

    return [member(index) for index in range(count)]


def in_all(count: int, call: Callable[[Group], Any]) -> list[Any]:
    """Calls it in each process, and returns what each one got: a value, or the error."""

    def guarded(group: Group) -> Any:
        try:
            return call(group)
        except Exception as error:
            return error

    with ThreadPoolExecutor(count) as pool:
        return list(pool.map(guarded, groups(count)))
