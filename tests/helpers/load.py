"""Other work beside a test: processes that keep one CPU busy, and always end."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

LINUX = sys.platform == "linux"

_SPIN = "import sys\nprint(flush=True)\nwhile True: pass"


@contextmanager
def one_busy_cpu(processes: int = 3) -> Iterator[None]:
    """Keeps one CPU busy, and this thread and those it starts in the block to that CPU.

    So they get a share of it only, however many CPUs this machine has and whatever else it does.
    """
    allowed = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(allowed)})
    try:
        with ExitStack() as started:
            for _ in range(processes):
                started.enter_context(_spinning())
            yield
    finally:
        os.sched_setaffinity(0, allowed)


@contextmanager
def _spinning() -> Iterator[None]:
    process = subprocess.Popen([sys.executable, "-c", _SPIN], stdout=subprocess.PIPE)
    try:
        assert process.stdout is not None
        process.stdout.readline()  # it spins from here on
        yield
    finally:
        process.kill()
        process.communicate()
