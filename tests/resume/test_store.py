"""Backups are whole or not there, and the newest whole one is found."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from prefetcher.errors import StateError
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
