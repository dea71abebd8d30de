"""Small files of one kind each, in which damage goes deep, and files made to do harm."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import h5py
import hdf5plugin
import numpy as np

from helpers.foreign import write

ROWS = (np.arange(40 * 48) % 50).astype("u1").reshape(40, 48)
CHUNKS = (8, 20)
BOMB = zlib.compress(bytes(200 << 20), 9)
"""200 KB that become 200 MB."""

STORED: Mapping[str, Mapping[str, Any]] = {
    "contiguous": {"chunks": None},
    "none": {},
    "shuffle": {"shuffle": True},
    "gzip": {"compression": "gzip"},
    "gzip_all": {"compression": "gzip", "shuffle": True, "fletcher32": True},
    "lzf": {"compression": "lzf"},
    "fletcher32": {"fletcher32": True},
    "scaleoffset": {"scaleoffset": 0},
    "lz4": {**hdf5plugin.LZ4(nbytes=64)},
    "zstd": {**hdf5plugin.Zstd()},
    "blosc": {**hdf5plugin.Blosc(cname="lz4", shuffle=hdf5plugin.Blosc.SHUFFLE)},
    "blosc2": {**hdf5plugin.Blosc2()},
    "bitshuffle": {**hdf5plugin.Bitshuffle(cname="lz4", nelems=64)},
    "bitshuffle_zstd": {**hdf5plugin.Bitshuffle(cname="zstd", nelems=64)},
    "growing": {"maxshape": (None, 48)},
    "sideways": {"maxshape": (None, None), "compression": "gzip"},
}


def stored(options: Mapping[str, Any], libver: str, path: Path) -> None:
    """The rows in one dataset, stored in one way."""
    with h5py.File(path, "w", libver=libver) as file:
        file.create_dataset("x", data=ROWS, **{"chunks": CHUNKS, **options})


def bomb(where: tuple[int, ...], path: Path) -> None:
    """Storage chunks of 38 KB, of which some inflate to 200 MB. Smaller ones cannot hold a bomb."""
    with h5py.File(path, "w") as file:
        wide = np.tile(ROWS, (1, 100))
        rows = file.create_dataset("x", data=wide, chunks=(8, 4800), compression="gzip")
        for slab in where:
            rows.id.write_direct_chunk((slab * 8, 0), BOMB)


def short(where: tuple[int, ...], compression: str | None, path: Path) -> None:
    """Storage chunks that hold fewer bytes than they should."""
    with h5py.File(path, "w") as file:
        rows = file.create_dataset(
            "x", data=ROWS, chunks=CHUNKS, compression=compression, shuffle=True
        )
        few = bytes(100)
        for slab in where:
            rows.id.write_direct_chunk((slab * 8, 0), zlib.compress(few) if compression else few)


def huge(path: Path) -> None:
    """Shapes beyond all memory over storage that was never written."""
    with h5py.File(path, "w") as file:
        file.create_dataset("rows", (1 << 50, 4), "f4", chunks=(16, 4))
        file.create_dataset("columns", (10, 1 << 40), "f4", chunks=(1, 1024))
        file.create_dataset("chunk", (1 << 14, 1 << 14), "f8", chunks=(1 << 14, 1 << 14))
        file.create_dataset("empty", (1 << 60, 0), "f8", chunks=(1, 1), maxshape=(None, None))


def twice(path: Path) -> None:
    """An index of storage chunks that names one twice and leaves one out."""
    stored({}, "earliest", path)
    with h5py.File(path) as file:
        keys = [file["x"].id.get_chunk_info(at).chunk_offset for at in (3, 4)]
    one, other = (np.array([*key, 0], "<u8").tobytes() for key in keys)
    whole = path.read_bytes()
    path.write_bytes(whole.replace(other, one))


def virtual_circle(path: Path) -> None:
    """Virtual datasets over themselves and over each other."""
    with h5py.File(path, "w", libver="latest") as file:
        file["own"] = ROWS
        for name, over in (("x", "x"), ("a", "b"), ("b", "a")):
            layout = h5py.VirtualLayout(ROWS.shape, "u1")
            layout[:] = h5py.VirtualSource(".", over, ROWS.shape)
            file.create_virtual_dataset(name, layout)


def external_to_system(path: Path) -> None:
    """Rows that lie in a file of the system."""
    with h5py.File(path, "w") as file:
        file.create_dataset("x", (10, 4), "u1", external=[("/etc/hostname", 0, 40)])


WRITERS: dict[str, Callable[[Path], None]] = {
    **{
        f"{age}-{name}": partial(stored, options, libver)
        for age, libver in (("old", "earliest"), ("new", "latest"))
        for name, options in STORED.items()
    },
    "bomb-first": partial(bomb, (0,)),
    "bomb-last": partial(bomb, (4,)),
    "bomb-middle": partial(bomb, (2,)),
    "short-first": partial(short, (0,), "gzip"),
    "short-last": partial(short, (4,), "gzip"),
    "short-middle": partial(short, (2,), None),
    "short-ends": partial(short, (0, 4), None),
    "huge": huge,
    "twice": twice,
    "virtual-circle": virtual_circle,
    "external-to-system": external_to_system,
}

if __name__ == "__main__":
    write(WRITERS)
