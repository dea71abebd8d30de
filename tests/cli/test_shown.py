"""`prefetcher report` over the logs of several ranks."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from helpers.logs import SETTINGS
from helpers.ranks import behind, fine, rank_log, write_log, write_ranks

from prefetcher.cli import main


def test_a_pattern_is_taken_quoted_or_not(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    paths = write_ranks(tmp_path, 2, behind)
    told = []
    for words in ([str(tmp_path / "run.*of2.jsonl")], [str(path) for path in paths]):
        assert main(["report", *words]) == 0
        out, err = capsys.readouterr()
        assert "run.of2.html" in err
        told.append(out)
    assert told[0] == told[1]
    assert told[0].startswith("run.*of2.jsonl: The group of 2 ranks waited 40 % of the time")
    assert "  rank 1 on node1: waited 40.0 %, longest of all in 100 % of the lost time" in told[0]
    assert "Set differently" not in told[0], "ranks run on several hosts, and that is all"
    assert (tmp_path / "run.of2.html").read_text().startswith("<!doctype html>")


def test_a_pattern_that_matches_nothing_is_1(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["report", str(tmp_path / "run.*of2.jsonl")]) == 1
    assert "found no file that matches" in capsys.readouterr().err


def test_missing_ranks_are_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    paths = write_ranks(tmp_path, 4, behind)
    paths[2].unlink()
    assert main(["report", str(tmp_path / "run.*of4.jsonl"), "--fail-if", "stall_pct<1"]) == 0
    assert "no log of rank 2: the group may have lost more" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("condition", "code"),
    [
        ("stall_pct>39", 4),
        ("mean_stall_pct>21", 0),
        ("uneven_pct>19", 4),
        ("samples_per_s<2000", 0),
    ],
)
def test_a_check_is_of_the_group(tmp_path: Path, condition: str, code: int) -> None:
    write_ranks(tmp_path, 2, behind)
    assert main(["report", str(tmp_path / "run.*of2.jsonl"), "--fail-if", condition]) == code


def test_json_has_the_group_and_every_rank(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_ranks(tmp_path, 3, behind)
    assert main(["report", str(tmp_path / "run.*of3.jsonl"), "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert [each["log"] for each in told["reports"]] == [f"run.{i}of3.jsonl" for i in range(3)]
    (group,) = told["groups"]
    assert group["verdict"]["later"]["lost_pct"] == 40.0
    assert group["figures"]["stall_pct"] == 40.0


def test_two_runs_are_compared_by_the_ranks_that_wait_most(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_ranks(tmp_path, 2, behind)
    alone = write_log(tmp_path / "alone.jsonl", rank_log(0, 1, fine))
    words = [str(tmp_path / "run.*of2.jsonl"), str(alone), "--png", str(tmp_path / "two.png")]
    assert main(["report", *words]) == 0
    out = capsys.readouterr().out
    assert "run.*of2.jsonl: The group of 2 ranks" in out
    assert "alone.jsonl: Data keeps up" in out
    last = out.splitlines()[-1]
    assert last.startswith("Set differently: ")
    assert "ranks 2 and 1" in last
    assert "batch_size 64 and 32" in last
    assert (tmp_path / "two.png").exists()


def test_settings_that_differ_between_ranks_are_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = SETTINGS | {"batch_size": 64}
    for index in range(2):
        lines = rank_log(index, 2, behind, settings=settings | {"readers": 1 + index})
        write_log(tmp_path / f"run.{index}of2.jsonl", lines)
    assert main(["report", str(tmp_path / "run.*of2.jsonl"), "--fail-if", "stall_pct<1"]) == 0
    told = "Set differently on run.1of2.jsonl and run.0of2.jsonl: readers 2 and 1\n"
    assert capsys.readouterr().out.endswith(told)


def test_more_than_two_runs_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    logs = [
        str(write_log(tmp_path / f"{name}.jsonl", rank_log(0, 1, fine))) for name in ("a", "b", "c")
    ]
    assert main(["report", *logs]) == 1
    err = capsys.readouterr().err
    assert "logs of 3 runs" in err
    assert "a.jsonl, b.jsonl, c.jsonl" in err


def test_no_page_is_written_over_a_ranks_log(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    paths = write_ranks(tmp_path, 2, behind)
    words = ["report", str(tmp_path / "run.*of2.jsonl"), "--html", str(paths[1])]
    assert main(words) == 1
    assert "that is the file that is read" in capsys.readouterr().err
