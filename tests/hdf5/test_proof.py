"""What the comparison with h5py at opening decides."""

from __future__ import annotations

from collections.abc import Iterator

import h5py
import numpy as np
import pytest

from prefetcher.errors import CorruptError
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


def test_what_only_h5py_can_read_is_left_to_it(rows: h5py.Dataset) -> None:
    assert not agrees(rows, [Probe((slice(1, 3),), damaged)])


def test_damage_is_never_shown_to_a_plugin_that_could_crash_on_it(rows: h5py.Dataset) -> None:
    outside = (slice(1, 3), slice(0, 1))  # h5py would refuse it
    assert agrees(rows, [Probe(outside, damaged, hdf5_survives=False)])
    assert agrees(rows, [Probe((slice(1, 3),), damaged, hdf5_survives=False)])


def test_what_neither_can_read_stays_with_the_way_that_knows_the_offset(rows: h5py.Dataset) -> None:
    beyond_its_axes = (slice(1, 3), slice(0, 1))
    assert agrees(rows, [Probe(beyond_its_axes, damaged)])
