"""Memory from malloc: freed once by whoever has it last, and never while it is used."""

from __future__ import annotations

import gc
import sys
from collections import Counter
from collections.abc import Iterator

import numpy as np
import pytest

from prefetcher.filters import malloc


class Counted:
    """The C library, with what it was asked for."""

    def __init__(self) -> None:
        self._libc = malloc._libc()
        self.alive: Counter[int] = Counter()

    def malloc(self, nbytes: int) -> int:
        address: int = self._libc.malloc(nbytes)
        self.alive[address] += 1
        return address

    def free(self, address: int) -> None:
        self.alive[address] -= 1
        self._libc.free(address)

    def count(self) -> int:
        """Blocks that are not freed."""
        gc.collect()
        assert set(self.alive.values()) <= {0, 1}  # nothing was freed twice
        return self.alive.total()


@pytest.fixture
def libc(monkeypatch: pytest.MonkeyPatch) -> Iterator[Counted]:
    counted = Counted()
    monkeypatch.setattr(malloc, "_libc", lambda: counted)
    yield counted
    assert counted.count() == 0


def test_it_is_freed_with_the_last_array_over_it(libc: Counted) -> None:
    room = malloc.room(100)
    room[:] = 7
    part = room[10:20]
    del room
    assert libc.count() == 1
    assert part.tolist() == [7] * 10
    del part
    assert libc.count() == 0


def test_a_room_that_was_given_up_is_its_takers(libc: Counted) -> None:
    room = malloc.room(100)
    address, nbytes = malloc.given_up(room[:10])
    assert (address, nbytes) == (room.ctypes.data, 100)
    del room
    assert libc.count() == 1
    malloc.free(address)


def test_what_cannot_be_given_up_is_copied(libc: Counted) -> None:
    room = malloc.room(4)
    room[:] = [0, 1, 2, 3]
    for data in (room[1:], np.arange(1, 4, dtype=np.uint8)):
        address, nbytes = malloc.given_up(data)
        assert malloc.owned(address, nbytes).tolist() == [1, 2, 3]
    assert room.tolist() == [0, 1, 2, 3]


def test_a_room_is_given_up_once(libc: Counted) -> None:
    room = malloc.room(4)
    room[:] = 5
    first, second = malloc.given_up(room), malloc.given_up(room)
    assert first[0] != second[0]
    for address, nbytes in (first, second):
        assert malloc.owned(address, nbytes).tolist() == [5] * 4


def test_no_memory_is_an_error_and_not_an_array_over_nothing() -> None:
    with pytest.raises(MemoryError, match="no 100 bytes are left"):
        malloc.owned(None, 100)
    malloc.free(None)


def test_no_python_code_runs_when_memory_is_freed() -> None:
    """A finalizer that is Python code is where Ctrl-C is raised, printed and lost."""
    arrays = [malloc.room(100)[10:], malloc.room(100)]
    given = malloc.given_up(arrays[1])
    ran: list[str] = []
    sys.settrace(lambda frame, *_: ran.append(frame.f_code.co_qualname))
    try:
        arrays.clear()
    finally:
        sys.settrace(None)
    malloc.free(given[0])
    assert not ran
