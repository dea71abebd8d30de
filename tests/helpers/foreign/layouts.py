"""Every layout and filter of HDF5 itself, in old files and in new ones."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import h5py
import hdf5plugin
import numpy as np

from helpers.foreign import write
from helpers.libhdf5 import leave_edges_unfiltered, undefine_fill_value

ROWS = (np.arange(60 * 24) % 50).astype("i4").reshape(60, 24)
CHUNKS = (7, 10)

Fill = Callable[[h5py.File], None]


def low_level(
    file: h5py.File,
    name: str,
    data: np.ndarray[Any, Any],
    prepare: Callable[[Any], None],
    shape: tuple[int, ...] | None = None,
) -> None:
    """A dataset whose creation properties h5py's upper half cannot set; `data` are first rows."""
    properties = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    prepare(properties)
    space = h5py.h5s.create_simple(shape or data.shape)
    kind = h5py.h5t.py_create(data.dtype, logical=True)
    made = h5py.h5d.create(file.id, name.encode(), kind, space, properties)
    h5py.Dataset(made)[: len(data)] = data


def plain(file: h5py.File) -> None:
    """Contiguous, compact, allocated early, a vector, one row."""
    file["contiguous"] = ROWS
    file["vector"] = np.arange(100.0)
    file["one"] = ROWS[:1]
    low_level(file, "compact", ROWS[:9], lambda p: p.set_layout(h5py.h5d.COMPACT))
    low_level(file, "early", ROWS, lambda p: p.set_alloc_time(h5py.h5d.ALLOC_TIME_EARLY))


def chunked(file: h5py.File) -> None:
    """One dataset for each kind of index that HDF5 keeps over storage chunks."""
    for name, limit in {
        "fixed": None, "rows": (None, 24), "both": (None, None), "sideways": (60, None),
        "bounded": (90, 30),
    }.items():  # fmt: skip
        made = partial(file.create_dataset, data=ROWS, chunks=CHUNKS, maxshape=limit)
        made(name)
        made(f"{name}_gzip", compression="gzip")
    file.create_dataset("single", data=ROWS, chunks=ROWS.shape)
    file.create_dataset("cube", data=ROWS.reshape(60, 4, 6), chunks=(7, 3, 4), compression="gzip")
    shrunk = file.create_dataset("shrunk", data=ROWS, chunks=CHUNKS, maxshape=(None, 24))
    shrunk.resize((41, 24))
    grown = file.create_dataset("grown", data=ROWS, chunks=CHUNKS, maxshape=(None, 24))
    grown.resize((77, 24))


def filters(file: h5py.File) -> None:
    """HDF5's own filters, and what h5py brings."""
    made = partial(file.create_dataset, data=ROWS, chunks=CHUNKS)
    made("gzip", compression="gzip", shuffle=True)
    made("lzf", compression="lzf")
    made("fletcher32", fletcher32=True)
    made("all", compression="gzip", shuffle=True, fletcher32=True)
    made("scaleoffset", scaleoffset=6)
    if h5py.h5z.filter_avail(h5py.h5z.FILTER_SZIP):  # not in every build of h5py
        made("szip", compression="szip")
    skipped = made("skipped", compression="gzip")
    skipped.id.write_direct_chunk((7, 10), bytes(range(256)) + bytes(24), filter_mask=1)

    def nbit(properties: h5py.h5p.PropDCID) -> None:
        properties.set_chunk(CHUNKS)
        properties.set_filter(h5py.h5z.FILTER_NBIT, h5py.h5z.FLAG_OPTIONAL, ())

    low_level(file, "nbit", ROWS, nbit)


def plugins(file: h5py.File) -> None:
    """The filters of hdf5plugin."""
    for name, options in {
        "lz4": hdf5plugin.LZ4(nbytes=64), "zstd": hdf5plugin.Zstd(),
        "blosc": hdf5plugin.Blosc(cname="lz4"), "blosc2": hdf5plugin.Blosc2(),
        "bitshuffle": hdf5plugin.Bitshuffle(cname="lz4", nelems=64),
        "bitshuffle_zstd": hdf5plugin.Bitshuffle(cname="zstd"), "bzip2": hdf5plugin.BZip2(),
    }.items():  # fmt: skip
        file.create_dataset(name, data=ROWS, chunks=CHUNKS, **options)
        file.create_dataset(f"{name}_checked", data=ROWS, chunks=CHUNKS, fletcher32=True, **options)


def fills(file: h5py.File) -> None:
    """Fill values: the default, one of the user's, none, never; holes and nothing at all."""
    kinds: dict[str, dict[str, Any]] = {
        "default": {},
        "user": {"fillvalue": -7},
        "never": {"fill_time": "never"},
        "alloc": {"fill_time": "alloc", "fillvalue": 3},
    }
    for name, options in kinds.items():
        file.create_dataset(f"{name}_nothing", (60, 24), "i4", **options)
        made = partial(file.create_dataset, shape=(60, 24), dtype="i4", **options)
        made(f"{name}_half")[:30] = ROWS[:30]
        made(f"{name}_holes", chunks=CHUNKS)[20:30, 5:] = ROWS[20:30, 5:]
        made(f"{name}_gzip", chunks=CHUNKS, compression="gzip")[20:30] = ROWS[20:30]


