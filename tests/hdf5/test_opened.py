"""Which files are open: a bounded number, the least recently used closed, never what is used."""

from __future__ import annotations

import errno
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial

import pytest
from helpers.processes import run_script
from helpers.waiting import Task, wait_for
from hypothesis import given
from hypothesis import strategies as st

from prefetcher.errors import OpenFilesError
from prefetcher.hdf5 import opened
from prefetcher.hdf5.opened import OpenFiles, check_descriptors


class Fake:
    """A file that notes whether it is open."""

    def __init__(self, name: str, log: list[str], descriptors: int = 1, nbytes: int = 0) -> None:
        self.name, self.log = name, log
        self.descriptors, self.nbytes = descriptors, nbytes
        self.closed = 0
        log.append(f"+{name}")

    def close(self) -> None:
        self.closed += 1
        self.log.append(f"-{self.name}")


def few(most: int, most_bytes: int = 1 << 30) -> OpenFiles:
    return OpenFiles(lambda: most, most_bytes)


@contextmanager
def using(files: OpenFiles, name: str, log: list[str], **kinds: int) -> Iterator[Fake]:
    yield files.enter(name, lambda: Fake(name, log, **kinds))
    files.leave(name)


def use(files: OpenFiles, names: str, log: list[str], **kinds: int) -> None:
    for name in names:
        with using(files, name, log, **kinds):
            pass


def test_a_file_stays_open_and_the_least_recently_used_is_closed() -> None:
    log: list[str] = []
    files = few(3)
    use(files, "abac", log)  # room for two more is needed before one is opened
    assert log == ["+a", "+b", "-b", "+c"]
    use(files, "a", log)
    assert log[4:] == []
    use(files, "d", log)
    assert log[4:] == ["-c", "+d"]


def test_what_is_used_is_never_closed_though_there_be_too_many() -> None:
    log: list[str] = []
    files = few(2)
    with using(files, "a", log) as a, using(files, "b", log) as b, using(files, "c", log) as c:
        assert [a.closed, b.closed, c.closed] == [0, 0, 0]
        assert files.descriptors == 3
    assert files.descriptors <= 2
    assert a.closed + b.closed + c.closed == 3 - len(files)


def test_a_file_that_another_thread_reads_stays_open() -> None:
    log: list[str] = []
    files, reading, go_on = few(2), threading.Event(), threading.Event()

    def read() -> int:
        with using(files, "a", log) as a:
            reading.set()
            wait_for(go_on, "the others are done")
            return a.closed

    reader = Task(read)
    wait_for(reading, "it reads")
    use(files, "bcdebcde", log)
    assert "-a" not in log
    go_on.set()
    assert reader.result() == 0


def test_threads_that_want_the_same_file_open_it_once() -> None:
    log: list[str] = []
    files, opening, go_on = few(8), threading.Event(), threading.Event()

    def slow() -> Fake:
        opening.set()
        wait_for(go_on, "the second one came")
        return Fake("a", log)

    def read(how: Callable[[], Fake]) -> Fake:
        found = files.enter("a", how)
        files.leave("a")
        return found

    first = Task(lambda: read(slow))
    wait_for(opening, "it opens")
    second = Task(lambda: read(lambda: Fake("again", log)))
    use(files, "b", log)  # nobody else waits for it
    go_on.set()
    assert first.result() is second.result()
    assert log == ["+b", "+a"]


def test_an_opening_that_failed_leaves_nothing_and_is_tried_again() -> None:
    log: list[str] = []
    files = few(4)

    def fail() -> Fake:
        raise OSError(errno.EIO, "weak moment")

    with pytest.raises(OSError, match="weak moment"):
        files.enter("a", fail)
    assert (len(files), files.descriptors) == (0, 0)
    use(files, "a", log)
    assert log == ["+a"]


def test_forgetting_closes_at_once_or_leaves_it_to_the_last_who_reads() -> None:
    log: list[str] = []
    files = few(9)
    use(files, "a", log)
    files.forget("a")
    files.forget("a")
    assert log == ["+a", "-a"]
    with using(files, "b", log), using(files, "b", log):
        files.forget("b")
        assert log[2:] == ["+b"]
    assert log[2:] == ["+b", "-b"]
    assert (len(files), files.descriptors) == (0, 0)


def test_where_others_have_the_descriptors_ours_are_given_back() -> None:
    log: list[str] = []
    files = few(9)
    use(files, "abc", log)

    def opening() -> Fake:
        if len(files) > 1:
            raise OpenFilesError("too many open files")
        return Fake("d", log)

    files.enter("d", opening)
    assert log[3:] == ["-a", "-b", "-c", "+d"]
    with pytest.raises(OpenFilesError):  # nothing is left that may be closed
        files.enter("e", opening)
    files.leave("d")


def test_memory_is_bounded_too() -> None:
    log: list[str] = []
    files = few(100, most_bytes=10)
    use(files, "abc", log, nbytes=4)
    assert log == ["+a", "+b", "+c", "-a"]
    use(files, "d", log, nbytes=50)  # too large, but it is what is read
    assert log[4:] == ["+d", "-b", "-c", "-d"]


@given(
    st.integers(1, 6),
    st.lists(st.tuples(st.sampled_from("abcdefgh"), st.sampled_from(["in", "out", "forget"]))),
)
def test_whatever_is_asked_for_the_books_are_right(most: int, steps: list[tuple[str, str]]) -> None:
    log: list[str] = []
    files = few(most)
    users: dict[str, int] = dict.fromkeys("abcdefgh", 0)
    held: dict[str, Fake] = {}
    for name, step in steps:
        if step == "in":
            held[name] = files.enter(name, partial(Fake, name, log))
            users[name] += 1
        elif step == "out" and users[name]:
            files.leave(name)
            users[name] -= 1
        elif step == "forget":
            files.forget(name)
        now_open = sum(1 if line[0] == "+" else -1 for line in log)
        assert files.descriptors == now_open
        assert all(not held[name].closed for name, count in users.items() if count)
        assert now_open <= max(most, sum(map(bool, users.values())))


def test_too_low_a_limit_is_refused_with_what_to_type(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(opened, "descriptors_allowed", lambda: 20)
    monkeypatch.setattr(opened, "descriptors_open", lambda: 15)
    check_descriptors(2)
    with pytest.raises(OpenFilesError, match=r"3 threads .* 6 open files .*limit is 20.*ulimit -n"):
        check_descriptors(3)


def test_a_forked_process_begins_with_nothing_open_and_no_lock_held() -> None:
    run_script(
        """
import os, threading
from prefetcher.hdf5.opened import OPEN_FILES
class File:
    descriptors, nbytes = 1, 0
    def close(self): pass
OPEN_FILES.enter("a", File)
held, go_on = threading.Event(), threading.Event()
def hold():
    with OPEN_FILES._lock:
        held.set()
        go_on.wait(30)
thread = threading.Thread(target=hold)
thread.start()
held.wait(30)
child = os.fork()
if not child:
    ok = len(OPEN_FILES) == 0
    OPEN_FILES.enter("b", File)
    OPEN_FILES.leave("b")
    os._exit(0 if ok else 1)
go_on.set()
thread.join()
assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
assert len(OPEN_FILES) == 1
"""
    )
