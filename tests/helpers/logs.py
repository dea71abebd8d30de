"""Logs made by hand: lines that say what a test wants them to say."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from typing import Any

from prefetcher.verdict.stretch import KINDS

Line = dict[str, Any]

SETTINGS = {"readers": 1, "batchers": 1, "chunk_queue": 2, "batch_queue": 16}


def run_line(**keys: Any) -> Line:
    """The first line of a run on four CPUs."""
    return {
        "v": 1,
        "kind": "run",
        "time": "2026-11-22T12:00:00.000+00:00",
        "t_s": 0.0,
        "version": "0.1.0",
        "host": "vm",
        "run_id": "a",
        "part": 1,
        "shard": {"index": 0, "count": 1},
        "interval_s": 1.0,
        "backend": "jax",
        "wait_scope": "exposed",
        "settings": SETTINGS,
        "file": {"name": "samples.h5", "bytes": 10**9, "datasets": ["x uint8 (9, 9) contiguous"]},
        "cpus_allowed": {"affinity": 4, "quota": None},
        "memory_total_bytes": 8 * 10**9,
        "memory_limit_bytes": None,
        "gpu": None,
        "unavailable": {"gpu": "no NVIDIA driver"},
        **keys,
    }


def stage(
    wait_in: float = 0.0,
    *,
    cpu: float = 0.0,
    runqueue: float | None = None,
    slices: float | None = None,
    rate: float = 1000.0,
    workers: int = 1,
    **work: float,
) -> Line:
    """A stage: what it did in percent, the rest of its time spent waiting for room.

    Waits for a CPU are not counted unless they are given, as on systems that do not.
    """
    busy = sum(work.values())
    return {
        "workers": workers,
        "samples_per_s": rate,
        "busy_pct": busy,
        "wait_in_pct": wait_in,
        "wait_out_pct": 100.0 - busy - wait_in,
        "cpu_pct": cpu,
        "runqueue_pct": runqueue,
        "timeslices_per_s": slices,
        "work_pct": {kind: work.get(kind, 0.0) for kind in KINDS},
    }


def sample_line(
    t_s: float, read: Line, batch: Line, *, stall: float = 50.0, rate: float = 1000.0, **keys: Any
) -> Line:
    """One second that ended at `t_s`; `keys` go into the line as they are."""
    return {
        "v": 1,
        "kind": "sample",
        "t_s": t_s,
        "dt_s": 1.0,
        "pass": 0,
        "position": 5,
        "samples_per_s": rate,
        "stall_pct": stall,
        "stage": {"read": read, "batch": batch},
        "queue": {
            "chunk": {"capacity": 2, "depth": 1, "items_per_s": 1.0},
            "batch": {"capacity": 16, "depth": 3, "items_per_s": 30.0},
        },
        "process": {
            "cpu_pct": 100.0,
            "rss_bytes": 10**9,
            "read_storage_bytes": 0,
            "read_requested_bytes": 10**6,
        },
        "machine": {"cpu_pct": 30.0, "memory_available_bytes": 10**9},
        "gpu": None,
        "monitor": {"cost_ms": 0.5, "late_ms": 0.1, "runqueue_ms": None},
        **keys,
    }


def log(read: Line, batch: Line, *, seconds: int = 10, run: Line | None = None, **keys: Any) -> Any:
    """A run whose every second was the same."""
    lines = [sample_line(float(t), read, batch, **keys) for t in range(1, seconds + 1)]
    return [run or run_line(), *lines]


def summary_line(sample: Line) -> Line:
    """The last line of a run whose only second was `sample`."""
    kept = ("position", "samples_per_s", "stall_pct", "stage")
    return {
        "v": 1,
        "kind": "summary",
        "t_s": sample["t_s"],
        "duration_s": sample["dt_s"],
        "passes": 1,
        "batches": 6,
        "samples": 192,
        "bytes": 10**6,
        "first_batch_s": 0.1,
        "stall_s": 0.5,
        **{key: sample[key] for key in kept},
        "replays": 0,
        "restarts": 0,
        "buffer_peak_bytes": 10**6,
        "process": {
            "cpu_pct": 100.0,
            "rss_peak_bytes": 10**9,
            "read_storage_bytes": 0,
            "read_requested_bytes": 10**6,
        },
        "events": {"pass_end": 1},
        "monitor": {"samples_logged": 1, "cpu_s": 0.001, "cpu_pct": 0.1},
    }


GONE = object()
"""Stands for a value that is missing."""

DAMAGES: Sequence[object] = (
    GONE, None, "x", [], [1], {}, {"x": 1}, True, 0, -1, 2.5, 1e-300, 1e300, -1e300,
    float("inf"), float("nan"), 10**400,
)  # fmt: skip
"""What may stand in the place of any value."""


def damaged(line: Line) -> Iterator[tuple[str, Line]]:
    """The line with every value in turn replaced by every damage, and what was replaced."""
    for keys in _places(line):
        for damage in DAMAGES:
            bad = copy.deepcopy(line)
            inner = bad
            for key in keys[:-1]:
                inner = inner[key]
            if damage is GONE:
                del inner[keys[-1]]
            else:
                inner[keys[-1]] = damage
            yield ".".join(map(str, keys)), bad


def _places(value: Any, keys: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The keys that lead to every value in nested objects and lists."""
    inner = value.items() if isinstance(value, dict) else enumerate(value)
    for key, item in inner:
        yield (*keys, key)
        if isinstance(item, dict | list):
            yield from _places(item, (*keys, key))
