"""The command line as a whole: exit codes, and what goes to which stream."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import h5py
import pytest

from prefetcher import cli
from prefetcher.cli import main


@pytest.fixture
def small(tmp_path: Path) -> Path:
    path = tmp_path / "small.h5"
    with h5py.File(path, "w") as file:
        file["x"] = [[1.0], [2.0]]
    return path


def test_done_is_0(small: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["inspect", str(small)]) == 0
    out, err = capsys.readouterr()
    assert "small.h5" in out
    assert err == ""


def test_our_errors_are_one_line_and_1(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["inspect", str(tmp_path / "missing.h5")]) == 1
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("prefetcher: ")
    assert err.count("\n") == 1
    assert "missing.h5" in err


def test_a_folder_that_cannot_be_made_is_1(small: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["demo", "--out", str(small / "below")]) == 1
    assert capsys.readouterr().err.count("\n") == 1


@pytest.mark.parametrize(
    "words",
    [[], ["fly"], ["inspect"], ["inspect", "f", "--batch-size", "0"], ["demo", "--samples=x"]],
)
def test_wrong_usage_is_2(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as exit_:
        main(words)
    assert exit_.value.code == 2
    assert capsys.readouterr().err.startswith("usage: prefetcher")


def test_interrupted_is_130(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupted(_: object) -> None:
        raise KeyboardInterrupt

    command = SimpleNamespace(__doc__="Stops.", add_arguments=lambda _: None, run=interrupted)
    monkeypatch.setattr(cli, "_COMMANDS", {"stop": command})
    assert main(["stop"]) == 130
    assert capsys.readouterr().err == "prefetcher: interrupted\n"


def test_help_names_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as exit_:
        main(["--help"])
    assert exit_.value.code == 0
    out = capsys.readouterr().out
    assert "demo" in out
    assert "inspect" in out


@pytest.mark.parametrize("form", [(), ("--json",)])
def test_a_reader_that_left_is_no_traceback(small: Path, form: tuple[str, ...]) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    command = [sys.executable, "-m", "prefetcher", "inspect", str(small), *form]
    buffered = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
    with os.fdopen(writing, "wb") as nobody:
        done = subprocess.run(
            command,
            check=False,
            env=buffered,
            stdout=nobody,
            stderr=subprocess.PIPE,
            text=True,
            timeout=60,
        )
    assert (done.returncode, done.stderr) == (1, "")
