"""Damage that we saw is an error, whatever h5py says of it; the rest of the file can be read."""

from __future__ import annotations

import bz2
import os
import struct
import subprocess
import sys
import zlib
from collections.abc import Callable, Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

import h5py
import hdf5plugin
import numpy as np
import pytest
from helpers.libhdf5 import leave_edges_unfiltered

from prefetcher.errors import CorruptError
from prefetcher.filters.compressors import GZIP, LZF
from prefetcher.hdf5.describe import describe
from prefetcher.hdf5.source import Source

ROWS = (np.arange(480) % 50 + 1).astype("u1").reshape(60, 8)


def write(path: Path, options: Mapping[str, Any], chunks: tuple[int, int] = (10, 8)) -> Path:
    """Two datasets: "x" is what gets damaged, "good" is not."""
    with h5py.File(path, "w") as file:
        file.create_dataset("x", data=ROWS, chunks=chunks, **options)
        file.create_dataset("good", data=ROWS, chunks=chunks, compression="gzip")
    return path


def replace_chunk(path: Path, row: int, stored: bytes) -> None:
    """Puts other bytes in the place of a storage chunk."""
    with h5py.File(path, "r+") as file:
        file["x"].id.write_direct_chunk((row, 0), stored)


def read(path: Path, name: str, start: int, stop: int) -> bytes:
    out = np.full((stop - start, 8), 0xA5, np.uint8)
    with closing(Source(describe(path), [name])) as source:
        source.read(name, [(start, stop)], [out])
    return out.tobytes()


SHORT = zlib.compress(ROWS[:4].tobytes())
LONG = zlib.compress(ROWS[:40].tobytes())


@pytest.mark.parametrize("row", [0, 30, 50])
@pytest.mark.parametrize("stored", [SHORT, LONG, b"no stream"], ids=["short", "long", "none"])
def test_a_storage_chunk_of_another_size_is_an_error_wherever_it_lies(
    tmp_path: Path, row: int, stored: bytes
) -> None:
    """h5py gives memory that it never filled for one that is too short."""
    path = write(tmp_path / "a.h5", {"compression": "gzip"})
    replace_chunk(path, row, stored)
    with pytest.raises(CorruptError, match=rf"rows {row} to {row + 10} of x in a.h5 are damaged"):
        read(path, "x", row, row + 10)
    for other in {0, 30, 50} - {row}:
        assert read(path, "x", other, other + 10) == ROWS[other : other + 10].tobytes()
    assert read(path, "good", 0, 60) == ROWS.tobytes()


