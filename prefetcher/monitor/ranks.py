"""The names of logs where several processes train as one: one for each of them."""

from __future__ import annotations

import glob
import re
from pathlib import Path
from typing import Final

from prefetcher.order.shard import Shard

_RANK: Final = re.compile(r"\.(\d+)of(\d+)(?=\.[^.]*$|$)")


def log_of(path: Path, shard: Shard) -> Path:
    """The log that this share's process writes where the user named `path`.

    Returns:
        "run.0of2.jsonl" for "run.jsonl"; `path` itself where one process has all of the data.
    """
    if shard.count == 1:
        return path
    return path.with_name(f"{path.stem}.{shard.index}of{shard.count}{path.suffix}")


def pattern_of(name: str) -> str | None:
    """The pattern of all ranks' logs, "run.*of2.jsonl" for "run.0of2.jsonl".

    None for a name that is not made as `log_of` makes them.
    """
    found = _RANK.search(name)
    return None if found is None else f"{name[: found.start(1)]}*{name[found.end(1) :]}"


def patterns_beside(path: Path) -> list[str]:
    """The patterns of the ranks' logs that there are where the user named `path`, sorted."""
    name = f"{glob.escape(path.stem)}.*of*{glob.escape(path.suffix)}"
    patterns = {pattern_of(each.name) for each in path.parent.glob(name)}
    return sorted(pattern for pattern in patterns if pattern is not None)
