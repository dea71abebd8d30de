"""The log file: every line is whole when it is written, and in the file."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from prefetcher.errors import FileError
from prefetcher.monitor import read_log
from prefetcher.monitor.log import LogFile, plain

MakePath = Callable[[], Path]


@pytest.fixture(scope="module")
def fresh(tmp_path_factory: pytest.TempPathFactory) -> MakePath:
    """Gives a path where no file is yet, each time it is called."""
    return lambda: tmp_path_factory.mktemp("log") / "run.jsonl"


def write_events(path: Path, *contents: dict[str, object]) -> None:
    log = LogFile(path)
    for content in contents:
        log.write("event", event(content))
    log.close()


def event(content: object) -> dict[str, object]:
    return {"t_s": 0.0, "name": "e", "data": content}


def test_a_line_is_in_the_file_when_write_returns(fresh: MakePath) -> None:
    path = fresh()
    log = LogFile(path)
    log.write("run", {"host": "a"})
    assert read_log(path) == [{"v": 1, "kind": "run", "host": "a"}]
    log.write("event", event({"samples": 3}))
    assert read_log(path)[1] == {"v": 1, "kind": "event", **event({"samples": 3})}
    log.close()


def test_opening_an_existing_log_appends(fresh: MakePath) -> None:
    path = fresh()
    write_events(path, {"n": 1})
    write_events(path, {"n": 2})
    assert [line["data"]["n"] for line in read_log(path)] == [1, 2]


json_values: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=10,
)


@given(content=st.dictionaries(st.text(), json_values))
def test_what_is_written_is_read_and_every_line_is_strict_json(
    fresh: MakePath, content: dict[str, Any]
) -> None:
    path = fresh()
    write_events(path, content, {"after": 1})
    assert [line["data"] for line in read_log(path)] == [plain(content), {"after": 1}]
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