BOMB = """
import resource, sys, zlib
from pathlib import Path
import numpy as np
from prefetcher.errors import CorruptError
from prefetcher.hdf5.describe import describe
from prefetcher.hdf5.source import Source

def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024

description = describe(Path(sys.argv[1]))
before = peak()
source = Source(description, ["x"])
out = np.empty((10, 100_000), np.uint8)
for start in (0, 20):
    try:
        source.read("x", [(start, min(start + 10, 25))], [out[: min(10, 25 - start)]])
    except CorruptError:
        continue
    raise AssertionError(f"rows {start} could be read")
source.close()
print(peak() - before)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="it measures memory as Linux counts it")
def test_a_bomb_takes_no_more_memory_than_a_storage_chunk(tmp_path: Path) -> None:
    """In the first storage chunk, and in one over the edge that is as large as a decoded one."""
    with h5py.File(tmp_path / "a.h5", "w") as file:
        options = {"chunks": (10, 100_000), "compression": "gzip"}
        rows = file.create_dataset("x", (25, 100_000), "u1", **options)
        bomb = zlib.compress(bytes(400_000_000), 1)
        rows.id.write_direct_chunk((0, 0), bomb)
        rows.id.write_direct_chunk((20, 0), bomb[:1_000_000].ljust(1_000_000, b"\0"))
    child = subprocess.run(
        [sys.executable, "-c", BOMB, str(tmp_path / "a.h5")],
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert child.returncode == 0, child.stderr[-2000:]
    assert int(child.stdout) < 60


def move_in_index(path: Path, row: int, to: int) -> None:
    """Has the index name the storage chunk at `row` as one at another row."""
    found: list[h5py.h5d.StoreInfo] = []
    with h5py.File(path) as file:
        file["x"].id.chunk_iter(found.append)
    info = next(info for info in found if info.chunk_offset == (row, 0))

    def key(at: int) -> bytes:
        """As a B-tree of version 1 has it: size, mask, place, address."""
        place = struct.pack("<QQQ", at, 0, 0)
        return struct.pack("<II", info.size, 0) + place + struct.pack("<Q", info.byte_offset)

    whole = path.read_bytes()
    assert whole.count(key(row)) == 1
    path.write_bytes(whole.replace(key(row), key(to)))


@pytest.mark.parametrize(("row", "to"), [(0, 10), (10, 0), (30, 20), (50, 40)])
@pytest.mark.parametrize("options", [{"compression": "gzip"}, {"compression": "lzf"}, {}], ids=str)
def test_an_index_that_names_a_storage_chunk_twice_is_refused(
    tmp_path: Path, row: int, to: int, options: Mapping[str, Any]
) -> None:
    """Whoever decodes it: HDF5 loses rows over it, or the process."""
    path = write(tmp_path / "a.h5", options)
    move_in_index(path, row, to)
    with pytest.raises(CorruptError, match=r"x in a.h5 is damaged: its index names .* twice"):
        read(path, "x", 0, 60)
    assert read(path, "good", 0, 60) == ROWS.tobytes()


def test_such_an_index_is_refused_behind_a_virtual_dataset_too(tmp_path: Path) -> None:
    path = write(tmp_path / "a.h5", {"compression": "lzf"})
    with h5py.File(path, "r+") as file:
        layout = h5py.VirtualLayout(ROWS.shape, "u1")
        layout[:] = h5py.VirtualSource(file["x"])
        file.create_virtual_dataset("view", layout)
    move_in_index(path, 20, 10)
    with pytest.raises(CorruptError, match=r"view in a.h5 is damaged: its index names .* twice"):
        read(path, "view", 0, 60)


def unfiltered_edges(
    file: h5py.File, shape: tuple[int, int], compressor: int, fletcher32: bool
) -> None:
    properties = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    properties.set_chunk((10, 5))
    properties.set_filter(compressor, h5py.h5z.FLAG_OPTIONAL, (4,) if compressor == GZIP else ())
    if fletcher32:
        properties.set_fletcher32()
    leave_edges_unfiltered(properties)
    space = h5py.h5s.create_simple(shape)
    made = h5py.h5d.create(file.id, b"x", h5py.h5t.STD_U8LE, space, properties)
    h5py.Dataset(made)[...] = ROWS[: shape[0], : shape[1]]


@pytest.mark.parametrize("fletcher32", [False, True])
@pytest.mark.parametrize("compressor", [GZIP, LZF])
@pytest.mark.parametrize("shape", [(57, 5), (60, 8), (57, 8)])
def test_edges_without_filters_are_no_damage(
    tmp_path: Path, shape: tuple[int, int], compressor: int, fletcher32: bool
) -> None:
    """Only the file's own header tells of them, and h5py cannot read that out of it."""
    with h5py.File(tmp_path / "a.h5", "w", libver="latest") as file:
        unfiltered_edges(file, shape, compressor, fletcher32)
    out = np.full(shape, 0xA5, np.uint8)
    with closing(Source(describe(tmp_path / "a.h5"), ["x"])) as source:
        source.read("x", [(0, shape[0])], [out])
        assert source.way_of("x") == "general"
    assert out.tobytes() == ROWS[: shape[0], : shape[1]].tobytes()


def bomb(chunk: bytes) -> bytes:
    return zlib.compress(bytes(1 << 20))[: len(chunk)].ljust(len(chunk), b"\0")


def lzf_bomb(chunk: bytes) -> bytes:
    """One literal, then copies of 264 bytes of it."""
    return (b"\0\0" + b"\xe0\xff\0" * 40)[: len(chunk)]


def bzip2_bomb(chunk: bytes) -> bytes:
    return bz2.compress(bytes(1 << 20)).ljust(len(chunk), b"\0")


def endless(chunk: bytes) -> bytes:
    """A bzip2 stream that is cut short: HDF5 would wait for the rest for ever."""
    return bz2.compress(np.random.default_rng(0).bytes(1000))[: len(chunk)]


def noise(chunk: bytes) -> bytes:
    return b"\xff" * len(chunk)


@pytest.mark.parametrize(
    ("options", "stored"),
    [
        ({"compression": "gzip"}, bomb),
        ({"compression": "gzip"}, noise),
        ({"compression": "gzip", "fletcher32": True}, noise),
        ({"compression": "lzf"}, lzf_bomb),
        ({"compression": "lzf"}, noise),
        (dict(hdf5plugin.BZip2()), bzip2_bomb),
        (dict(hdf5plugin.BZip2()), endless),
        ({"compression": "szip"}, noise),
        (dict(hdf5plugin.LZ4()), noise),
    ],
    ids=str,
)
def test_damage_over_the_edge_stays_damage(
    tmp_path: Path, options: Mapping[str, Any], stored: Callable[[bytes], bytes]
) -> None:
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file.create_dataset("x", data=ROWS[:57], chunks=(10, 8), **options)
        file["x"].id.write_direct_chunk((50, 0), stored(bytes(80)))
    with closing(Source(describe(tmp_path / "a.h5"), ["x"])) as source:
        assert source.way_of("x") == "storage chunks"
        with pytest.raises(CorruptError, match="rows 50 to 57 of x"):
            source.read("x", [(50, 57)], [np.empty((7, 8), np.uint8)])