def chunked_without_fill(properties: h5py.h5p.PropDCID) -> None:
    """Storage chunks of a dataset whose fill value is undefined."""
    properties.set_chunk(CHUNKS)
    undefine_fill_value(properties)


def chunked_gzip_without_fill(properties: h5py.h5p.PropDCID) -> None:
    """The same, compressed."""
    chunked_without_fill(properties)
    properties.set_deflate(4)


def gzip_edges_left(properties: h5py.h5p.PropDCID) -> None:
    """Compressed, but for the storage chunks that reach over the edge."""
    properties.set_chunk(CHUNKS)
    properties.set_deflate(4)
    leave_edges_unfiltered(properties)


def by_c(file: h5py.File) -> None:
    """What C programs write and h5py cannot: undefined fill values, edges without filters."""
    low_level(file, "whole", ROWS, undefine_fill_value)
    low_level(file, "chunked", ROWS, chunked_without_fill)
    low_level(file, "gzip", ROWS, chunked_gzip_without_fill)
    low_level(file, "edges", ROWS, gzip_edges_left)
    low_level(file, "holes", ROWS[:30], chunked_without_fill, shape=ROWS.shape)


def neighbours(file: h5py.File) -> None:
    """Sound rows beside names that are no UTF-8 and a type that numpy lacks."""
    file["good"] = ROWS
    space = h5py.h5s.create_simple((4,))
    h5py.h5d.create(file.id, b"bad\xff", h5py.h5t.STD_I32LE, space)
    record = h5py.h5t.create(h5py.h5t.COMPOUND, 4)
    record.insert(b"\xfe", 0, h5py.h5t.STD_I32LE)
    h5py.h5d.create(file.id, b"record", record, space)
    quad = h5py.h5t.IEEE_F64LE.copy()
    quad.set_size(16)
    quad.set_precision(128)
    quad.set_fields(127, 112, 15, 0, 112)
    quad.set_ebias(16383)
    h5py.h5d.create(file.id, b"quad", quad, space)
    h5py.h5d.create(file.id, b"time", h5py.h5t.UNIX_D32LE, space)


def virtual(file: h5py.File) -> None:
    """Views of other datasets of this file, with a gap."""
    file["low"], file["high"] = ROWS[:30], ROWS[30:]
    layout = h5py.VirtualLayout((70, 24), "i4")
    layout[:30] = h5py.VirtualSource(".", "low", (30, 24))
    layout[40:] = h5py.VirtualSource(".", "high", (30, 24))
    file.create_virtual_dataset("view", layout, fillvalue=-1)


def links(file: h5py.File) -> None:
    """Groups and datasets under several names, circles, and links that lead nowhere."""
    file["a/b/x"] = ROWS
    file["a/hard"] = file["a/b/x"]
    file["second"] = file["a/b"]
    file["a/b/circle"] = file["a"]
    file["soft"] = h5py.SoftLink("/a/b/x")
    file["soft_group"] = h5py.SoftLink("a/b")
    file["through"] = h5py.SoftLink("/soft_group/x")
    file["a/up"] = h5py.SoftLink("/a")
    file["nowhere"] = h5py.SoftLink("/not/there")
    file["round"] = h5py.SoftLink("/round")
    file["named_type"] = np.dtype("f4")
    for at in range(20):
        file[f"many/{at}"] = ROWS[at : at + 2]


def outside(path: Path) -> None:
    """Rows in other files: an external link, external storage, a virtual dataset."""
    other = path.with_name("other-file.h5")
    with h5py.File(other, "w") as file:
        file["x"] = ROWS
    raw = path.with_name("other-file.raw")
    raw.write_bytes(ROWS.tobytes())
    with h5py.File(path, "w") as file:
        file["own"] = ROWS
        file["link"] = h5py.ExternalLink(other.name, "x")
        file.create_dataset("storage", ROWS.shape, "i4", external=[(str(raw), 0, ROWS.nbytes)])
        layout = h5py.VirtualLayout(ROWS.shape, "i4")
        layout[:] = h5py.VirtualSource(other.name, "x", ROWS.shape)
        file.create_virtual_dataset("view", layout)


def made(fill: Fill, path: Path, **options: Any) -> None:
    """Writes a file with what `fill` puts into it."""
    with h5py.File(path, "w", **options) as file:
        fill(file)


FILLS: dict[str, Fill] = {
    "plain": plain, "chunked": chunked, "filters": filters, "plugins": plugins, "fills": fills,
    "virtual": virtual, "links": links, "by_c": by_c, "neighbours": neighbours,
}  # fmt: skip

WRITERS: dict[str, Callable[[Path], None]] = {
    **{f"old-{name}": partial(made, fill, libver="earliest") for name, fill in FILLS.items()},
    **{f"new-{name}": partial(made, fill, libver="latest") for name, fill in FILLS.items()},
    "userblock": partial(made, plain, userblock_size=1024),
    "outside": outside,
}

if __name__ == "__main__":
    write(WRITERS)
