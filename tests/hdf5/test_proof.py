"""What the comparison with h5py at opening decides."""

from __future__ import annotations

import errno
from collections.abc import Iterator

import h5py
import numpy as np
import pytest

from prefetcher.errors import CorruptError
from prefetcher.hdf5.faults import system_error
from prefetcher.hdf5.proof import Probe, agrees


@pytest.fixture
def rows() -> Iterator[h5py.Dataset]:
    with h5py.File("memory", "w", driver="core", backing_store=False) as file:
        yield file.create_dataset("x", data=np.arange(6, dtype="u1"))


def damaged() -> bytes:
    raise CorruptError("it does not decode")


def test_the_same_bytes_agree_and_others_do_not(rows: h5py.Dataset) -> None:
    same = Probe((slice(1, 3),), lambda: b"\x01\x02")
    other = Probe((slice(1, 3),), lambda: b"\x02\x01")
    assert agrees(rows, [same])
    assert not agrees(rows, [same, other])
    assert agrees(rows, [])


def test_damage_is_never_shown_to_h5py_whatever_it_would_say(rows: h5py.Dataset) -> None:
    """It could crash over it, or give memory that it never filled: its rows are told when read."""
    looked: list[object] = []
    shown = Shown(rows, looked)
    assert agrees(shown, [Probe((slice(1, 3),), damaged)])
    assert looked == []
    assert not agrees(shown, [Probe((slice(1, 3),), damaged), Probe((slice(0, 1),), lambda: b"?")])


class Shown:
    """A dataset that notes what is read of it."""

    def __init__(self, rows: h5py.Dataset, looked: list[object]) -> None:
        self._rows = rows
        self._looked = looked

    def __getitem__(self, where: object) -> object:
        self._looked.append(where)
        return self._rows[where]


def test_what_h5py_cannot_read_stays_with_the_way_that_can(rows: h5py.Dataset) -> None:
    beyond_its_axes = (slice(1, 3), slice(0, 1))
    assert agrees(rows, [Probe(beyond_its_axes, lambda: b"\x01\x02")])


@pytest.mark.parametrize("number", [errno.EIO, errno.EACCES])
@pytest.mark.parametrize("way", ["in the text", "as errno"])
def test_an_error_of_the_system_is_no_answer(number: int, way: str) -> None:
    """h5py has the number of some of them in the text alone."""

    class Failing:
        def __getitem__(self, where: object) -> object:
            if way == "as errno":
                raise OSError(number, "Can't synchronously read data")
            raise RuntimeError(f"Unable to read (file read failed: errno = {number}, buf = 0x1)")

    with pytest.raises((OSError, RuntimeError)) as caught:
        agrees(Failing(), [Probe((slice(1, 3),), lambda: b"\x01\x02")])
    assert isinstance(caught.value, Exception)
    found = system_error(caught.value)
    assert found is not None
    assert found.errno == number


def test_a_failing_read_of_our_own_is_no_answer(rows: h5py.Dataset) -> None:
    def failing() -> bytes:
        raise OSError(errno.EIO, "weak moment")

    with pytest.raises(OSError, match="weak moment"):
        agrees(rows, [Probe((slice(1, 3),), failing)])
