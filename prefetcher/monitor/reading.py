"""Reads a log back, also one that still grows, that a crash cut short, or that somebody damaged."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from prefetcher.errors import FileError, FileMissingError
from prefetcher.monitor.log import VERSION, begins_like_ours
from prefetcher.monitor.ranks import patterns_beside
from prefetcher.monitor.shape import fits

_logger = logging.getLogger("prefetcher")

Record = dict[str, Any]

_GIVE: Final = "the path given to Monitor"
_NO_VERSION: Final = 1000
"""A number from here on is damage and no version of a time to come."""


@dataclass(frozen=True, slots=True)
class Log:
    """What could be read of a log."""

    name: str
    lines: list[Record]
    """Those that are whole, in the order of the file; see `read_log`."""
    damaged: Sequence[int]
    """The numbers of those that were left out, counted from 1."""

    @property
    def left_out(self) -> str:
        """How many lines were left out, as a sentence; "" if none were."""
        if not self.damaged:
            return ""
        lines = "line is" if len(self.damaged) == 1 else "lines are"
        return (
            f"{self.name}: {len(self.damaged):,} damaged {lines} left out, "
            f"beginning with line {self.damaged[0]:,}"
        )


def read_log(path: str | os.PathLike[str]) -> list[Record]:
    """Reads a utilization log, also one that is still being written.

    A line that its writer could not finish (killed, disk full) is skipped: the last one of the
    file, or the last one before a new run. So is any other line that is not what docs/monitor.md
    describes, with one warning in the log "prefetcher" that says how many were left out.

    Args:
        path: the file given to `Monitor`.

    Returns:
        One dict per line, in file order, each with `v`, `kind` and what its kind must have; empty
        for an empty file.

    Raises:
        FileMissingError: there is no such file.
        FileError: it cannot be read, holds no line of a log, or was written by a newer version.
    """
    log = read_lines(path)
    if log.damaged:
        _logger.warning("%s", log.left_out)
    return log.lines


def read_lines(path: str | os.PathLike[str]) -> Log:
    """Reads a log as `read_log` does, and hands on what was left out instead of warning of it."""
    path = Path(path)
    raw = _content(path).splitlines()
    records = [_parse(line, path.name, number) for number, line in enumerate(raw, start=1)]
    damaged = [
        index + 1
        for index, record in enumerate(records)
        if record is None and not _is_torn(raw, records, index)
    ]
    lines = [record for record in records if record is not None]
    if damaged and not lines:
        raise FileError(
            f"{path.name}, line {damaged[0]}: expected one JSON object of a utilization log, found "
            "something else, as in all its lines; give the path given to Monitor"
        )
    return Log(path.name, lines, damaged)


def _content(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError as error:
        ranks = " or ".join(patterns_beside(path))
        instead = f"one of {ranks}, a log for each process" if ranks else _GIVE
        raise FileMissingError(
            f"{path.name}: expected a log, found no such file; give {instead}"
        ) from error
    except OSError as error:
        raise FileError(f"{path.name}: the log cannot be read ({error.strerror})") from error


def _parse(line: bytes, file: str, number: int) -> Record | None:
    """The line's object; None when it is not a whole and sound one of ours."""
    try:
        record = json.loads(line, parse_constant=_refuse)
    except (ValueError, RecursionError):  # not JSON, not even text, or nested without end
        return None
    if not isinstance(record, dict) or not isinstance(record.get("kind"), str):
        return None
    version = record.get("v")
    if type(version) is int and VERSION < version < _NO_VERSION and record["kind"] == "run":
        raise FileError(
            f"{file}, line {number}: this version reads logs of version {VERSION}, the line has "
            f"{version}; install a newer prefetcher to read it"
        )
    return record if version == VERSION and fits(record) else None


def _refuse(constant: str) -> None:
    """NaN and infinity are not JSON, and no line of ours has them."""
    raise ValueError(constant)


def _is_torn(raw: list[bytes], records: list[Record | None], index: int) -> bool:
    """Whether the bad line at `index` is the beginning of one that its writer did not finish."""
    following = records[index + 1] if index + 1 < len(records) else {"kind": "run"}
    ended_there = following is not None and following["kind"] == "run"
    return ended_there and _is_cut(raw[index])


def _is_cut(line: bytes) -> bool:
    """Whether it begins like a line of ours and does not end like one."""
    if not begins_like_ours(line):
        return False
    try:
        json.loads(line)
    except (ValueError, RecursionError):
        return True
    return False
