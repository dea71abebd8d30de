"""`prefetcher report`: exit codes, files, and what is printed."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from helpers.logs import log as made_log
from helpers.logs import stage

from prefetcher.cli import main


@pytest.fixture
def log(tmp_path: Path) -> Path:
    """A run that waited half its time for decoding."""
    path = tmp_path / "run.jsonl"
    lines = made_log(stage(decode=99, cpu=98), stage(wait_in=98, gather=2))
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


def test_the_verdict_is_printed_and_the_page_written(
    log: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["report", str(log)]) == 0
    out, err = capsys.readouterr()
    assert out.startswith("run.jsonl: Training waited 50 % of the time for data: the readers")
    assert "because decoding storage chunks is 100% of the readers' work" in out
    assert "run.html" in err
    assert log.with_suffix(".html").read_text().startswith("<!doctype html>")


@pytest.mark.parametrize(
    ("condition", "code"),
    [("stall_pct>20", 4), ("stall_pct > 60", 0), ("samples_per_s<=1000", 4), ("stall_pct<5", 0)],
)
def test_a_check_that_fails_is_4(log: Path, condition: str, code: int) -> None:
    assert main(["report", str(log), "--fail-if", condition]) == code
    assert not log.with_suffix(".html").exists()


@pytest.mark.parametrize("condition", ["stall>20", "stall_pct=20", "stall_pct>", "first_batch_s>1"])
def test_a_check_that_cannot_be_made_is_1(
    log: Path, condition: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["report", str(log), "--fail-if", condition]) == 1
    assert condition in capsys.readouterr().err


def test_json_and_the_other_forms_together(log: Path, capsys: pytest.CaptureFixture[str]) -> None:
    html, png = log.with_name("page.html"), log.with_name("page.png")
    words = ["report", str(log), str(log), "--json", "--html", str(html), "--png", str(png)]
    assert main([*words, "--fail-if", "stall_pct>20"]) == 4
    result = json.loads(capsys.readouterr().out)
    assert result["failed"] is True
    assert [report["log"] for report in result["reports"]] == ["run.jsonl", "run.jsonl"]
    assert html.exists()
    assert png.exists()


def test_a_missing_log_is_1(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["report", str(tmp_path / "no.jsonl")]) == 1
    assert "no.jsonl" in capsys.readouterr().err
