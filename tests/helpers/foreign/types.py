"""Every type of element that h5py can write, and some that only C programs write."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

import h5py
import numpy as np

from helpers.foreign import write
from helpers.foreign.layouts import made

COUNT = np.arange(40)


def numbers(file: h5py.File) -> None:
    """Integers, floats, complex numbers and bools in both byte orders."""
    for kind in ("i1", "u2", "i4", "u8", "f2", "f4", "f8", "c8", "c16"):
        file[f"little_{kind}"] = COUNT.astype(f"<{kind}")
        big = COUNT.astype(f">{kind}")
        file[f"big_{kind}"] = big
        file.create_dataset(f"gzip_{kind}", data=big, chunks=(9,), compression="gzip", shuffle=True)
    file["bool"] = COUNT % 3 == 0
    sides = h5py.enum_dtype({"left": 0, "right": 1}, basetype="i2")
    file.create_dataset("enum", data=COUNT % 2, dtype=sides)
    file.create_dataset("long", data=COUNT.astype(np.longdouble))


def odd_numbers(file: h5py.File) -> None:
    """Twelve bits in sixteen, an offset of bits, a float of three bytes."""
    twelve = h5py.h5t.STD_U16LE.copy()
    twelve.set_precision(12)
    shifted = h5py.h5t.STD_I32LE.copy()
    shifted.set_precision(20)
    shifted.set_offset(5)
    brain = h5py.h5t.IEEE_F32LE.copy()
    brain.set_fields(15, 7, 8, 0, 7)
    brain.set_size(2)
    brain.set_ebias(127)
    for name, kind in (("twelve", twelve), ("shifted", shifted), ("bfloat16", brain)):
        space = h5py.h5s.create_simple((40,))
        data = h5py.Dataset(h5py.h5d.create(file.id, name.encode(), kind, space))
        data[...] = COUNT.astype(data.dtype)


def text(file: h5py.File) -> None:
    """Strings of one length and of any, padded in each way, opaque bytes."""
    file["fixed"] = np.array([b"a", b"bcd", b""])
    file["utf8"] = np.array(["ä".encode(), b"bcd"], h5py.string_dtype("utf-8", 6))
    file.create_dataset("vlen", data=["one", "three"], dtype=h5py.string_dtype())
    file["opaque"] = np.frombuffer(bytes(range(30)), "V3")
    file["times"] = COUNT.astype("M8[s]").astype(h5py.opaque_dtype("M8[s]"))
    for name, padding in (("zeros", h5py.h5t.STR_NULLTERM), ("spaces", h5py.h5t.STR_SPACEPAD)):
        kind = h5py.h5t.C_S1.copy()
        kind.set_size(4)
        kind.set_strpad(padding)
        made = h5py.h5d.create(file.id, name.encode(), kind, h5py.h5s.create_simple((9,)))
        h5py.Dataset(made)[:] = b"ab"


def compounds(file: h5py.File) -> None:
    """Records: packed, padded, nested, with arrays, strings and enums in them."""
    packed = np.dtype([("a", "u1"), ("b", ">f4")])
    padded = np.dtype([("a", "u1"), ("b", "f8"), ("c", "i2")], align=True)
    nested = np.dtype([("in", padded), ("v", "f4", (3,)), ("s", "S3")])
    for name, kind in (("packed", packed), ("padded", padded), ("nested", nested)):
        rows = np.zeros(40, kind)
        (rows["in"] if name == "nested" else rows)["a"] = COUNT
        file[name] = rows
        file.create_dataset(f"{name}_gzip", data=rows, chunks=(9,), compression="gzip")
    ragged = np.dtype([("n", "i4"), ("text", h5py.string_dtype())])
    file.create_dataset("ragged", (5,), ragged)


def objects(file: h5py.File) -> None:
    """What has no fixed size: ragged rows, references to objects and regions."""
    rows = file.create_dataset("ragged", (5,), h5py.vlen_dtype("i4"))
    for at in range(5):
        rows[at] = np.arange(at + 1)
    file["plain"] = COUNT
    links = file.create_dataset("references", (3,), h5py.ref_dtype)
    links[:] = file["plain"].ref
    regions = file.create_dataset("regions", (3,), h5py.regionref_dtype)
    regions[0] = file["plain"].regionref[3:9]


def shapes(file: h5py.File) -> None:
    """No rows, no elements, no dimensions, no value at all; arrays as elements."""
    file.create_dataset("no_rows", (0, 4), "f4")
    file.create_dataset("no_columns", (5, 0), "f4")
    file.create_dataset("growing_from_none", (0, 4), "f4", maxshape=(None, 4))
    file["scalar"] = 3.5
    file["null"] = h5py.Empty("f4")
    file["text"] = "a text"
    kind = np.dtype(("f4", (2, 3)))
    file.create_dataset("arrays", (9,), kind)[...] = np.arange(54, dtype="f4").reshape(9, 2, 3)
    file["eight"] = np.arange(256, dtype="u1").reshape((2,) * 8)


FILLS: dict[str, Callable[[h5py.File], None]] = {
    "numbers": numbers, "odd": odd_numbers, "text": text, "compounds": compounds,
    "objects": objects, "shapes": shapes,
}  # fmt: skip

WRITERS: dict[str, Callable[[Path], None]] = {
    **{f"types-{name}": partial(made, fill) for name, fill in FILLS.items()},
    **{f"types-new-{name}": partial(made, fill, libver="latest") for name, fill in FILLS.items()},
}

if __name__ == "__main__":
    write(WRITERS)
