"""The backups of several processes: the first one writes, and all have the same or an error."""

from __future__ import annotations

import errno
import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers.folders import another
from helpers.played import in_all

from prefetcher.errors import FileBusyError, FileError, SettingsError, StateError
from prefetcher.order.shard import Shard
from prefetcher.resume import mark, shared
from prefetcher.resume.shared import Outcome, Part, SharedStore
from prefetcher.resume.store import Saved, Store
from prefetcher.resume.together import Group


def part(step: int = 3, value: float = 0.0, *, stopped: bool = False, **more: Any) -> Part:
    facts = {"epoch": 0, "step": step, "data": {"pass": 0, "trained": step}, "stopped": stopped}
    return Part(facts, {"model/0": np.full(2, value)}, **more)


def in_stores(
    folder: Path,
    use: Callable[[SharedStore], Any],
    *,
    count: int = 2,
    folders: Callable[[int], Path] | None = None,
    shard: Callable[[int], Shard] | None = None,
    terms: Callable[[int], dict[str, Any]] = lambda _: {"every": 5},
) -> list[Any]:
    """Holds the folder in each process, does something with it, and lets it go."""

    def call(group: Group) -> Any:
        mine = folders(group.index) if folders else folder
        share = shard(group.index) if shard else Shard(group.index, count)
        store = SharedStore(mine, lambda: share, lambda _: group)
        store.hold(lambda: terms(group.index))
        try:
            return use(store)
        finally:
            store.release()

    return in_all(count, call)


def nothing(_: SharedStore) -> None:
    pass


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_the_first_process_writes_and_all_read_it(tmp_path: Path) -> None:
    def use(store: SharedStore) -> Any:
        saved = store.save(lambda: part(value=store.group.index))
        return saved, store.newest()

    for outcome, newest in in_stores(tmp_path / "run", use, count=3):
        assert outcome == Outcome(stopped=False, exit=False)
        assert newest.facts == part().facts
        np.testing.assert_array_equal(newest.arrays["model/0"], [0, 0])
    assert names(tmp_path / "run") == ["backup-000001.npz", "lock"]


