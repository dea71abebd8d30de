"""What a monitor can be made to watch, and what of it can be seen."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path

from helpers.waiting import wait_for
from prefetcher.monitor import read_log
from prefetcher.pipeline.stats import Stats

MakeStats = Callable[..., Stats]

NEVER = 3600.0
"""An interval that no test lives to see the end of."""
OFTEN = 0.01
RUN = {"backend": "jax", "wait_scope": "exposed", "settings": {"seed": 0}, "file": {"name": "a.h5"}}


class Pipeline:
    """Stands for what the monitor watches; `seen` is set when `count` snapshots were taken."""

    def __init__(self, make_stats: MakeStats, count: int = 1) -> None:
        self.seen = threading.Event()
        self.gate = threading.Event()
        self.gate.set()
        self.error: Exception | None = None
        self._make_stats = make_stats
        self._left = count

    def snapshot(self) -> Stats:
        self._left -= 1
        if self._left <= 0:
            self.seen.set()
            wait_for(self.gate, "the test lets the snapshot go on")
        if self.error is not None:
            raise self.error
        return self._make_stats(samples=-self._left)


class Tell:
    """Event data that sets an event when it is written."""

    def __init__(self) -> None:
        self.written = threading.Event()

    def __str__(self) -> str:
        self.written.set()
        return "told"


def kinds(path: Path) -> list[str]:
    return [line["kind"] for line in read_log(path)]


def monitor_threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "prefetch-monitor"]
