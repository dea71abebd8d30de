"""`prefetcher top`: what it shows of a log, and when it ends."""

from __future__ import annotations

import io
import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from helpers.logs import log as made_log
from helpers.logs import run_line, stage, summary_line
from helpers.verdicts import VERDICTS
from rich.console import Console

from prefetcher.cli import main, top
from prefetcher.monitor import Log


def write(path: Path, lines: list[Any]) -> Path:
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


def shown(lines: list[Any], width: int, *, left_out: int = 0) -> list[str]:
    """What a terminal of that width shows, line by line."""
    out = io.StringIO()
    console = Console(file=out, force_terminal=True, color_system=None, width=width)
    console.print(top.View(Log("run.jsonl", lines, range(1, left_out + 1))))
    return [line.rstrip() for line in out.getvalue().splitlines()]


@pytest.fixture
def lines() -> list[Any]:
    read = stage(decode=80, read=20, cpu=98)
    made: list[Any] = made_log(read, stage(wait_in=98, gather=2))
    return made


def test_it_shows_stages_queues_and_the_verdict_so_far(
    lines: list[Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["top", "--once", str(write(tmp_path / "run.jsonl", lines))]) == 0
    out = capsys.readouterr().out
    assert out.startswith("running: Training waited 50 % of the time for data")
    for words in ("1 readers", "read 20, decode 80", "waits for input 98", "3 of 16"):
        assert words in out
    assert "GPU" in out
    assert "not available" in out


def test_json_is_the_last_sample(
    lines: list[Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert (
        main(
            ["top", "--json", str(write(tmp_path / "run.jsonl", [*lines, summary_line(lines[-1])]))]
        )
        == 0
    )
    shown = json.loads(capsys.readouterr().out)
    assert (shown["ended"], shown["sample"]["t_s"]) == (True, 10.0)


def test_a_log_without_samples_is_shown_too(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["top", str(write(tmp_path / "run.jsonl", [run_line()]))]) == 0
    assert "Nothing was measured" in capsys.readouterr().out


def test_it_follows_the_log_until_the_run_ends(
    lines: list[Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write(tmp_path / "run.jsonl", lines[:3])
    versions = iter([lines[:5], [*lines, summary_line(lines[-1])]])

    class Pause:
        def wait(self, seconds: float) -> None:
            write(path, next(versions))

    monkeypatch.setattr(top, "threading", SimpleNamespace(Event=Pause))
    seen = [len(newer.lines) for newer in top._growing(path, Log("run.jsonl", lines[:3], ()))]
    assert seen == [5, len(lines) + 1]


GAUGES = (
    "samples/s", "stall", "12 readers", "12 batchers", "chunk queue", "batch queue", "GPU",
    "machine's CPUs", "memory",
)  # fmt: skip


def crowded(**keys: Any) -> list[Any]:
    """A run whose gauges have as much to say as they can."""
    every = stage(
        wait_in=7, read=15, hdf5=16, lock=11, decode=12, gather=13, transform=14, workers=12
    )
    card = [{"index": 0, "util_pct": 40.0}]
    return list(made_log(every, every, gpu=card, **keys))


@pytest.mark.parametrize("told", VERDICTS)
def test_a_terminal_of_80_by_24_shows_every_verdict_and_each_gauge_in_a_line(
    told: tuple[str, str, str | None],
) -> None:
    text = shown([*VERDICTS[told][:-1], crowded()[-1]], 80, left_out=3)
    assert len(text) < 24
    assert max(map(len, text)) <= 80
    rows = text[-len(GAUGES) - 1 : -1]
    assert [row[: len(name)] for row, name in zip(rows, GAUGES, strict=True)] == list(GAUGES)
    assert text[-1].startswith("run.jsonl: 3 damaged lines are left out")


def test_what_takes_most_is_said_where_not_all_of_it_fits() -> None:
    (row,) = (line for line in shown(crowded(), 80) if line.startswith("12 readers"))
    for words in ("read 15", "hdf5 16", "transform 14"):
        assert words in row
    for words in ("lock 11", "waits for input 7"):
        assert words not in row
    assert row.endswith(", ...")
    (row,) = (line for line in shown(crowded(), 200) if line.startswith("12 readers"))
    assert "hdf5 16" in row
    assert row.endswith("waits for room 12")


def test_bars_use_the_room_of_a_wide_terminal() -> None:
    bars = {}
    for width in (80, 120, 200):
        text = shown(crowded(stall=100.0), width)
        bars[width] = next(line for line in text if line.startswith("stall")).count("█")
        assert max(map(len, text)) <= width
    assert bars[80] < bars[120] < bars[200]
    assert max(map(len, shown(crowded(), 200))) == 200
    assert bars[200] > 60


def test_a_terminal_that_is_too_narrow_for_all_still_shows_the_names() -> None:
    text = shown(crowded(), 20)
    assert max(map(len, text)) <= 20
    assert {"stall", "GPU"} <= {line.split(" ")[0] for line in text}
