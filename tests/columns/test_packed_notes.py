"""What the verdict says beside the pace: packed numbers that were read as they are stored."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from helpers.logs import log, run_line, stage

from prefetcher import Monitor, PrefetchSequence, Row, Unpacked, Window, read_log
from prefetcher.cli import main
from prefetcher.verdict.judge import judge

SAYS = (
    "t is packed (scale_factor 0.5, add_offset 3) and was read as it is stored: Unpacked('t') "
    "gives its values"
)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    with h5py.File(tmp_path / "a.nc", "w") as made:
        for name in ("t", "u"):
            made[name] = np.zeros((60, 2), "i2")
        made["t"].attrs.update({"scale_factor": 0.5, "add_offset": 3.0})
        made["text"] = np.zeros((60, 2), "i2")
        made["text"].attrs["scale_factor"] = "0.5"
    return tmp_path / "a.nc"


@pytest.mark.parametrize(
    ("x", "y", "notes"),
    [
        ("t", None, (SAYS,)),
        (Window("t", 3), "u", (SAYS,)),
        ("u", Row("t", ahead=1), (SAYS,)),
        (Unpacked("t"), None, ()),
        (Window(Unpacked("t"), 3), Row(Unpacked("t"), ahead=3), ()),
        (Unpacked("t"), "t", ()),  # somebody knows
        ("text", np.zeros(60), ()),  # which nothing could unpack
        ("u", None, ()),
    ],
)
def test_numbers_that_are_packed_are_named(
    file: Path, tmp_path: Path, x: Any, y: Any, notes: tuple[str, ...]
) -> None:
    with PrefetchSequence(file, x, y, monitor=Monitor(tmp_path / "run.jsonl", verdict=False)) as s:
        assert len(list(s)) == len(s)
    assert judge(read_log(tmp_path / "run.jsonl")).notes == notes


@pytest.fixture
def packed_log(tmp_path: Path) -> Path:
    told = {"name": "a.nc", "bytes": 9, "datasets": [], "packed": [
        {"name": "t", "packing": "scale_factor 0.5, add_offset 3"}
    ]}  # fmt: skip
    idle = stage(wait_in=98, gather=2, cpu=2)
    lines = log(idle, idle, stall=0.0, run=run_line(file=told))
    path = tmp_path / "run.jsonl"
    path.write_text("".join(f"{json.dumps(line)}\n" for line in lines))
    return path


def test_every_form_of_the_report_has_it(
    packed_log: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["report", str(packed_log)]) == 0
    assert f"\n  note: {SAYS}\n" in capsys.readouterr().out
    page = packed_log.with_suffix(".html").read_text(encoding="utf-8")
    assert "<th>note</th><td>t is packed (scale_factor 0.5, add_offset 3)" in page
    assert main(["report", str(packed_log), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["reports"][0]["verdict"]["notes"] == [SAYS]


def test_ranks_of_one_run_say_it_once(packed_log: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run, *lines = map(json.loads, packed_log.read_text().splitlines())
    packed_log.unlink()
    for index in range(2):
        own = [run | {"shard": {"index": index, "count": 2}, "run_id": str(index)}, *lines]
        path = packed_log.with_name(f"run.rank{index}.jsonl")
        path.write_text("".join(f"{json.dumps(line)}\n" for line in own))
    assert main(["report", *map(str, sorted(packed_log.parent.glob("run.rank*")))]) == 0
    told = capsys.readouterr().out
    assert told.count(f"  note: {SAYS}\n") == 1


def test_it_is_told_when_the_sequence_is_closed(packed_log: Path) -> None:
    out = io.StringIO()
    Monitor(packed_log).tell(out)
    headline, note = out.getvalue().splitlines()
    assert "Data keeps up" in headline
    assert note == f"  note: {SAYS}"


def test_an_older_log_has_none() -> None:
    idle = stage(wait_in=98, gather=2, cpu=2)
    assert judge(log(idle, idle, stall=0.0, run=run_line(file=None))).notes == ()
