"""What commands write, and where it goes."""

from __future__ import annotations

import argparse
import os

import pytest

from prefetcher.cli import output


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
