"""The manifest: what is written is read, and a wrong or hostile one is refused."""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from helpers.leaks import open_hdf5_files
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from prefetcher.errors import (
    CorruptError,
    DatasetError,
    FileChangedError,
    FileError,
    FileMissingError,
    ReadError,
    UnsafeFileError,
)
from prefetcher.hdf5.describe import describe
from prefetcher.hdf5.manifest import Shard, checksum, read_manifest, shard_of, write_manifest
from prefetcher.hdf5.sharded import ShardedSource
from prefetcher.hdf5.shards import describe_all
from prefetcher.storage import retry


@pytest.fixture
def manifest(tmp_path: Path) -> Path:
    shards = []
    for name, content in (("b.h5", b"first"), ("a.h5", b"and second")):
        (tmp_path / name).write_bytes(content)
        shards.append(Shard(name, len(content), len(content), checksum(tmp_path / name)))
    write_manifest(tmp_path / "data.json", shards)
    return tmp_path / "data.json"


def test_the_files_in_their_order(manifest: Path) -> None:
    found = read_manifest(manifest)
    assert [path.name for path in found.paths] == ["b.h5", "a.h5"]
    assert all(path.is_file() for path in found.paths)
    assert found.rows == 15
    found.verify()


def test_a_changed_byte_is_found(manifest: Path) -> None:
    manifest.with_name("a.h5").write_bytes(b"and Second")
    with pytest.raises(CorruptError, match=r"a\.h5"):
        read_manifest(manifest).verify()


@pytest.mark.parametrize("times", [1, 9])
def test_a_read_that_fails_is_tried_again(
    manifest: Path, monkeypatch: pytest.MonkeyPatch, times: int
) -> None:
    monkeypatch.setattr(retry, "_FIRST_PAUSE_S", 0)
    opened, left = Path.open, [times]

    def weak(self: Path, *arguments: Any) -> Any:
        left[0] -= 1
        if left[0] >= 0:
            raise OSError(errno.EIO, "weak moment")
        return opened(self, *arguments)

    looks: list[Callable[[], int]] = [
        lambda: read_manifest(manifest).rows,
        lambda: len(checksum(manifest)),
    ]
    for look in looks:
        left[0] = times
        monkeypatch.setattr(Path, "open", weak)
        if times == 1:
            assert look() in (15, 64)
        else:
            with pytest.raises(ReadError, match=r"reading data\.json failed: .*weak moment"):
                look()
        monkeypatch.setattr(Path, "open", opened)


def test_a_file_cut_short_or_missing_is_found(manifest: Path) -> None:
    manifest.with_name("a.h5").write_bytes(b"and")
    with pytest.raises(FileError, match="3 bytes"):
        read_manifest(manifest)
    manifest.with_name("a.h5").unlink()
    with pytest.raises(FileMissingError, match=r"a\.h5"):
        read_manifest(manifest)


@pytest.mark.parametrize("name", ["../a.h5", "/etc/passwd", "..", "", "below/a.h5"])
def test_a_manifest_leads_nowhere_else(manifest: Path, name: str) -> None:
    content: dict[str, Any] = json.loads(manifest.read_text())
    content["files"][0]["name"] = name
    manifest.write_text(json.dumps(content))
    with pytest.raises(FileError, match="not a manifest"):
        read_manifest(manifest)


@pytest.mark.parametrize("content", ["{", "[]", "{}", '{"format": "prefetcher-manifest", "v": 2}'])
def test_what_is_no_manifest_is_said(tmp_path: Path, content: str) -> None:
    (tmp_path / "data.json").write_text(content)
    with pytest.raises(FileError, match=r"data\.json is not"):
        read_manifest(tmp_path / "data.json")


def test_no_file_at_all(tmp_path: Path) -> None:
    with pytest.raises(FileMissingError):
        read_manifest(tmp_path / "data.json")


ROWS = (4, 3, 5)


def write(path: Path, first: int, count: int) -> None:
    with h5py.File(path, "w") as file:
        ids = np.arange(first, first + count)
        file["x"] = ids[:, None].repeat(3, 1)
        stored = {"chunks": (2,), "compression": "gzip", "shuffle": True}
        file.create_dataset("group/y", data=ids.astype(">f4"), **stored)
        file["records"] = np.zeros(count, [("a", "i4")])
        file["note"] = 5


@pytest.fixture
def told(tmp_path: Path) -> Path:
    """A manifest that tells what is in three files."""
    paths = [tmp_path / f"part-{number}.h5" for number in range(len(ROWS))]
    for number, path in enumerate(paths):
        write(path, sum(ROWS[:number]), ROWS[number])
    write_manifest(tmp_path / "told.json", [shard_of(path) for path in paths])
    return tmp_path / "told.json"


