"""What this process may use of the machine: CPUs by affinity and cgroup quota, memory by cgroup."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final

import psutil

from prefetcher.machine.reasons import Reasons

_resource: Any = import_module("resource") if find_spec("resource") else None  # not on Windows

MEMBERSHIP: Final = Path("/proc/self/cgroup")
MOUNT: Final = Path("/sys/fs/cgroup")
_WINDOWS_DESCRIPTORS = 512
"""What the C library of Windows allows if nobody asked for more."""
_ENDLESS = 1 << 30


def allowed(reasons: Reasons) -> dict[str, object]:
    """What the log's first line says of CPUs and memory; a limit that is not set is None, noted."""
    machine_bytes = psutil.virtual_memory().total
    quota, limit = cpu_quota(), memory_limit(machine_bytes)
    if quota is None:
        reasons.note("cpus_allowed.quota", "no cgroup sets one")
    if limit is None:
        reasons.note("memory_limit_bytes", "no cgroup sets one below the machine's memory")
    return {
        "cpus_allowed": {"affinity": _cpus_by_affinity(), "quota": quota},
        "memory_total_bytes": machine_bytes,
        "memory_limit_bytes": limit,
    }


def cpus_allowed() -> int:
    """CPUs that this process may keep busy, at least 1; a part of one counts as one."""
    return math.ceil(min(filter(None, (_cpus_by_affinity(), cpu_quota())), default=1))


def memory_allowed() -> int:
    """Bytes of memory that this process may use."""
    machine_bytes = psutil.virtual_memory().total
    return memory_limit(machine_bytes) or machine_bytes


def descriptors_allowed() -> int:
    """Files that this process may have open at once, by its soft limit (`ulimit -n`)."""
    if _resource is None:
        return _WINDOWS_DESCRIPTORS
    soft = _resource.getrlimit(_resource.RLIMIT_NOFILE)[0]
    return _ENDLESS if soft == _resource.RLIM_INFINITY else int(soft)


def descriptors_open() -> int:
    """Those that it has open now."""
    process = psutil.Process()
    return process.num_fds() if hasattr(process, "num_fds") else 0


def cpu_quota(membership: Path = MEMBERSHIP, mount: Path = MOUNT) -> float | None:
    """CPUs' worth of time that the cgroups allow (2.5 is two and a half); None without a quota."""
    quotas = []
    for folder in _cgroups("cpu", membership, mount):
        numbers = _numbers(folder / "cpu.max") or [
            *_numbers(folder / "cpu.cfs_quota_us"),
            *_numbers(folder / "cpu.cfs_period_us"),
        ]
        if len(numbers) == 2 and numbers[0] > 0:
            quotas.append(numbers[0] / numbers[1])
    return min(quotas, default=None)


def memory_limit(
    machine_bytes: int, membership: Path = MEMBERSHIP, mount: Path = MOUNT
) -> int | None:
    """Bytes that the cgroups allow this process; None without a limit below `machine_bytes`."""
    limits = [
        limit
        for folder in _cgroups("memory", membership, mount)
        for name in ("memory.max", "memory.limit_in_bytes")
        for limit in _numbers(folder / name)
        if limit < machine_bytes  # version 1 writes "no limit" as a number near 2**63
    ]
    return min(limits, default=None)


def _cpus_by_affinity() -> int | None:
    """CPUs that the scheduler may run this process on; all of them where it cannot be told."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count()


def _cgroups(controller: str, membership: Path, mount: Path) -> Iterator[Path]:
    """Folders of the cgroups around this process, inner first: the tightest of them holds."""
    try:
        lines = membership.read_text().splitlines()
    except OSError:  # not Linux
        return
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if controllers and controller not in controllers.split(","):
            continue
        root = mount / controller if controllers else mount  # version 2 has one tree for all
        folder = root / path.lstrip("/")
        yield folder
        yield from (parent for parent in folder.parents if parent.is_relative_to(root))


def _numbers(file: Path) -> list[int]:
    """The whole numbers in a cgroup's file; none where it is missing or says "max"."""
    try:
        return [int(word) for word in file.read_text().split()]
    except (OSError, ValueError):
        return []
