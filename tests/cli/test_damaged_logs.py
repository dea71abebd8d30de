"""Damaged logs: whatever a line holds, no reader of logs ends in a traceback.

Every value of every kind of line is replaced by what it must not be. What `read_log` leaves in is
then judged, drawn and shown.
"""

from __future__ import annotations

import io
import json
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from helpers.logs import Line, damaged, log, run_line, stage, summary_line
from helpers.ranks import behind, rank_log
from rich.console import Console

from prefetcher.cli import main, top
from prefetcher.errors import PrefetchError
from prefetcher.monitor import Log, read_lines
from prefetcher.report.groups import Group, judged, runs_of
from prefetcher.report.page import page
from prefetcher.report.picture import picture
from prefetcher.report.rank_rows import rows_of
from prefetcher.report.reports import reports
from prefetcher.tuning.demand import pace_of

CARD = {"index": 0, "util_pct": 40.0, "memory_used_bytes": 1, "power_w": 9.5, "temperature_c": 40}
RUN = run_line(gpu=[{"index": 0, "uuid": "GPU-1", "name": "H100"}])
READ = stage(decode=99, cpu=20, runqueue=70, slices=100)
GOOD: list[Line] = log(READ, stage(wait_in=98, gather=2), seconds=3, run=RUN, gpu=[CARD])
TUNE = {"action": "try", "readers": 2, "batchers": 1, "why": "the readers are the limit"}
EVENTS: list[Line] = [
    {"v": 1, "kind": "event", "t_s": 0.5, "name": name, "data": data}
    for name, data in (
        ("first_batch", {"after_s": 0.1}),
        ("first_chunk", {"waited_s": 0.2}),
        ("tune", TUNE),
        ("unavailable", {"gpu.0.power_w": "lost"}),
        ("pass_end", {"pass": 0}),
    )
]
END = summary_line(GOOD[-1])
WHOLE = [*GOOD, *EVENTS, END]


def write(path: Path, lines: list[Line]) -> Path:
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


def kept(path: Path, line: Line) -> list[Line]:
    """The line damaged in every way, as far as reading leaves it in."""
    return read_lines(write(path, [line, *(bad for _, bad in damaged(line))])).lines


def show(lines: list[Line]) -> None:
    """What report and top make of it, but for the charts."""
    for report in reports([("run.jsonl", lines)]):
        json.dumps(report.as_json())
    Console(file=io.StringIO(), width=80).print(top.View(Log("run.jsonl", lines, ())))
    with suppress(PrefetchError):
        pace_of(lines, "run.jsonl")


@pytest.mark.parametrize("index", [0, 1, *range(len(GOOD), len(WHOLE))])
def test_no_damage_ends_in_a_traceback(tmp_path: Path, index: int) -> None:
    """The line among sound ones, and alone: then it decides all extremes, and shares of nothing."""
    before, after = WHOLE[:index], WHOLE[index + 1 :]
    show([*before, *after])
    for bad in kept(tmp_path / "run.jsonl", WHOLE[index]):
        show([*before, bad, *after])
        show([RUN, bad])


@pytest.mark.parametrize("index", [0, 1, -1])
def test_no_damage_to_a_ranks_log_ends_in_a_traceback(tmp_path: Path, index: int) -> None:
    """Beside the sound log of the other rank."""
    sound, other = (rank_log(i, 2, behind, seconds=3) for i in range(2))
    sound.append(summary_line(sound[-1]))
    whole = judged(1, "run.1of2.jsonl", "run.*of2.jsonl", other)
    for bad in kept(tmp_path / "run.0of2.jsonl", sound[index]):
        lines = [*sound[:index], bad, *(sound[index + 1 :] if index >= 0 else [])]
        for log_of_rank in (lines, [bad], [sound[0], bad]):
            damaged_one = judged(0, "run.0of2.jsonl", "run.*of2.jsonl", log_of_rank)
            for run in runs_of([damaged_one, whole]):
                if isinstance(run, Group):
                    json.dumps(run.as_json(), allow_nan=False)
                    rows_of(run.verdict, run.curves)


@pytest.mark.parametrize(
    "shard",
    [
        {"index": 2, "count": 2},
        {"index": 0.5, "count": 2},
        {"index": 0, "count": 2.5},
        {"index": 0, "count": 10**9},
        {"index": -1, "count": 2},
        {"index": 0},
        1,
        None,
    ],
)
def test_a_share_that_cannot_be_is_damage(tmp_path: Path, shard: object) -> None:
    path = write(tmp_path / "run.jsonl", [RUN, {**RUN, "shard": shard}])
    assert list(read_lines(path).damaged) == [2]


def test_whatever_is_left_in_can_be_drawn(tmp_path: Path) -> None:
    """All at once, as a chart takes a second."""
    left = [line for sound in WHOLE for line in kept(tmp_path / "run.jsonl", sound)]
    lines = [RUN, *(line for line in left if line["kind"] != "run")]
    assert len(lines) > 2 * len(WHOLE)
    found = reports([("run.jsonl", lines), ("other.jsonl", GOOD)])
    assert page(found).count("<svg") > 0
    picture(found).savefig(tmp_path / "run.png")


@pytest.mark.parametrize("command", [["report"], ["top", "--once"], ["top", "--json"]])
def test_the_commands_say_what_was_left_out(
    tmp_path: Path, command: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    bad: Any = {**GOOD[1], "stage": None}
    path = write(tmp_path / "run.jsonl", [*GOOD, bad, END])
    path.write_bytes(path.read_bytes() + b"\0" * 512)
    assert main([*command, str(path)]) == 0
    out, err = capsys.readouterr()
    assert "Training waited" in out
    left_out = "run.jsonl: 2 damaged lines are left out, beginning with line 5"
    assert left_out in err + out
    assert "Traceback" not in err
