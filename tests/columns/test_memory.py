"""Arrays in memory, by the number of the sample."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from prefetcher.columns.memory import InMemory
from prefetcher.errors import RowsError


def test_a_value_for_each_sample_of_the_file() -> None:
    known = InMemory(np.arange(10))
    assert known.of_all("y", range(2, 5), 10) is known.array


@pytest.mark.parametrize("samples", [range(2, 5), range(8, 2, -2), np.array([7, 1, 4])])
def test_a_value_for_each_sample_that_is_used(samples: range) -> None:
    values = np.array([[1.0, 2], [3, 4], [5, 6]])
    every = InMemory(values).of_all("y", samples, 10)
    assert every.shape == (10, 2)
    assert (every[np.asarray(samples)] == values).all()


def test_another_number_of_values_is_refused() -> None:
    with pytest.raises(RowsError, match=r"y is an array of 4 values: pass 10, .* or 3, one for"):
        InMemory(np.arange(4)).of_all("y", range(3), 10)


def test_values_of_samples_that_come_twice_are_refused() -> None:
    with pytest.raises(RowsError, match=r"names some samples twice: pass 10 values"):
        InMemory(np.arange(3)).of_all("y", np.array([1, 1, 2]), 10)


def test_its_text_tells_it_from_another() -> None:
    same, other = InMemory(np.array([1, 2])), InMemory(np.array([1, 3]))
    assert str(InMemory(np.array([1, 2]))) == str(same)
    assert str(other) != str(same)
    assert "int64 (2,)" in str(same)


def test_what_can_be_written_to_is_copied() -> None:
    array = np.arange(4)
    view = array[:]
    view.flags.writeable = False
    for given in (array, view):
        known = InMemory(given)
        assert not np.shares_memory(known.array, array)
        assert known.array.tolist() == array.tolist()


def test_memory_of_a_bytearray_is_copied() -> None:
    owner = bytearray(16)
    array = np.frombuffer(owner, np.int64)
    array.flags.writeable = False
    known = InMemory(array)
    owner[:] = bytes([1]) * 16
    assert known.array.tolist() == [0, 0]


def test_what_nothing_can_write_to_is_not(tmp_path: Path) -> None:
    """Such as labels that are larger than memory."""
    np.save(tmp_path / "y.npy", np.arange(4))
    mapped = np.load(tmp_path / "y.npy", mmap_mode="r")
    assert InMemory(mapped).array is mapped
    constant = np.frombuffer(bytes(8), np.int64)
    assert InMemory(constant).array is constant
    writable = np.load(tmp_path / "y.npy", mmap_mode="r+")
    assert not np.shares_memory(InMemory(writable).array, writable)
