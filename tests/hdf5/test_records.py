"""Bytes of records: which are numpy's, and what is done about the others."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
import pytest

from prefetcher.hdf5.records import Record, is_numpys, without_gaps

PADDED = np.dtype([("a", "u1"), ("b", "f8"), ("c", "i2")], align=True)
NESTED = np.dtype([("in", PADDED, (2,)), ("d", "u1")], align=True)


def test_bytes_between_fields_become_zeros_and_fields_stay() -> None:
    noise = np.full(NESTED.itemsize, 0xA5, np.uint8)
    found = without_gaps(noise.view(NESTED).reshape(()))
    kept = found.view() if found.ndim else found.reshape(1)
    raw = kept.view(np.uint8)
    used = np.zeros(NESTED.itemsize, np.bool_)
    for begin in (0, PADDED.itemsize):
        for name in PADDED.names or ():
            assert PADDED.fields is not None
            field, at = PADDED.fields[name][:2]
            used[begin + at : begin + at + field.itemsize] = True
    used[2 * PADDED.itemsize] = True
    assert (raw[used] == 0xA5).all()
    assert (raw[~used] == 0).all()


@pytest.mark.parametrize("kind", [PADDED, NESTED], ids=["padded", "nested"])
def test_a_type_of_h5py_is_that_of_numpy(kind: np.dtype[np.generic]) -> None:
    assert is_numpys(h5py.h5t.py_create(kind, logical=True), kind)


def test_another_place_size_or_name_is_another_type() -> None:
    stored = h5py.h5t.py_create(PADDED, logical=True)
    for other in (
        np.dtype([("a", "u1"), ("b", "f8"), ("c", "i2")]),
        np.dtype({"names": ["a", "b", "c"], "formats": ["u1", "f8", "i2"], "offsets": [0, 8, 18],
                  "itemsize": 24}),
        np.dtype({"names": ["a", "b", "d"], "formats": ["u1", "f8", "i2"], "offsets": [0, 8, 16],
                  "itemsize": 24}),
        np.dtype({"names": ["a", "b"], "formats": ["u1", "f8"], "offsets": [0, 8],
                  "itemsize": 24}),
    ):  # fmt: skip
        assert not is_numpys(stored, other)


def test_strings_are_ended_wherever_they_stand(tmp_path: Path) -> None:
    text = h5py.h5t.C_S1.copy()
    text.set_size(3)
    inner = h5py.h5t.create(h5py.h5t.COMPOUND, 4)
    inner.insert(b"t", 1, text)
    kind = h5py.h5t.create(h5py.h5t.COMPOUND, 8)
    kind.insert(b"two", 0, h5py.h5t.array_create(inner, (2,)))
    with h5py.File(tmp_path / "a.h5", "w") as file:
        made = h5py.h5d.create(file.id, b"x", kind, h5py.h5s.create_simple((2,)))
        record = Record(h5py.Dataset(made))
        assert is_numpys(kind, h5py.Dataset(made).dtype)
    rows = np.frombuffer(b"_a\0c_abc_\0bc_ab\0", np.uint8).reshape(2, 8).copy()
    record.converted(rows)
    assert rows.tobytes() == b"\0a\0\0\0abc\0\0\0\0\0ab\0"
