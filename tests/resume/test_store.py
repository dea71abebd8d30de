"""Backups are whole or not there, and the newest whole one is found."""

from __future__ import annotations

import errno
import hashlib
import io
import os
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from prefetcher.errors import FileError, StateError
from prefetcher.resume.store import Store

ARRAYS = {"model/0": np.arange(12.0).reshape(3, 4), "odd": np.array(7, np.int8)}


def saved(folder: Path, count: int) -> list[Path]:
    """A folder after `count` saves; each has its number in the facts."""
    for number in range(count):
        Store(folder).save({"number": number}, ARRAYS)
    return sorted(folder.iterdir())


def test_what_was_saved_comes_back(tmp_path: Path) -> None:
    saved(tmp_path / "run", 1)
    facts, arrays = Store(tmp_path / "run").newest() or pytest.fail("nothing there")
    assert facts == {"number": 0}
    assert arrays.keys() == ARRAYS.keys()
    for name, array in ARRAYS.items():
        assert arrays[name].dtype == array.dtype
        np.testing.assert_array_equal(arrays[name], array)


def test_the_last_two_are_kept(tmp_path: Path) -> None:
    files = saved(tmp_path, 4)
    assert len(files) == 2
    newest = Store(tmp_path).newest()
    assert newest is not None
    assert newest.facts == {"number": 3}


def test_an_empty_folder_or_none_has_nothing(tmp_path: Path) -> None:
    assert Store(tmp_path).newest() is None
    assert Store(tmp_path / "none").newest() is None


@pytest.mark.parametrize("step", ["fsync", "replace"])
def test_a_save_that_fails_leaves_the_older_ones(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    saved(tmp_path, 2)

    def full(*_: object) -> None:
        raise OSError("no space left")

    monkeypatch.setattr(os if step == "fsync" else Path, step, full)
    with pytest.raises(OSError, match="no space"):
        Store(tmp_path).save({"number": 9}, ARRAYS)
    monkeypatch.undo()
    newest = Store(tmp_path).newest()
    assert newest is not None
    assert newest.facts == {"number": 1}
    saved(tmp_path, 1)  # what was left over is in nobody's way
    assert not list(tmp_path.glob("*.part"))


def test_a_damaged_backup_is_noticed_wherever_it_is_damaged(tmp_path: Path) -> None:
    """A flipped byte or a missing end: the one before it is taken, never a wrong value."""
    *_, newest = saved(tmp_path, 2)
    good = newest.read_bytes()
    flipped = [good[:at] + bytes([good[at] ^ 1]) + good[at + 1 :] for at in range(0, len(good), 5)]
    cut = [good[:length] for length in range(0, len(good), 7)]
    for bad in [*flipped, *cut, good + b"more"]:
        newest.write_bytes(bad)
        found = Store(tmp_path).newest()
        assert found is not None
        assert found.facts == {"number": 0}


def test_backups_of_which_none_is_whole_are_no_beginning(tmp_path: Path) -> None:
    for path in saved(tmp_path, 2):
        path.write_bytes(b"torn")
    with pytest.raises(StateError, match=r"no backup in .* is whole"):
        Store(tmp_path).newest()


def seal(path: Path, content: bytes) -> None:
    """As a stranger would: any content with its checksum."""
    path.write_bytes(content + hashlib.sha256(content).digest())


def archive(members: dict[str, bytes], compression: int = zipfile.ZIP_STORED) -> bytes:
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w", compression) as file:
        for name, content in members.items():
            file.writestr(name, content)
    return made.getvalue()


def npy(array: Any, **how: Any) -> bytes:
    made = io.BytesIO()
    np.save(made, array, **how)
    return made.getvalue()


def facts(text: bytes) -> dict[str, bytes]:
    return {"facts.json.npy": npy(np.frombuffer(text, np.uint8))}


LIE = npy(np.zeros(3)).replace(b"(3,)", b"(999999999999999999,)")
MALFORMED = {
    "nothing": b"",
    "no archive": b"junk" * 9,
    "a pickle": b"\x80\x04N.",
    "an array": npy(np.arange(3)),
    "no facts": archive({"a.npy": npy(np.arange(3))}),
    "facts that are no array": archive({"facts.json": b"{}"}),
    "facts that are no JSON": archive(facts(b"none")),
    "facts that are no object": archive(facts(b"[1]")),
    "deep facts": archive(facts(b"[" * 99_999)),
    "objects": archive(facts(b"{}") | {"a.npy": npy(np.array([{}]), allow_pickle=True)}),
    "a shape without its bytes": archive(facts(b"{}") | {"a.npy": LIE}),
    "what grows when it is unpacked": archive(
        facts(b"{}") | {"a.npy": npy(np.zeros(1 << 20))}, zipfile.ZIP_DEFLATED
    ),
}


@pytest.mark.parametrize("kind", MALFORMED)
def test_sealed_content_that_is_no_backup_is_a_state_error(tmp_path: Path, kind: str) -> None:
    saved(tmp_path, 1)
    seal(tmp_path / "backup-000009.npz", MALFORMED[kind])
    with pytest.raises(StateError, match=r"backup-000009\.npz in .* no backup of this package"):
        Store(tmp_path).newest()


def test_a_link_in_the_place_of_the_next_backup_is_not_followed(tmp_path: Path) -> None:
    precious = tmp_path / "precious"
    precious.write_text("mine")
    folder = tmp_path / "run"
    saved(folder, 1)
    (folder / "backup-000002.part").symlink_to(precious)
    saved(folder, 1)
    (folder / "backup-000003.npz").symlink_to(precious)
    (folder / "backup-000004.part").symlink_to(tmp_path / "made")
    saved(folder, 2)
    assert precious.read_text() == "mine"
    assert not (tmp_path / "made").exists()
    newest = Store(folder).newest()
    assert newest is not None
    assert newest.facts == {"number": 1}


@pytest.mark.parametrize("kind", ["fifo", "folder", "link to nothing", "link to itself"])
def test_what_is_no_file_is_no_backup_and_hangs_nobody(tmp_path: Path, kind: str) -> None:
    saved(tmp_path, 1)
    for name in ("backup-000007.npz", "backup-000008.part"):
        path = tmp_path / name
        if kind == "fifo":
            os.mkfifo(path)
        elif kind == "folder":
            path.with_suffix(".npz").mkdir(exist_ok=True)
        else:
            path.symlink_to(name if kind.endswith("itself") else "nowhere")
    newest = Store(tmp_path).newest()
    assert newest is not None
    assert newest.facts == {"number": 0}
    saved(tmp_path, 2)
    newest = Store(tmp_path).newest()
    assert newest is not None
    assert newest.facts == {"number": 1}


def test_a_full_disk_is_told_and_what_was_begun_is_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    saved(tmp_path, 1)

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(FileError, match=r"disk is full: a backup of 80 MB .* kept: free some"):
        Store(tmp_path).save({}, {"model/0": np.zeros(10_000_000)})
    assert [path.name for path in tmp_path.iterdir()] == ["backup-000001.npz"]
