"""Readings of this process and of the machine, through psutil."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from typing import Final

import psutil

from prefetcher.machine.reasons import Reasons

# AttributeError: psutil leaves out what a system does not have.
_ERRORS: Final = (psutil.Error, OSError, NotImplementedError, AttributeError)


@dataclass(frozen=True, slots=True)
class SystemReadings:
    """Counters of process and machine, seen at one moment; None where one is not available."""

    process_cpu_s: float | None
    """CPU seconds of all threads of this process since it began, in user and system mode."""
    rss_bytes: int | None
    """Memory of this process that is in RAM now."""
    storage_bytes: int | None
    """Bytes that storage delivered to this process since it began; the page cache is no storage."""
    machine_busy_s: float | None
    """CPU seconds in which the machine's cores worked, summed over them."""
    machine_total_s: float | None
    """CPU seconds that all cores had, working or idle."""
    memory_available_bytes: int | None
    """Memory of the machine that can be had without swapping."""


class System:
    """Reads this process and its machine. One thread at a time; a reading takes about 0.2 ms."""

    def __init__(self, reasons: Reasons) -> None:
        self._reasons = reasons
        self._process = psutil.Process()

    def read(self) -> SystemReadings:
        """Takes all readings; those that fail are None, with a note in the reasons."""
        attempt, process = self._reasons.attempt, self._process
        cpu = attempt("process.cpu_pct", process.cpu_times, _ERRORS)
        memory = attempt("process.rss_bytes", process.memory_info, _ERRORS)
        machine = attempt("machine.cpu_pct", _machine_cpu, _ERRORS)
        available = attempt("machine.memory_available_bytes", psutil.virtual_memory, _ERRORS)
        return SystemReadings(
            process_cpu_s=cpu and cpu.user + cpu.system,
            rss_bytes=memory and memory.rss,
            storage_bytes=self._storage_bytes(),
            machine_busy_s=machine and machine[0],
            machine_total_s=machine and machine[1],
            memory_available_bytes=available and available.available,
        )

    def _storage_bytes(self) -> int | None:
        name = "process.read_storage_bytes"
        if sys.platform != "linux":
            self._reasons.note(name, "only Linux counts reads from storage apart from the cache")
            return None
        counters = self._reasons.attempt(name, self._process.io_counters, _ERRORS)
        return counters and int(counters.read_bytes)


def _machine_cpu() -> tuple[float, float]:
    """Busy and all CPU seconds of the machine.

    Not psutil.cpu_percent: its last state is shared with everybody who calls it in this process.
    """
    times = psutil.cpu_times()._asdict()
    # Linux counts the time of guests in user and nice as well.
    total = sum(times.values()) - times.get("guest", 0.0) - times.get("guest_nice", 0.0)
    return total - times["idle"] - times.get("iowait", 0.0), total
