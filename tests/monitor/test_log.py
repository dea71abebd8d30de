"""The log file: every line whole or skipped, and nothing else is ever swallowed."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from prefetcher.errors import FileError, FileMissingError
from prefetcher.monitor.log import LogFile, plain, read_log

MakePath = Callable[[], Path]


@pytest.fixture(scope="module")
def fresh(tmp_path_factory: pytest.TempPathFactory) -> MakePath:
    """Gives a path where no file is yet, each time it is called."""
    return lambda: tmp_path_factory.mktemp("log") / "run.jsonl"


def write_lines(path: Path, *contents: dict[str, object], kind: str = "event") -> None:
    log = LogFile(path)
    for content in contents:
        log.write(kind, content)
    log.close()


def test_a_line_is_in_the_file_when_write_returns(fresh: MakePath) -> None:
    path = fresh()
    log = LogFile(path)
    log.write("run", {"host": "a"})
    assert read_log(path) == [{"v": 1, "kind": "run", "host": "a"}]
    log.write("summary", {"samples": 3})
    assert read_log(path)[1] == {"v": 1, "kind": "summary", "samples": 3}
    log.close()


def test_opening_an_existing_log_appends(fresh: MakePath) -> None:
    path = fresh()
    write_lines(path, {"n": 1})
    write_lines(path, {"n": 2})
    assert [line["n"] for line in read_log(path)] == [1, 2]


json_values: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=10,
)


@given(content=st.dictionaries(st.text().filter(lambda key: key not in {"v", "kind"}), json_values))
def test_what_is_written_is_read_and_every_line_is_strict_json(
    fresh: MakePath, content: dict[str, Any]
) -> None:
    path = fresh()
    write_lines(path, content, {"after": 1})
    expected = plain({"v": 1, "kind": "event", **content})
    assert read_log(path) == [expected, {"v": 1, "kind": "event", "after": 1}]
    assert len(path.read_bytes().split(b"\n")) == 3

    def refuse(word: str) -> None:
        pytest.fail(f"{word} is not JSON")

    json.loads(path.read_bytes().split(b"\n")[0], parse_constant=refuse)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (float("nan"), None),
        (-float("inf"), None),
        (np.float32("nan"), None),
        (np.float32(0.5), 0.5),
        (np.int64(7), 7),
        (np.True_, "True"),
        (True, True),
        ((1, 2), [1, 2]),
        ({3: {"a": 1.5}}, {"3": {"a": 1.5}}),
        (slice(0, 9), "slice(0, 9, None)"),
        (Path("a.h5"), "a.h5"),
        (np.dtype("uint8"), "uint8"),
    ],
)
def test_settings_of_any_type_become_json(value: object, expected: object) -> None:
    assert plain(value) == expected
    json.dumps(plain(value), allow_nan=False)


def test_an_index_array_does_not_flood_the_log() -> None:
    assert len(str(plain(np.arange(1_000_000)))) < 100


def test_a_torn_last_line_is_skipped_wherever_it_is_cut(fresh: MakePath) -> None:
    path = fresh()
    write_lines(path, {"n": 1}, {"n": 2})
    first, second, _ = path.read_bytes().split(b"\n")
    for length in range(len(second)):
        path.write_bytes(first + b"\n" + second[:length])
        assert [line["n"] for line in read_log(path)] == [1], f"cut after {length} bytes"
    path.write_bytes(first + b"\n" + second)
    assert [line["n"] for line in read_log(path)] == [1, 2]


def test_a_run_goes_on_after_a_line_that_was_torn(fresh: MakePath) -> None:
    path = fresh()
    write_lines(path, {"n": 1}, {"n": 2})
    path.write_bytes(path.read_bytes()[:-5])
    write_lines(path, {"n": 3}, kind="run")
    assert [line["n"] for line in read_log(path)] == [1, 3]


@pytest.mark.parametrize("bad", [b"", b"not json", b'{"v":1,"kind":"ev', b"7", b'{"v":1}', b"\xff"])
def test_a_bad_line_in_the_middle_is_named(fresh: MakePath, bad: bytes) -> None:
    path = fresh()
    write_lines(path, {"n": 1}, {"n": 2})
    first, second, _ = path.read_bytes().split(b"\n")
    path.write_bytes(b"\n".join([first, bad, second, b""]))
    with pytest.raises(FileError, match=r"run\.jsonl, line 2"):
        read_log(path)


def test_a_last_line_that_was_never_ours_is_not_taken_for_a_torn_one(fresh: MakePath) -> None:
    path = fresh()
    write_lines(path, {"n": 1})
    path.write_bytes(path.read_bytes() + b"appended by hand")
    with pytest.raises(FileError, match="line 2"):
        read_log(path)


def test_a_log_of_a_newer_version_is_refused(fresh: MakePath) -> None:
    path = fresh()
    path.write_text('{"v":2,"kind":"run"}\n')
    with pytest.raises(FileError, match=r"line 1: .*version 1, the line has 2; install a newer"):
        read_log(path)


def test_an_empty_log_has_no_lines(fresh: MakePath) -> None:
    path = fresh()
    path.touch()
    assert read_log(path) == []


def test_a_missing_log_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileMissingError, match=r"no\.jsonl"):
        read_log(tmp_path / "no.jsonl")


def test_a_folder_is_no_log(tmp_path: Path) -> None:
    with pytest.raises(FileError, match="cannot be read"):
        read_log(tmp_path)


@pytest.mark.parametrize("content", [b"\x89HDF\r\n\x1a\n", b"x", b"# notes\n"])
def test_a_file_that_is_not_a_log_is_not_touched(fresh: MakePath, content: bytes) -> None:
    path = fresh()
    path.write_bytes(content)
    with pytest.raises(FileError, match="not a log"):
        LogFile(path)
    assert path.read_bytes() == content
    with pytest.raises(FileError, match="line 1"):
        read_log(path)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is always full")
def test_a_full_disk_is_an_error() -> None:
    log = LogFile(Path("/dev/full"))
    with pytest.raises(OSError, match="No space left"):
        log.write("run", {})
    log.close()
