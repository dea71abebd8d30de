"""What commands write, and where it goes."""

from __future__ import annotations

import argparse
import contextlib
import logging
import os
from pathlib import Path

import pytest
from rich.live import Live
from rich.table import Table
from rich.text import Text

from prefetcher.cli import output
from prefetcher.errors import SettingsError


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (0, "0 bytes"),
        (999, "999 bytes"),
        (49_152, "49.2 kB"),
        (157e6, "157 MB"),
        (999_700, "1 MB"),
        (2.5e15, "2.5 PB"),
    ],
)
def test_sizes_for_people(count: float, text: str) -> None:
    assert output.size(count) == text


def test_at_least_takes_what_is_large_enough() -> None:
    number = output.at_least(2)
    assert number("2") == 2
    with pytest.raises(argparse.ArgumentTypeError, match="write 2 or more"):
        number("1")


def test_json_goes_to_stdout_and_notes_to_stderr(capsys: pytest.CaptureFixture[str]) -> None:
    output.write_json({"loss": 0.5})
    output.say("[bold]as it is[/bold] " + "x" * 200)
    out, err = capsys.readouterr()
    assert out == '{\n  "loss": 0.5\n}\n'
    assert err == "[bold]as it is[/bold] " + "x" * 200 + "\n"


def test_without_a_terminal_progress_is_plain_lines(capsys: pytest.CaptureFixture[str]) -> None:
    with output.progress("Working", 2000) as advance:
        for _ in range(10):
            advance(100)
        advance(500, "half way")
        advance(500)
    out, err = capsys.readouterr()
    assert out == ""
    assert err.splitlines() == [
        "Working: 1,500 of 2,000 half way",
        "Working: 2,000 of 2,000",
    ]


def test_progress_says_where_it_is_now_and_then(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 0.0
    monkeypatch.setattr(output, "monotonic", lambda: now)
    with output.progress("Working", 40) as advance:
        for _ in range(4):
            advance(10)
            now += output.PLAIN_LINE_SECONDS / 2
    assert capsys.readouterr().err.splitlines() == [
        "Working: 30 of 40",
        "Working: 40 of 40",
    ]


def test_on_a_terminal_progress_is_a_bar(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    with output.progress("Working", 10) as advance:
        advance(10, "a note")
    out, err = capsys.readouterr()
    assert out == ""
    assert "10/10" in err
    assert "a note" in err
    assert "\x1b[" in err


def test_quiet_keeps_native_messages_away(capfd: pytest.CaptureFixture[str]) -> None:
    with output.quiet():
        os.write(2, b"no driver\n")
    os.write(2, b"heard\n")
    assert capfd.readouterr().err == "heard\n"


def test_quiet_tells_what_was_said_before_a_failure(capfd: pytest.CaptureFixture[str]) -> None:
    def failing() -> None:
        with output.quiet():
            os.write(2, b"the reason\n")
            raise ImportError

    with pytest.raises(ImportError):
        failing()
    assert capfd.readouterr().err == "the reason\n"


HOSTILE = "\x1b]0;owned\x07\x1b[2J\x9b31m\u202egnp.exe\r\u2028\ud800"
SEEN = r"\x1b]0;owned\x07\x1b[2J\x9b31m\u202egnp.exe\r\u2028\ud800"


@pytest.mark.parametrize("terminal", [False, True])
@pytest.mark.parametrize("kind", ["line", "text", "cell", "live", "markup", "note"])
def test_no_console_prints_it_in_any_way(
    kind: str, terminal: bool, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    if terminal:
        monkeypatch.setenv("FORCE_COLOR", "1")
    console, table = output.data(), Table()
    table.add_column(HOSTILE)
    table.add_row(Text(HOSTILE))
    if kind == "live":
        with Live(table, console=console):
            pass
    elif kind == "note":
        with output.progress(HOSTILE, 1) as advance:
            advance(1, HOSTILE)
    else:
        shown = {"line": HOSTILE, "text": Text(HOSTILE), "cell": table, "markup": f"[b]{HOSTILE}"}
        console.print(shown[kind], soft_wrap=kind != "cell")
    out, err = capsys.readouterr()
    for letters in (r"\x1b]0;owned", r"\x1b[2J", r"\u202e"):
        assert letters in (out + err).replace("\n", "")
    for letter in ("\x1b]", "\x07", "\x1b[2J", "\x9b", "\u202e", "\ud800"):
        assert letter not in out + err


def test_a_table_leaves_room_for_what_was_made_visible(capsys: pytest.CaptureFixture[str]) -> None:
    table = Table()
    table.add_column("a")
    table.add_row("\x1b")
    output.data().print(table)
    assert r"│ \x1b │" in capsys.readouterr().out


def test_warnings_of_the_package_are_said_while_a_command_runs(
    capsys: pytest.CaptureFixture[str],
) -> None:
    logger = logging.getLogger("prefetcher")
    with output.warnings_said():
        logger.warning("%s is damaged", HOSTILE)
    logger.warning("after it")
    assert capsys.readouterr().err == f"prefetcher: {SEEN} is damaged\n"


def test_nothing_is_written_over_what_is_read(tmp_path: Path) -> None:
    log, link, hard = tmp_path / "run.html", tmp_path / "link", tmp_path / "hard"
    log.write_text("{}")
    link.symlink_to(log)
    hard.hardlink_to(log)
    aside = tmp_path / "below" / ".." / "run.html"
    aside.parent.parent.mkdir()
    for out in (log, link, hard, aside):
        with pytest.raises(SettingsError, match=r"--html .* the file that is read"):
            output.keep_apart([tmp_path / "other", log], {"--html": out})
    output.keep_apart([log], {"--html": tmp_path / "new.html", "--png": tmp_path / "new.png"})
    missing = tmp_path / "missing"
    (tmp_path / "leads").symlink_to(missing)
    with pytest.raises(SettingsError):
        output.keep_apart([missing], {"OUT": tmp_path / "leads"})


def test_output_that_goes_into_what_is_read_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "run.jsonl"
    with path.open("w") as stream, contextlib.redirect_stdout(stream):
        with pytest.raises(SettingsError, match="the output goes to"):
            output.keep_apart([path], {})
        output.keep_apart([tmp_path / "other"], {})
