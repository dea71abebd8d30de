"""Parts loaded side by side by an executor, and handed on in order."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import BrokenExecutor, Executor, Future, ThreadPoolExecutor
from contextlib import AbstractContextManager, nullcontext
from typing import TypeVar

from prefetcher.errors import ReadError
from prefetcher.machine.limits import cpus_allowed
from prefetcher.messages.wording import written

Task = TypeVar("Task")
Result = TypeVar("Result")

AHEAD_OF_OTHERS = 64
"""Tasks handed to somebody else's executor before the first result is awaited: of about 1 MiB
each, enough for 32 workers."""


def executor_for(
    executor: Executor | None, workers: int | None
) -> tuple[AbstractContextManager[Executor], int]:
    """The executor to use, and how many tasks it gets ahead of the one whose result is awaited.

    Ours has threads: decoders let go of Python's lock, and nothing has to travel between processes.
    """
    if executor is not None:
        return nullcontext(executor), AHEAD_OF_OTHERS
    count = workers or cpus_allowed()
    # Four for each: one in work, the others cover a pause of whoever takes the results.
    return ThreadPoolExecutor(count, thread_name_prefix="prefetch-convert"), 4 * count


def in_order(
    executor: Executor, work: Callable[[Task], Result], tasks: Iterable[Task], ahead: int
) -> Iterator[Result]:
    """Yields ``work(task)`` for every task, in their order; at most `ahead` are under way.

    Raises:
        ReadError: A worker process died.
    """
    waiting: deque[Future[Result]] = deque()
    try:
        for task in tasks:
            waiting.append(executor.submit(work, task))
            if len(waiting) >= ahead:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    except BrokenExecutor as error:
        again = written("resume", value=True)
        raise ReadError(f"a worker died ({error}): start again with {again}") from error
    finally:
        for future in waiting:
            future.cancel()
