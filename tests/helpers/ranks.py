"""Logs of several ranks of one run, made by hand."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from helpers.logs import SETTINGS, Line, run_line, sample_line, stage

Stalls = Callable[[int, int], float]
"""Percent that a rank waited in a second: of its index and the second."""

DISK = stage(read=99, cpu=5)
IDLE = stage(wait_in=98, gather=2, cpu=2)
FROM_STORAGE: dict[str, Any] = {
    "cpu_pct": 100.0,
    "rss_bytes": 10**9,
    "read_storage_bytes": 10**6,
    "read_requested_bytes": 10**6,
}


def rank_log(
    index: int, count: int, stalls: Stalls, *, seconds: int = 20, start_s: int = 0, **keys: Any
) -> list[Line]:
    """A rank that reads from a slow disk and began so many seconds after noon.

    Its first pass takes half of the time; its first chunk is there after 0.5 s. `keys` go into the
    line "run".
    """
    settings = SETTINGS | {"batch_size": 32 * count, "transform": f"<function f at 0x{index}abc>"}
    run = {
        "shard": {"index": index, "count": count},
        "time": f"2026-11-22T12:{start_s // 60:02}:{start_s % 60:02}.000+00:00",
        "host": f"node{index}",
        "settings": settings,
    }
    lines = [
        sample_line(
            float(t), DISK, IDLE, stall=stalls(index, t), process=FROM_STORAGE,
            **{"pass": int(t > seconds // 2)},
        )
        for t in range(1, seconds + 1)
    ]  # fmt: skip
    began: Line = {
        "v": 1,
        "kind": "event",
        "t_s": 0.5,
        "name": "first_chunk",
        "data": {"waited_s": 0.5},
    }
    return [run_line(**(run | keys)), began, *lines]


def behind(index: int, second: int) -> float:
    """Rank 1 waits 40 %, the others hardly."""
    del second
    return 40.0 if index == 1 else 1.0


def alike(index: int, second: int) -> float:
    """All wait 30 %."""
    del index, second
    return 30.0


def in_turn(index: int, second: int) -> float:
    """One of four waits 40 % in each second, and each second it is another."""
    return 40.0 if second % 4 == index else 0.0


def fine(index: int, second: int) -> float:
    """Nobody waits."""
    del index, second
    return 0.5


def write_log(path: Path, lines: list[Line]) -> Path:
    """Writes lines as a log; returns its path."""
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


def write_ranks(folder: Path, count: int, stalls: Stalls, **keys: Any) -> list[Path]:
    """Writes the logs of all ranks; returns their paths, in order."""
    return [
        write_log(folder / f"run.{index}of{count}.jsonl", rank_log(index, count, stalls, **keys))
        for index in range(count)
    ]
