"""Names that a stranger chose reach the terminal as text, whichever command prints them."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest
from helpers.logs import log, run_line, stage
from PIL import Image

from prefetcher.cli import main

Run = Callable[..., tuple[int, str]]

ESC, SEEN = "\x1b]0;owned\x07\x1b[2J", r"\x1b]0;owned"
NAMES_ARE_BYTES = sys.platform == "linux"


@pytest.fixture
def said(capsys: pytest.CaptureFixture[str]) -> Run:
    """Runs a command; returns its exit code and all that it printed, checked."""

    def run(*words: str) -> tuple[int, str]:
        code = main(list(words))
        out, err = capsys.readouterr()
        for letter in ("\x1b", "\x07", "\x9b", "\u202e"):
            assert letter not in out + err, repr(out + err)
        return code, out + err

    return run


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A file whose every name and attribute is hostile."""
    path = tmp_path / f"{ESC}.h5"
    with h5py.File(path, "w") as made:
        made[f"x{ESC}"] = np.zeros((8, 4), np.uint8)
        made["names\nin two lines"] = np.zeros(8)
        made[f"x{ESC}"].attrs["class_names"] = json.dumps([f"a{ESC}", "b\u202e"])
        made.attrs["x"] = json.dumps(f"x{ESC}")
        made.attrs["source"] = json.dumps(f"photos{ESC}")
        made.attrs["arguments"] = json.dumps({f"size{ESC}": f"4{ESC}"})
        made.attrs["prefetcher_version"] = json.dumps(f"1{ESC}")
    return path


@pytest.mark.parametrize("terminal", [False, True])
def test_inspect(
    file: Path, capsys: pytest.CaptureFixture[str], terminal: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if terminal:  # then rich writes escapes of its own: colours
        monkeypatch.setenv("FORCE_COLOR", "1")
        monkeypatch.setenv("COLUMNS", "200")
    assert main(["inspect", str(file)]) == 0
    out = capsys.readouterr().out
    assert "\x1b]" not in out
    assert "\x07" not in out
    for start in ("x", "photos", "1", "a"):
        assert f"{start}{SEEN}" in out
    assert r"names\nin two lines" in out
    assert ("\x1b" in out) == terminal


def test_errors(file: Path, tmp_path: Path, said: Run) -> None:
    code, text = said("inspect", str(tmp_path / f"no{ESC}.h5"))
    assert code == 1
    assert f"no{SEEN}" in text
    code, text = said("convert", str(file), str(tmp_path / "o.h5"), "--x", "z")
    assert code == 1
    assert f"x{SEEN}" in text


def test_wrong_usage(capsys: pytest.CaptureFixture[str]) -> None:
    """As a number taken from a stranger's file may be."""
    with pytest.raises(SystemExit):
        main(["inspect", "a.h5", "--batch-size", ESC])
    err = capsys.readouterr().err
    assert SEEN in err
    assert "\x1b" not in err


def test_report_and_top(tmp_path: Path, said: Run) -> None:
    run = run_line(host=ESC, gpu=[{"index": 0, "name": ESC}], settings={"file": ESC})
    path = tmp_path / f"run{ESC}.jsonl"
    lines = log(stage(decode=99, cpu=98), stage(wait_in=98, gather=2), run=run)
    path.write_text("".join(json.dumps(line) + "\n" for line in [*lines, {"kind": ESC}]))
    for words in (["report"], ["report", "--json"], ["top", "--once"], ["top", "--json"]):
        code, text = said(*words, str(path))
        assert code == 0
        assert SEEN.replace("\\x1b", "\\u001b") in text or f"run{SEEN}" in text or "top" in words
    html = path.with_suffix(".html").read_text()
    assert "\x1b" not in html
    assert SEEN in html


def test_convert(tmp_path: Path, said: Run) -> None:
    for name in ("cat", f"dog{ESC}"):
        (tmp_path / "photos" / name).mkdir(parents=True)
        Image.new("RGB", (4, 4)).save(tmp_path / "photos" / name / f"1{ESC}.png")
    out = tmp_path / f"out{ESC}.h5"
    code, text = said("convert", str(tmp_path / "photos"), str(out))
    assert code == 0
    assert f"out{SEEN}" in text
    (tmp_path / "photos" / "cat" / f"2{ESC}.png").write_bytes(b"no picture")
    code, text = said("convert", str(tmp_path / "photos"), str(out))
    assert code == 1
    assert f"2{SEEN}" in text


@pytest.mark.skipif(not NAMES_ARE_BYTES, reason="names of files are text there")
def test_a_name_that_is_no_text(tmp_path: Path, said: Run) -> None:
    path = tmp_path / b"run\xff.jsonl".decode("utf-8", "surrogateescape")
    lines = log(stage(decode=99, cpu=98), stage(wait_in=98, gather=2))
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    code, text = said("report", str(path), "--png", str(tmp_path / "r.png"))
    assert code == 0
    assert r"run\udcff.jsonl: Training waited" in text
    assert said("report", str(path))[0] == 0
    assert r"run\udcff" in path.with_suffix(".html").read_text()
