"""Text that somebody else wrote."""

from __future__ import annotations

from prefetcher.messages.text import visible


def test_what_a_terminal_would_act_on_is_made_visible() -> None:
    hostile = "\x1b]0;owned\x07\x1b[2J\x9b31m\u202egnp.exe\r\u2028\ud800"
    assert visible(hostile) == r"\x1b]0;owned\x07\x1b[2J\x9b31m\u202egnp.exe\r\u2028\ud800"
    assert visible("two\nlines\tof text") == r"two\nlines\tof text"
    assert visible("two\nlines\r", keep="\n") == "two\nlines\\r"


def test_all_else_stays_as_it_is() -> None:
    plain = "Ünïcödé 日本 [bold] C:\\temp"
    assert visible(plain) is plain
    assert visible(None) == "None"