def rows(manifest: Path, first: int = 0, last: int = sum(ROWS)) -> list[int]:
    out = np.full((last - first, 24), 0xAA, np.uint8)
    shards = describe_all(manifest)
    with closing(ShardedSource(shards, ["x", "group/y"])) as source:
        source.read("x", [(first, last)], [out])
    found: list[int] = out.view(np.int64)[:, 0].tolist()
    return found


def test_what_it_tells_is_what_the_files_say(told: Path) -> None:
    shards = describe_all(told)
    for file in shards.files:
        for name in ("x", "group/y"):
            told_of, found = file.dataset(name), describe(file.path).dataset(name)
            assert (told_of.shape, told_of.dtype, told_of.layout, told_of.storage_chunk) == (
                found.shape, found.dtype, found.layout, found.storage_chunk,
            )  # fmt: skip
            assert (told_of.filters, told_of.way, told_of.stored_bytes) == (
                found.filters, found.way, found.stored_bytes,
            )  # fmt: skip
    assert (shards.dataset("x").rows, read_manifest(told).rows) == (12, 12)


def test_no_file_is_opened_before_it_is_read(told: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[str] = []
    real = h5py.h5f.open

    def note(name: bytes, *arguments: Any, **keywords: Any) -> Any:
        opened.append(Path(os.fsdecode(name)).name)
        return real(name, *arguments, **keywords)

    monkeypatch.setattr(h5py.h5f, "open", note)
    shards = describe_all(told)
    assert shards.dataset("x").rows == shards.dataset("group/y").rows == 12
    with closing(ShardedSource(shards, ["x", "group/y"])) as source:
        assert opened == []
        source.read("x", [(5, 6)], [np.zeros((1, 24), np.uint8)])
        assert opened == ["part-1.h5"]
        assert len(open_hdf5_files()) == 1


def test_a_dataset_that_it_does_not_tell_is_looked_up(told: Path) -> None:
    """Records and the like: in the file, as without a manifest."""
    assert describe_all(told).dataset("records").dtype.names == ("a",)
    with pytest.raises(DatasetError, match=r"note in part-0\.h5 is one value"):
        describe_all(told).dataset("note")


def touch(path: Path) -> None:
    os.utime(path, ns=(1, path.stat().st_mtime_ns + 1))


@pytest.mark.parametrize("change", [touch, lambda path: write(path, 0, 9)])
def test_a_file_that_is_not_the_one_it_describes(
    told: Path, change: Callable[[Path], None]
) -> None:
    change(told.with_name("part-1.h5"))
    assert rows(told, 0, 4) == [0, 1, 2, 3]
    says = r"part-1\.h5 is not the file that told\.json describes .*`prefetcher manifest`"
    with pytest.raises(FileChangedError, match=says):
        rows(told, 3, 6)
    paths = [told.with_name(f"part-{number}.h5") for number in range(3)]
    write_manifest(told, [shard_of(path) for path in paths])
    assert len(rows(told, 3, 6)) == 3


def test_a_copy_of_files_without_times_is_the_same_data_set(told: Path) -> None:
    paths = [told.with_name(f"part-{number}.h5") for number in range(3)]
    write_manifest(told, [shard_of(path, mtime=False) for path in paths])
    touch(paths[1])
    assert rows(told) == list(range(12))
    with closing(ShardedSource(describe_all(told), ["x", "group/y"])) as source:
        out = np.zeros((12, 24), np.uint8)
        source.read("x", [(0, 12)], [out])
        touch(paths[1])  # from now on it is known
        with pytest.raises(FileChangedError, match=r"part-1\.h5 was written to"):
            source.read("x", [(0, 12)], [out])


LIES: list[tuple[str, Any]] = [
    ("name", "group/z"), ("dtype", "<f8"), ("row_shape", [1, 3]), ("row_shape", [4]),
    ("layout", "compact"), ("way", "general"), ("way", "storage chunks"), ("filters", ["gzip-4"]),
]  # fmt: skip


def changed(manifest: Path, change: Callable[[dict[str, Any]], Any]) -> None:
    content = json.loads(manifest.read_text())
    change(content)
    manifest.write_text(json.dumps(content))


@pytest.mark.parametrize(("field", "value"), LIES)
def test_what_it_says_is_checked_when_a_file_is_first_opened(
    told: Path, field: str, value: Any
) -> None:
    changed(told, lambda content: content["datasets"][0].update({field: value}))
    name = value if field == "name" else "x"
    shards = describe_all(told)
    with pytest.raises(FileChangedError, match=r"told\.json says .*`prefetcher manifest`"):
        ShardedSource(shards, [name]).ranges(name, [(0, 1)])
    assert not open_hdf5_files()


@pytest.mark.parametrize("at", [1, 2])
def test_rows_and_bytes_that_are_not_those_of_the_file(told: Path, at: int) -> None:
    def more(content: dict[str, Any]) -> None:
        content["files"][0]["datasets"][0][at] += 1

    changed(told, more)
    with pytest.raises(FileChangedError, match=r"part-0\.h5 holds x int64 \(4, 3\).*told\.json"):
        rows(told, 0, 4)


def test_it_does_not_lead_out_of_a_file(told: Path, tmp_path: Path) -> None:
    """A link out of the file stands where the manifest says that a dataset is."""
    write(tmp_path / "secret.h5", 0, 4)
    path = told.with_name("part-0.h5")
    with h5py.File(path, "r+") as file:
        del file["x"]
        file["x"] = h5py.ExternalLink(str(tmp_path / "secret.h5"), "x")

    def trusting(content: dict[str, Any]) -> None:
        content["files"][0].update(nbytes=path.stat().st_size, mtime_ns=path.stat().st_mtime_ns)

    changed(told, trusting)
    with pytest.raises(UnsafeFileError, match=r"part-0\.h5 points outside itself"):
        rows(told, 0, 4)


WRONG: list[tuple[str, Any]] = [
    ("name", "/x"), ("name", ""), ("name", "a//b"), ("name", 5), ("name", "a\0b"),
    ("dtype", "O"), ("dtype", "i4,f8"), ("dtype", "nonsense"), ("dtype", 5), ("dtype", "V0"),
    ("row_shape", [-1]), ("row_shape", [True]), ("row_shape", "3"), ("row_shape", [1 << 70]),
    ("row_shape", [1] * 40), ("storage_chunk", [0, 3]), ("storage_chunk", [2]),
    ("storage_chunk", [2, 3]), ("layout", "virtual"), ("layout", "chunked"), ("way", "magic"),
    ("filters", [5]), ("filters", 5),
]  # fmt: skip


@pytest.mark.parametrize(("field", "value"), WRONG)
def test_what_no_dataset_can_be_is_refused(told: Path, field: str, value: Any) -> None:
    changed(told, lambda content: content["datasets"][0].update({field: value}))
    with pytest.raises(FileError, match=r"told\.json is not a manifest of version 2"):
        read_manifest(told)


FILE_WRONG: list[tuple[str, Any]] = [
    ("rows", -1), ("rows", 4.5), ("nbytes", None), ("nbytes", True), ("mtime_ns", "now"),
    ("sha256", 5), ("datasets", [[9, 4, 96]]), ("datasets", [[-1, 4, 96]]), ("datasets", 5),
    ("datasets", [[0, 4]]), ("datasets", [[0, 1 << 62, 96]]), ("extra", 5), ("name", None),
    ("name", "../part-0.h5"), ("name", "."),
]  # fmt: skip


@pytest.mark.parametrize(("field", "value"), FILE_WRONG)
def test_what_no_file_can_be_is_refused(told: Path, field: str, value: Any) -> None:
    changed(told, lambda content: content["files"][0].update({field: value}))
    with pytest.raises(FileError, match=r"told\.json is not a manifest of version 2"):
        read_manifest(told)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda each: st.lists(each, max_size=4) | st.dictionaries(st.text(), each, max_size=4),
    max_leaves=6,
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.sampled_from(["datasets", "files"]), st.data(), JSON)
def test_whatever_stands_in_it_is_an_error_of_ours_or_the_truth(
    told: Path, part: str, data: st.DataObject, value: Any
) -> None:
    original = told.read_text()

    def change(content: dict[str, Any]) -> None:
        entry = content[part][data.draw(st.integers(0, len(content[part]) - 1))]
        entry[data.draw(st.sampled_from(sorted(entry)))] = value

    try:
        changed(told, change)
        assert rows(told) == list(range(12))
    except (FileError, DatasetError) as error:
        assert len(str(error)) < 1000  # noqa: PT017 - either may happen
    finally:
        told.write_text(original)


def test_checksums_are_taken_only_if_they_are_wanted(told: Path) -> None:
    with pytest.raises(FileError, match=r"told\.json has no checksum of part-0\.h5: .*--checksums"):
        read_manifest(told).verify()
    paths = [told.with_name(f"part-{number}.h5") for number in range(3)]
    write_manifest(told, [shard_of(path, checksums=True) for path in paths])
    read_manifest(told).verify()


def test_twenty_thousand_files_are_a_short_text(told: Path) -> None:
    shard = shard_of(told.with_name("part-0.h5"))
    write_manifest(told, [shard] * 2000)
    assert told.stat().st_size < 2000 * 200
    assert len({id(each.datasets) for each in read_manifest(told).shards}) == 1
