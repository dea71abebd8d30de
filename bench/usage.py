"""What a process uses while it works: processors, memory, accelerator. Worker processes count."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from time import process_time
from typing import Any

import psutil

from prefetcher.machine.gpu import Gpus, open_gpus
from prefetcher.machine.reasons import Reasons

GPU_EVERY_S = 0.2
"""NVML's own figure is a mean over about as long."""


def cpu_seconds() -> float:
    """CPU seconds so far of this process and of its living children."""
    children = psutil.Process().children(recursive=True)
    times = [child.cpu_times() for child in children]
    return process_time() + float(sum(used.user + used.system for used in times))


class Memory:
    """What this process and its workers hold, from now on."""

    def __init__(self) -> None:
        self._before: int = psutil.Process().memory_info().rss
        self._workers = 0

    def look(self) -> None:
        """Weighs the worker processes: what each has for itself alone."""
        children = psutil.Process().children(recursive=True)
        now = sum(child.memory_full_info().uss for child in children)
        self._workers = max(self._workers, now)

    @property
    def peak(self) -> int:
        """The most that this process held, and its workers when they were weighed."""
        return _high_water() + self._workers

    @property
    def added(self) -> int:
        """`peak` less what this process held at first."""
        return self.peak - self._before


def _high_water() -> int:
    """The most that was ever resident; `ru_maxrss` would count what the parent held."""
    lines = Path("/proc/self/status").read_text().splitlines()
    told = next(line for line in lines if line.startswith("VmHWM"))
    return int(told.split()[1]) * 1024


class Accelerator:
    """How busy the first card was; without one, why there is no figure."""

    def __init__(self) -> None:
        self.readings: list[float] = []
        self.missing: str | None = None

    @property
    def percent(self) -> float | None:
        """Share of the time in which a kernel ran, the mean; None if it is not known."""
        return sum(self.readings) / len(self.readings) if self.readings else None


@contextmanager
def accelerator() -> Iterator[Accelerator]:
    """Reads the card's utilization again and again while the block runs."""
    seen, reasons, done = Accelerator(), Reasons(), threading.Event()
    with open_gpus(reasons) as gpus:
        if gpus is None or not gpus.cards:
            seen.missing = reasons.take().get("gpu", "no card is visible")
            yield seen
            return
        reader = threading.Thread(target=_read, args=(gpus, seen, done))
        reader.start()
        try:
            yield seen
        finally:
            done.set()
            reader.join()


def _read(gpus: Gpus, seen: Accelerator, done: threading.Event) -> None:
    while not done.wait(GPU_EVERY_S):
        reading: Any = gpus.read()[0]["util_pct"]
        if reading is not None:
            seen.readings.append(float(reading))