def test_what_each_process_has_for_itself_is_kept_for_each(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = shared._told
    monkeypatch.setattr(  # between these processes notes are JSON; between PyTorch's they are not
        shared, "_told", lambda found: told(found) | {"own": {k: v.tolist() for k, v in own(found)}}
    )

    def own(found: Part) -> list[tuple[str, Any]]:
        return [(name, found.arrays[name]) for name in found.own]

    def save(store: SharedStore) -> Any:
        index = store.group.index
        dice = {"dice/0": np.array([index]), "model/0": np.array([index])}
        store.save(lambda: part()._replace(arrays=dice, own=["dice/0"]))
        return store.newest()

    for index, newest in enumerate(in_stores(tmp_path, save, count=3)):
        assert newest.arrays.keys() == {"dice/0", "model/0"}
        assert newest.arrays["dice/0"] == [index]
        assert newest.arrays["model/0"] == [0]
    more = in_stores(tmp_path, SharedStore.newest, count=4)
    assert [newest.arrays["dice/0"] for newest in more] == [[0], [1], [2], [0]]


@pytest.mark.parametrize("who", [0, 1])
def test_one_that_stops_or_leaves_takes_the_others_along(tmp_path: Path, who: int) -> None:
    def use(store: SharedStore) -> Any:
        asked = store.group.index == who
        return store.save(lambda: part(stopped=asked, exit=asked)), store.newest()

    for outcome, newest in in_stores(tmp_path, use):
        assert outcome == Outcome(stopped=True, exit=True)
        assert newest.facts["stopped"]


@pytest.mark.parametrize("who", [0, 1])
def test_a_process_that_cannot_read_its_values_ends_all_and_writes_nothing(
    tmp_path: Path, who: int
) -> None:
    def use(store: SharedStore) -> Any:
        def mine() -> Part:
            if store.group.index == who:
                raise StateError("split")
            return part()

        return store.save(mine)

    assert [type(error) for error in in_stores(tmp_path, use)] == [StateError, StateError]
    assert names(tmp_path) == ["lock"]


def test_processes_at_different_steps_end_all_of_them(tmp_path: Path) -> None:
    for error in in_stores(tmp_path, lambda store: store.save(lambda: part(store.group.index))):
        assert type(error) is StateError
        assert "not at the same step: step is 0 in process 0 and 1 in process 1" in str(error)


def test_a_full_disk_is_told_to_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(np, "savez", full)
    first, second = in_stores(tmp_path, lambda store: store.save(part))
    assert type(first) is type(second) is FileError
    assert str(first).startswith("the disk is full")
    assert str(second) == f"process 0 of 2: {first}"


def test_a_folder_that_another_training_has_is_refused_in_all(tmp_path: Path) -> None:
    with another(tmp_path):
        errors = in_stores(tmp_path, nothing)
    assert [type(error) for error in errors] == [FileBusyError, FileBusyError]
    assert in_stores(tmp_path, nothing) == [None, None]


def test_folders_that_are_not_one_are_found_when_training_begins(tmp_path: Path) -> None:
    for error in in_stores(tmp_path, nothing, folders=lambda index: tmp_path / str(index)):
        assert type(error) is StateError
        assert "one folder that all their machines see" in str(error)
    assert names(tmp_path / "0") == ["lock"]
    assert not (tmp_path / "1").exists()
    with another(tmp_path / "0"):
        pass


def test_a_folder_with_an_older_mark_is_not_the_same(tmp_path: Path) -> None:
    """Such as a killed training left there."""
    (tmp_path / "1").mkdir()
    mark.write(tmp_path / "1", "older")
    errors = in_stores(tmp_path, nothing, folders=lambda index: tmp_path / str(index))
    assert [type(error) for error in errors] == [StateError, StateError]
    assert in_stores(tmp_path / "1", nothing) == [None, None]


def test_a_mark_is_nothing_but_a_file(tmp_path: Path) -> None:
    precious = tmp_path / "precious"
    precious.write_text("mine")
    (tmp_path / mark.NAME).symlink_to(precious)
    assert mark.read(tmp_path) is None
    mark.write(tmp_path, "a mark")
    assert (mark.read(tmp_path), precious.read_text()) == ("a mark", "mine")
    mark.remove(tmp_path)
    os.mkfifo(tmp_path / mark.NAME)
    assert mark.read(tmp_path) is None


def test_a_folder_that_cannot_be_marked_is_told_to_all(tmp_path: Path) -> None:
    (tmp_path / mark.NAME).mkdir()
    for error in in_stores(tmp_path, nothing):
        assert type(error) is FileError
        assert "no backup can be written into" in str(error)
    with another(tmp_path):
        pass


def test_backups_of_which_none_is_whole_are_told_to_all(tmp_path: Path) -> None:
    Store(tmp_path).save({}, {})
    (path,) = tmp_path.glob("*.npz")
    path.write_bytes(b"torn")
    errors = in_stores(tmp_path, SharedStore.newest)
    assert [type(error) for error in errors] == [StateError, StateError]


def test_a_process_that_sees_another_backup_ends_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Store(tmp_path).save(part().facts, {})
    for other in (None, Saved(part(step=7).facts, {})):
        with monkeypatch.context() as patch:
            patch.setattr(Store, "load", lambda *_, other=other: other)
            for error in in_stores(tmp_path, SharedStore.newest):
                assert type(error) is StateError
                assert "one folder that all their machines see" in str(error)


def test_all_open_what_the_first_one_sees(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A network file system may show a list of files that is older."""
    for step in (1, 2):
        Store(tmp_path).save(part(step).facts, {})
    newest, real = Store._backups, threading.current_thread
    first: list[object] = []

    def seen(store: Store) -> Any:
        return newest(store)[: 2 if real() in first else 1]

    def use(store: SharedStore) -> Any:
        if store.group.index == 0:
            first.append(real())
        found = store.newest()
        return found and found.facts["step"]

    monkeypatch.setattr(Store, "_backups", seen)
    assert in_stores(tmp_path, use) == [2, 2]


def test_no_backup_is_none_in_all(tmp_path: Path) -> None:
    assert in_stores(tmp_path, SharedStore.newest) == [None, None]


def test_processes_that_do_not_train_the_same_are_refused(tmp_path: Path) -> None:
    for error in in_stores(tmp_path, nothing, terms=lambda index: {"x": "a", "seed": index}):
        assert type(error) is SettingsError
        assert "seed is 0 in process 0 and 1 in process 1" in str(error)
    assert not names(tmp_path)


@pytest.mark.parametrize("count", [2, 3])
def test_shares_that_are_not_the_whole_are_refused(tmp_path: Path, count: int) -> None:
    for error in in_stores(tmp_path, nothing, shard=lambda _: Shard(0, count)):
        assert type(error) is SettingsError
        assert f"none of 2 processes has shard=(1, {count})" in str(error)


def test_processes_that_all_read_everything_may_train_together(tmp_path: Path) -> None:
    assert in_stores(tmp_path, nothing, shard=lambda _: Shard()) == [None, None]


def test_one_process_is_asked_for_no_terms(tmp_path: Path) -> None:
    def fail(_: int) -> dict[str, Any]:
        raise AssertionError

    assert in_stores(tmp_path, nothing, count=1, terms=fail) == [None]
