"""Of two trainings with one folder, the second is refused; a dead one holds nothing."""

from __future__ import annotations

import gc
import os
import signal
from pathlib import Path

import pytest
from helpers.folders import another

from prefetcher.errors import FileBusyError, FileError
from prefetcher.resume.lock import FolderLock


def test_another_process_is_refused_until_the_first_ends(tmp_path: Path) -> None:
    folder = tmp_path / "new" / "run"
    with another(folder) as process:
        lock = FolderLock(folder)
        for _ in range(2):
            with pytest.raises(FileBusyError, match=r"another process trains with .* run now"):
                lock.hold()
        process.send_signal(signal.SIGKILL)
        process.wait(60)
        lock.hold()
        lock.hold()
        lock.release()
        lock.release()
    with another(folder):
        pass


def test_who_lets_go_or_is_gone_holds_nothing(tmp_path: Path) -> None:
    lock = FolderLock(tmp_path)
    lock.hold()
    lock.release()
    with another(tmp_path):
        pass
    lock.hold()
    del lock
    gc.collect()
    with another(tmp_path):
        pass


def test_a_training_of_this_process_that_was_broken_off_is_in_nobodys_way(tmp_path: Path) -> None:
    broken_off, next_one = FolderLock(tmp_path), FolderLock(tmp_path)
    broken_off.hold()
    next_one.hold()
    next_one.release()
    with another(tmp_path):
        pass


@pytest.mark.skipif(not hasattr(os, "fork"), reason="the system has no fork")
@pytest.mark.filterwarnings("ignore:os.fork")  # the child does nothing but end
def test_a_forked_child_holds_nothing_when_its_parent_ends(tmp_path: Path) -> None:
    lock = FolderLock(tmp_path)
    lock.hold()
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(writing)
        os.read(reading, 1)
        os._exit(0)
    os.close(reading)
    lock.release()
    with another(tmp_path):
        os.close(writing)
    assert os.waitpid(child, 0)[1] == 0


def test_a_folder_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for folder in (tmp_path / "file", tmp_path / "file" / "run"):
        with pytest.raises(FileError, match="no backup can be written into"):
            FolderLock(folder).hold()


def test_what_is_in_the_locks_place_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "lock").symlink_to(tmp_path / "made")
    with pytest.raises(FileError, match="no backup can be written"):
        FolderLock(tmp_path).hold()
    assert not (tmp_path / "made").exists()
    (tmp_path / "lock").unlink()
    os.mkfifo(tmp_path / "lock")
    with pytest.raises(FileError, match=r"lock in .* is no file: remove it"):
        FolderLock(tmp_path).hold()
