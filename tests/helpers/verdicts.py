"""A log for every verdict there is, made by hand."""

from __future__ import annotations

from typing import Any

from helpers.logs import Line, log, run_line, sample_line, stage

_IDLE = stage(wait_in=98, gather=2, cpu=2)
_BUSY_MACHINE: dict[str, Any] = {"machine": {"cpu_pct": 99.0, "memory_available_bytes": 10**9}}
_LATE: dict[str, Any] = {"monitor": {"cost_ms": 0.5, "late_ms": 9.0, "runqueue_ms": 0.5}}
_LONE_CARD: dict[str, Any] = {"gpu": [{"index": 0, "util_pct": 40.0}]}


def _process(cpu_pct: float = 100.0, from_storage: int = 0) -> Line:
    return {
        "process": {
            "cpu_pct": cpu_pct,
            "rss_bytes": 10**9,
            "read_storage_bytes": from_storage,
            "read_requested_bytes": 10**6,
        }
    }


def _allowed(affinity: int, quota: float | None = None, **keys: Any) -> Line:
    return run_line(cpus_allowed={"affinity": affinity, "quota": quota}, **keys)


def _changing() -> list[Line]:
    """A cold first pass, and later ones of another kind: the longest headline."""
    first = log(stage(read=99, cpu=5), _IDLE, stall=97.0, **_process(from_storage=10**6))
    later = [
        sample_line(11.0 + t, _IDLE, stage(transform=99, cpu=3), stall=15.0, **{"pass": 1})
        for t in range(8)
    ]
    run = _allowed(4, wait_scope="upper_bound", backend="tensorflow")
    return [run, *first[1:], *later]


VERDICTS: dict[tuple[str, str, str | None], list[Line]] = {
    ("idle", "training", None): log(_IDLE, _IDLE, stall=0.0, rate=0.0),
    ("fine", "training", None): log(_IDLE, _IDLE, stall=0.0, **_LONE_CARD),
    ("input-bound", "read", "disk"): log(
        stage(read=99, cpu=5), _IDLE, **_process(from_storage=10**6)
    ),
    ("input-bound", "read", "page cache"): log(stage(read=99, cpu=98), _IDLE),
    ("input-bound", "read", "decoding"): log(
        stage(decode=99, cpu=98), _IDLE, run=_allowed(1), **_process()
    ),
    ("input-bound", "read", "gathering"): log(stage(gather=99, cpu=98), _IDLE),
    ("input-bound", "read", "h5py"): log(stage(hdf5=99, cpu=98), _IDLE),
    ("input-bound", "read", "HDF5's lock"): log(stage(hdf5=50, lock=49, cpu=98), _IDLE),
    ("input-bound", "read", "unexplained"): log(stage(read=30, decode=30, gather=30), _IDLE),
    ("input-bound", "batch", "transform"): log(_IDLE, stage(transform=99, cpu=3)),
    ("moderate", "batch", "transform"): _changing(),
    ("input-bound", "batch", "gathering"): log(_IDLE, stage(gather=99, cpu=98), **_LONE_CARD),
    ("input-bound", "batch", "GIL"): log(_IDLE, stage(transform=99, cpu=20), **_LATE),
    ("input-bound", "batch", "CPU quota"): log(
        _IDLE, stage(transform=99, cpu=20), run=_allowed(4, 2.0), **_process(195.0)
    ),
    ("input-bound", "batch", "CPU"): log(
        _IDLE,
        stage(transform=99, cpu=20, runqueue=75),
        run=_allowed(2),
        **_process(195.0),
    ),
    ("input-bound", "batch", "other work"): log(
        _IDLE, stage(transform=99, cpu=20, runqueue=75), **_BUSY_MACHINE
    ),
    ("input-bound", "read and batch", "HDF5's lock and transform"): log(
        stage(hdf5=50, lock=49, cpu=40), stage(transform=99, cpu=98)
    ),
    ("input-bound", "chunk queue", "too few chunks"): log(
        stage(read=50, cpu=50), stage(wait_in=50, transform=45, cpu=45)
    ),
    ("input-bound", "batch queue", "too few batches"): log(
        stage(read=30, cpu=30), stage(wait_in=5, transform=45, cpu=45)
    ),
    ("input-bound", "unexplained", "unexplained"): log(
        stage(wait_in=60, read=40, cpu=40), stage(wait_in=95, gather=5)
    ),
}
"""By level, limit and cause of the stretch that counts."""
