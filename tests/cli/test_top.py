"""`prefetcher top`: what it shows of a log, and when it ends."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from helpers.logs import log as made_log
from helpers.logs import run_line, stage

from prefetcher.cli import main, top

END = {"v": 1, "kind": "summary", "t_s": 10.0}


def write(path: Path, lines: list[Any]) -> Path:
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


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
    assert main(["top", "--json", str(write(tmp_path / "run.jsonl", [*lines, END]))]) == 0
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
    versions = iter([lines[:5], [*lines, END]])

    class Pause:
        def wait(self, seconds: float) -> None:
            write(path, next(versions))

    monkeypatch.setattr(top, "threading", SimpleNamespace(Event=Pause))
    seen = [len(newer) for newer in top._growing(path, lines[:3])]
    assert seen == [5, len(lines) + 1]
