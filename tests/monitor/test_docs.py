"""docs/monitor.md shows real lines: they are read back here and have the keys of today's lines."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from helpers.watched import MakeStats

from prefetcher.machine.system import SystemReadings
from prefetcher.monitor import Monitor, read_log
from prefetcher.monitor.lines import Moment, sample_line

PAGE = Path(__file__).parents[2] / "docs" / "monitor.md"
OF_THE_SEQUENCE = {"backend", "wait_scope", "settings", "file"}


@pytest.fixture
def shown(tmp_path: Path) -> dict[str, Any]:
    """The page's example lines, by kind."""
    lines = re.findall(r"```json\n(.*)\n```", PAGE.read_text(encoding="utf-8"))
    log = tmp_path / "shown.jsonl"
    log.write_text("".join(f"{line}\n" for line in lines))
    return {line["kind"]: line for line in read_log(log)}


def keys(value: Any) -> Any:
    """The keys of nested objects, in order, without what they hold."""
    return {key: keys(item) for key, item in value.items()} if isinstance(value, dict) else None


def test_the_page_shows_the_lines_that_are_written(
    shown: dict[str, Any], tmp_path: Path, make_stats: MakeStats
) -> None:
    path = tmp_path / "run.jsonl"
    monitor = Monitor(path, interval=3600)
    monitor.start(dict.fromkeys(OF_THE_SEQUENCE), make_stats)
    monitor.event("pass_end", {"pass": 0})
    monitor.stop()
    run, event, summary = read_log(path)
    assert set(run) == set(shown["run"])
    assert keys(event) == keys(shown["event"])
    del summary["events"], shown["summary"]["events"]
    assert keys(summary) == keys(shown["summary"])


def test_the_page_shows_the_samples_that_are_written(
    shown: dict[str, Any],
    make_stats: MakeStats,
    make_readings: Callable[..., SystemReadings],
) -> None:
    moment = Moment(0.0, make_stats(), make_readings())
    line = {"v": 1, "kind": "sample", **sample_line(moment, moment, None, 0.0, 0.0)}
    assert keys(line) == keys(shown["sample"])


def test_the_page_explains_every_key(shown: dict[str, Any]) -> None:
    page = PAGE.read_text(encoding="utf-8")
    prose = re.sub(r"```json\n.*\n```", "", page)
    for line in shown.values():
        unexplained = {key for key in line if f"`{key}" not in prose}
        assert unexplained <= {"version", "host", "pid", "backend", "interval_s", "name", "data"}
