"""Reading a log back: what is damaged is left out and told, and what is left can be gone by."""

from __future__ import annotations

import json
import logging
from pathlib import Path

import pytest
from helpers.logs import Line, log, stage, summary_line

from prefetcher.errors import FileError, FileMissingError
from prefetcher.monitor import read_lines, read_log
from prefetcher.monitor.log import LogFile

FIRST, SECOND, THIRD = ({"t_s": 1.0, "name": "e", "data": {"n": n}} for n in (1, 2, 3))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "run.jsonl"


def write(path: Path, *contents: Line, kind: str = "event") -> None:
    file = LogFile(path)
    for content in contents:
        file.write(kind, content)
    file.close()


def numbers(path: Path) -> list[int]:
    return [line["data"]["n"] for line in read_log(path)]


def test_a_torn_last_line_is_skipped_wherever_it_is_cut(
    path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    write(path, FIRST, SECOND)
    first, second, _ = path.read_bytes().split(b"\n")
    for length in range(len(second)):
        path.write_bytes(first + b"\n" + second[:length])
        assert numbers(path) == [1], f"cut after {length} bytes"
    path.write_bytes(first + b"\n" + second)
    assert numbers(path) == [1, 2]
    assert not caplog.records, "a writer that was killed is no damage"


def test_a_run_goes_on_after_a_line_that_was_torn(
    path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    write(path, FIRST, SECOND)
    path.write_bytes(path.read_bytes()[:-5])
    write(path, {}, kind="run")
    assert [line["kind"] for line in read_log(path)] == ["event", "run"]
    assert not caplog.records


@pytest.mark.parametrize(
    "bad",
    [
        b"",
        b"not json",
        b'{"v":1,"kind":"ev',
        b"7",
        b'{"v":1}',
        b'{"v":1,"kind":7}',
        b'{"v":1,"kind":"event","t_s":1.0,"name":"e","data":{"n":NaN}}',
        b'{"v":1,"kind":"event","t_s":1.0,"name":"e","data":{"n":' + b"[" * 200_000,
        b'{"v":1,"kind":"event","t_s":1.0,"name":"e","data":{"n":' + b"9" * 5000 + b"}}",
        b"\xff",
        b"\0" * 4096,
    ],
    ids=lambda bad: repr(bad[:60]),
)
def test_a_bad_line_in_the_middle_is_left_out_and_told(
    path: Path, caplog: pytest.LogCaptureFixture, bad: bytes
) -> None:
    write(path, FIRST, SECOND)
    first, second, _ = path.read_bytes().split(b"\n")
    path.write_bytes(b"\n".join([first, bad, second, b""]))
    assert numbers(path) == [1, 2]
    (record,) = caplog.records
    assert (record.name, record.levelno) == ("prefetcher", logging.WARNING)
    assert record.message == "run.jsonl: 1 damaged line is left out, beginning with line 2"


def test_a_tail_of_nuls_is_what_a_machine_leaves_that_crashed(
    path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    write(path, FIRST)
    path.write_bytes(path.read_bytes() + b"\0" * 10_000)
    assert numbers(path) == [1]
    write(path, {}, kind="run")
    write(path, SECOND, THIRD)
    assert [line["kind"] for line in read_log(path)] == ["event", "run", "event", "event"]
    assert "1 damaged line" in caplog.messages[-1]


def test_lines_that_were_never_ours_are_counted(path: Path) -> None:
    write(path, FIRST)
    path.write_bytes(b"notes\n" + path.read_bytes() + b"appended by hand\n")
    found = read_lines(path)
    assert [line["data"] for line in found.lines] == [{"n": 1}]
    assert found.damaged == [1, 3]
    assert found.left_out == "run.jsonl: 2 damaged lines are left out, beginning with line 1"
    path.write_bytes(b"")
    assert read_lines(path).left_out == ""


@pytest.mark.parametrize(
    "content", [b"\0" * 100, b"{}\n", b'{"v":1,"kind":"sample"}\n', b"[1]\n\n"]
)
def test_a_file_without_a_line_of_ours_is_no_log(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    with pytest.raises(FileError, match=r"run\.jsonl, line 1: expected one JSON object"):
        read_log(path)


def test_a_log_of_a_newer_version_is_refused(path: Path) -> None:
    path.write_text('{"v":2,"kind":"run"}\n')
    with pytest.raises(FileError, match=r"line 1: .*version 1, the line has 2; install a newer"):
        read_log(path)


def test_one_version_that_is_damaged_is_no_reason_to_refuse_the_rest(path: Path) -> None:
    write(path, FIRST, SECOND)
    path.write_bytes(path.read_bytes().replace(b'{"v":1', b'{"v":7', 1))
    assert numbers(path) == [2]


def test_an_empty_log_has_no_lines(path: Path) -> None:
    path.touch()
    assert read_log(path) == []


def test_a_missing_log_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileMissingError, match=r"no\.jsonl"):
        read_log(tmp_path / "no.jsonl")


def test_a_folder_is_no_log(tmp_path: Path) -> None:
    with pytest.raises(FileError, match="cannot be read"):
        read_log(tmp_path)


def test_what_is_written_today_and_what_was_written_first_are_both_sound(path: Path) -> None:
    lines = log(stage(read=99, cpu=98, runqueue=1, slices=9), stage(workers=0), gpu=[])
    lines.append(summary_line(lines[-1]))
    old = json.loads(json.dumps(lines))
    for line in old[1:]:
        for each in line["stage"].values():
            for key in ("samples_per_s", "cpu_pct", "runqueue_pct", "timeslices_per_s", "work_pct"):
                del each[key]
        line["monitor"] = {"cost_ms": 0.5}
    path.write_text("".join(json.dumps(line) + "\n" for line in [*lines, *old]))
    assert read_log(path) == [*lines, *old]
