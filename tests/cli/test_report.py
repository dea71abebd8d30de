"""`prefetcher report`: exit codes, files, and what is printed."""

from __future__ import annotations

import contextlib
import json
import sys
from pathlib import Path

import pytest
from helpers.logs import SETTINGS, run_line, stage
from helpers.logs import log as made_log

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


@pytest.fixture
def no_matplotlib(monkeypatch: pytest.MonkeyPatch) -> None:
    """As on a training machine, which needs no charts."""
    loaded = [name for name in sys.modules if name.split(".")[0] == "matplotlib"]
    for name in (*loaded, "matplotlib", "matplotlib.figure"):
        monkeypatch.setitem(sys.modules, name, None)


@pytest.mark.usefixtures("no_matplotlib")
def test_without_matplotlib_the_verdict_is_told_and_where_charts_come_from(
    log: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["report", str(log)]) == 0
    out, err = capsys.readouterr()
    assert "Training waited 50 % of the time for data" in out
    assert err == "No charts: they need matplotlib, pip install 'prefetcher[report]'\n"
    assert not log.with_suffix(".html").exists()
    assert main(["report", str(log), "--json", "--fail-if", "stall_pct>20"]) == 4
    assert "matplotlib" not in capsys.readouterr().err


@pytest.mark.usefixtures("no_matplotlib")
@pytest.mark.parametrize("flag", ["--html", "--png"])
def test_charts_that_were_asked_for_and_cannot_be_drawn_are_a_failure(
    log: Path, flag: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """The verdict is told all the same."""
    out_path = log.with_name("charts")
    assert main(["report", str(log), flag, str(out_path)]) == 1
    out, err = capsys.readouterr()
    assert "Training waited" in out
    assert "pip install 'prefetcher[report]'" in err
    assert not out_path.exists()


@pytest.mark.parametrize("flag", ["--html", "--png"])
def test_no_form_is_written_over_a_log_that_is_read(
    log: Path, flag: str, capsys: pytest.CaptureFixture[str]
) -> None:
    other = log.with_name("other.jsonl")
    other.write_bytes(log.read_bytes())
    for read in (log, other):
        link = log.with_name(f"link-{read.name}")
        link.symlink_to(read)
        for path in (read, link):
            before = read.read_bytes()
            assert main(["report", str(log), str(other), flag, str(path)]) == 1
            out, err = capsys.readouterr()
            assert out == "", "it is refused before anything is done"
            assert f"{flag} {path}: that is the file that is read" in err
            assert read.read_bytes() == before


@pytest.mark.parametrize("with_other", [False, True])
def test_a_log_that_is_called_like_a_page_stays(
    log: Path, with_other: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    """The page goes beside it, also where the other log has the name that it would get."""
    page = log.with_suffix(".html")
    words = ["report", str(log), str(page)] if with_other else ["report", str(page)]
    page.write_bytes(log.read_bytes())
    assert main(words) == 0
    assert page.read_bytes() == log.read_bytes()
    written = log.with_name("run.jsonl.html" if with_other else "run.html.html")
    assert written.read_text().startswith("<!doctype html>")
    assert str(written) in capsys.readouterr().err


def test_results_that_the_shell_sends_into_the_log_are_refused(log: Path) -> None:
    before = log.read_bytes()
    with log.open("a") as stream, contextlib.redirect_stdout(stream):
        assert main(["report", str(log), "--json"]) == 1
    assert log.read_bytes() == before


def test_two_logs_tell_what_was_set_differently(
    log: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = log.with_name("other.jsonl")
    run = run_line(settings=SETTINGS | {"batchers": 4})
    lines = made_log(stage(decode=99, cpu=98), stage(wait_in=98, gather=2), run=run)
    other.write_text("".join(json.dumps(line) + "\n" for line in lines))
    assert main(["report", str(log), str(other), "--fail-if", "stall_pct<1"]) == 0
    assert capsys.readouterr().out.endswith("Set differently: batchers 1 and 4\n")
    assert main(["report", str(log), str(other), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["differences"] == {"batchers": ["1", "4"]}
    assert main(["report", str(log), str(log), "--fail-if", "stall_pct<1"]) == 0
    assert capsys.readouterr().out.endswith("Set differently: nothing\n")
