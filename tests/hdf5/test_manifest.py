"""The manifest: what is written is read, and a wrong or hostile one is refused."""

from __future__ import annotations

import errno
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from prefetcher.errors import CorruptError, FileError, FileMissingError, ReadError
from prefetcher.hdf5.manifest import Shard, checksum, read_manifest, write_manifest
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
