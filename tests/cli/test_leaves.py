"""What may stand in x or y of a file."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np

from prefetcher.cli.leaves import leaves_of
from prefetcher.columns.column import Stored
from prefetcher.columns.padded import Padded
from prefetcher.hdf5.describe import describe


def test_numbers_fields_and_columns(tmp_path: Path) -> None:
    """Nothing that no name can be written for, and nothing that is no number."""
    inner = np.dtype([("x", "f8"), ("flag", "?")])
    kind = np.dtype([
        ("id", "i4"), ("name", "S5"), ("at", inner), ("hit", "f4", (3,)), ("a[b]", "f4"),
        ("wave", "c8"), ("many", inner, (2,)),
    ])  # fmt: skip
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["events"], file["odd[1]"] = np.zeros(9, kind), np.zeros(9, inner)
        file["images"], file["wave"] = np.zeros((9, 4), "u1"), np.zeros(9, "c8")
        file["text"], file["one"], file["none"] = np.array([b"a"] * 9), 1, np.zeros((0, 3))
        file["hour"] = np.zeros(9)
        file.create_dataset("tokens", (9,), h5py.vlen_dtype("i4"))
    described = describe(tmp_path / "a.h5").datasets
    column = Padded("tokens", 7)
    found = {leaf.name: leaf for leaf in leaves_of(described, {"tokens": column}, {"hour"})}
    assert {name: leaf.nbytes for name, leaf in found.items()} == {
        "events[id]": 4, "events[at][x]": 8, "events[at][flag]": 1, "events[hit]": 12,
        "images": 4, "wave": 8, "tokens": 28,
    }  # fmt: skip
    assert [name for name, leaf in found.items() if leaf.is_complex] == ["wave"]
    assert [name for name, leaf in found.items() if leaf.is_byte] == ["events[at][flag]"]
    assert found["events[at][x]"].own == "at[x]"
    tokens = found["tokens"].dataset
    assert column.value(Stored(tokens.dtype, tokens.row_shape)).nbytes == 28
