"""Every way gives the bytes of h5py, and each dataset gets the way that fits it."""

from __future__ import annotations

import itertools
import math
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import h5py
import hdf5plugin
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from prefetcher.hdf5.describe import FileDescription, describe
from prefetcher.hdf5.places import Rows
from prefetcher.hdf5.source import Source

DTYPES = [
    "u1", "i1", "<u2", ">i4", "<f2", ">f4", "<f8", "<c8", "?", "S5", "V3",
    h5py.enum_dtype({"left": 0, "right": 1}, basetype="i2"),
    h5py.string_dtype("utf-8", 7),
    np.dtype([("a", "u1"), ("b", "<f4")]),
    np.dtype([("a", "u1"), ("b", "<f4")], align=True),
]  # fmt: skip

FILTERS: list[Mapping[str, Any]] = [
    {},
    {"compression": "gzip"},
    {"compression": "gzip", "compression_opts": 9, "shuffle": True, "fletcher32": True},
    {"shuffle": True},
    {"fletcher32": True},
    {"compression": "lzf"},
    {"compression": "lzf", "shuffle": True, "fletcher32": True},
    {**hdf5plugin.BZip2()},
    {**hdf5plugin.BZip2(blocksize=1), "shuffle": True},
    {**hdf5plugin.LZ4()},
    {**hdf5plugin.LZ4(nbytes=64), "shuffle": True},
    {**hdf5plugin.Zstd(), "fletcher32": True},
    {**hdf5plugin.Blosc(cname="lz4", shuffle=hdf5plugin.Blosc.SHUFFLE)},
    {**hdf5plugin.Blosc(cname="zlib", shuffle=hdf5plugin.Blosc.NOSHUFFLE)},
    {**hdf5plugin.Bitshuffle(cname="lz4")},
    {**hdf5plugin.Bitshuffle(cname="zstd", nelems=64)},
    {**hdf5plugin.Bitshuffle(cname="none")},
    {**hdf5plugin.Blosc2()},
]
SZIP: list[Mapping[str, Any]] = [
    {"compression": "szip"},
    {"compression": "szip", "compression_opts": ("ec", 32), "shuffle": True},
    {"compression": "szip", "compression_opts": ("nn", 16), "fletcher32": True},
    {"compression": "szip", "compression_opts": ("nn", 4)},
]
"""For what szip takes: numbers, and as many to a storage chunk as it makes a block of."""


class Case(NamedTuple):
    """One dataset to write, and the rows of it to read."""

    shape: tuple[int, ...]
    dtype: Any
    chunks: tuple[int, ...] | None
    limit: tuple[int | None, ...] | None
    filters: Mapping[str, Any]
    written: tuple[int, int]
    fill_time: str
    noisy: bool
    file: Mapping[str, Any]
    rows: tuple[int, int]
    cuts: Sequence[int]


def limits(extent: int) -> st.SearchStrategy[int | None]:
    # Storage chunks may reach two elements beyond the shape, never beyond the limit.
    return st.sampled_from([extent + 2, 3 * extent + 2, None])


@st.composite
def cases(draw: st.DrawFn) -> Case:
    shape = tuple(draw(st.lists(st.integers(1, 9), min_size=0, max_size=3)))
    shape = (draw(st.integers(1, 40)), *shape)
    steps = st.tuples(*(st.integers(1, extent + 2) for extent in shape))
    chunks = draw(st.one_of(st.none(), steps, steps, steps))
    start = draw(st.integers(0, shape[0]))
    stop = draw(st.integers(start, shape[0]))
    dtype = draw(st.sampled_from(DTYPES))
    szip = SZIP if np.dtype(dtype).kind in "uif" and math.prod(chunks or ()) >= 32 else []
    return Case(
        shape,
        dtype,
        chunks,
        draw(st.tuples(*map(limits, shape))) if chunks else None,
        draw(st.sampled_from(FILTERS + szip)) if chunks else {},
        draw(st.sampled_from([(0, shape[0]), (0, shape[0] // 2), (shape[0] // 3, shape[0])])),
        draw(st.sampled_from(["ifset", "alloc"])),
        draw(st.booleans()),
        {
            "userblock_size": draw(st.sampled_from([0, 512])),
            "libver": draw(st.sampled_from(["earliest", "latest", ("earliest", "v108")])),
        },
        (start, stop),
        sorted(draw(st.lists(st.integers(0, stop - start), max_size=6))),
    )


def values(case: Case) -> Any:
    dtype = np.dtype(case.dtype)
    if dtype.kind in "SV" and not dtype.names:
        raw = np.random.default_rng(1).integers(65, 70, (*case.shape, dtype.itemsize), np.uint8)
        return raw.view(dtype)[..., 0]
    rng = np.random.default_rng(0)
    numbers = rng.integers(0, 120, case.shape) if case.noisy else np.full(case.shape, 5)
    if dtype.names:
        rows = np.zeros(case.shape, dtype)
        for name in dtype.names:
            rows[name] = numbers
        return rows
    return (numbers % 2 if h5py.check_enum_dtype(dtype) else numbers).astype(dtype)


def write(path: Path, case: Case) -> None:
    with h5py.File(path, "w", **case.file) as file:
        options = {**case.filters, "fill_time": case.fill_time} if case.chunks else {}
        data = file.create_dataset(
            "x", case.shape, case.dtype, chunks=case.chunks, maxshape=case.limit, **options
        )
        begin, end = case.written
        if end > begin:
            data[begin:end] = values(case)[begin:end]


def read(
    description: FileDescription, name: str, start: int, stop: int, cuts: Sequence[int] = ()
) -> bytes:
    row_bytes = description.dataset(name).row_bytes
    borders = [0, *cuts, stop - start]
    out: list[Rows] = [
        np.full((end - begin, row_bytes), 0xAA, np.uint8)
        for begin, end in itertools.pairwise(borders)
    ]
    source = Source(description, [name])
    try:
        source.read(name, [(start, stop)], out)
    finally:
        source.close()
    return b"".join(array.tobytes() for array in out)


def taken(description: FileDescription, name: str) -> str:
    """The way that a source really reads in: it may trust the file less than the description."""
    source = Source(description, [name])
    source.close()
    return source.way_of(name)


def through_h5py(description: FileDescription) -> FileDescription:
    general = tuple(replace(dataset, way="general") for dataset in description.datasets)
    return replace(description, datasets=general)


@settings(max_examples=300, deadline=None)
@given(cases())
def test_every_way_gives_the_bytes_of_h5py(case: Case) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "case.h5"
        write(path, case)
        start, stop = case.rows
        with h5py.File(path) as file:
            expected = file["x"][start:stop].tobytes()
        description = describe(path)
        assert taken(description, "x") == description.dataset("x").way
        assert read(description, "x", start, stop, case.cuts) == expected
        assert read(through_h5py(description), "x", start, stop, case.cuts) == expected


PICTURES = np.random.default_rng(0).integers(0, 40, (50, 6, 8, 3), np.uint8)
BIG_ENDIAN = np.linspace(0, 1, 300).reshape(50, 6).astype(">f4")


def contiguous(file: h5py.File) -> None:
    file["x"] = PICTURES


def little_gzip(file: h5py.File) -> None:
    file.create_dataset("x", data=PICTURES, chunks=(7, 6, 8, 3), compression="gzip")


def guessed(file: h5py.File) -> None:
    file.create_dataset("x", data=PICTURES, chunks=(20, 3, 3, 1), compression="gzip", shuffle=True)


def pytables(file: h5py.File) -> None:
    options = hdf5plugin.Blosc(cname="blosclz", clevel=5, shuffle=hdf5plugin.Blosc.SHUFFLE)
    rows = file.create_dataset("x", (0, 6, 8, 3), "u1", maxshape=(None, 6, 8, 3), **options)
    for part in np.split(PICTURES, 5):
        rows.resize(len(rows) + len(part), axis=0)
        rows[-len(part) :] = part


def netcdf4(file: h5py.File) -> None:
    file.create_dataset("n", data=np.zeros(50), dtype=">f4").make_scale("n")
    options = {"shuffle": True, "fletcher32": True, "compression": "gzip"}
    rows = file.create_dataset("x", data=BIG_ENDIAN, maxshape=(None, 6), chunks=(1, 6), **options)
    rows.dims[0].attach_scale(file["n"])


def never_filled(file: h5py.File) -> None:
    rows = file.create_dataset("x", (50, 6), "f4", chunks=(5, 6), fill_time="never")
    rows[:] = 3


def never_filled_holes(file: h5py.File) -> None:
    rows = file.create_dataset("x", (50, 6), "f4", chunks=(5, 6), fill_time="never")
    rows[10:40] = 3


def holes(file: h5py.File) -> None:
    rows = file.create_dataset("x", (50, 6), "f4", chunks=(5, 2), fillvalue=-1.5)
    rows[10:17, 3:] = 3


def skipped_filter(file: h5py.File) -> None:
    rows = file.create_dataset("x", (50, 6), "u1", chunks=(10, 6), compression="gzip")
    rows[:] = 4
    rows.id.write_direct_chunk((20, 0), bytes(range(60)), filter_mask=1)


def bools(file: h5py.File) -> None:
    file["x"] = np.arange(50) % 3 == 0


def scaleoffset(file: h5py.File) -> None:
    file.create_dataset("x", data=np.arange(50), chunks=(10,), scaleoffset=0)


def compact(file: h5py.File) -> None:
    properties = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    properties.set_layout(h5py.h5d.COMPACT)
    space = h5py.h5s.create_simple((50,))
    made = h5py.h5d.create(file.id, b"x", h5py.h5t.STD_U8LE, space, properties)
    h5py.Dataset(made)[:] = np.arange(50)


def grows_sideways(file: h5py.File) -> None:
    file.create_dataset("x", data=BIG_ENDIAN, chunks=(25, 2), maxshape=(50, None))


def odd_precision(file: h5py.File) -> None:
    twelve_bits = h5py.h5t.STD_U16LE.copy()
    twelve_bits.set_precision(12)
    made = h5py.h5d.create(file.id, b"x", twelve_bits, h5py.h5s.create_simple((50,)))
    h5py.Dataset(made)[:] = np.arange(50)


def null_terminated(file: h5py.File) -> None:
    kind = h5py.h5t.C_S1.copy()
    kind.set_size(4)
    kind.set_strpad(h5py.h5t.STR_NULLTERM)
    made = h5py.h5d.create(file.id, b"x", kind, h5py.h5s.create_simple((50,)))
    h5py.Dataset(made)[:] = b"ab"


def never_written(file: h5py.File) -> None:
    file.create_dataset("x", (50, 6), "f4", fillvalue=7)


def padded(file: h5py.File) -> None:
    file.create_dataset("x", (50,), np.dtype([("a", "u1"), ("b", "f4")], align=True))[:] = (1, 2.0)


def records_of_text(file: h5py.File) -> None:
    """Strings that end at their first zero byte, as PyTables writes them, with rubbish behind."""
    text = h5py.h5t.C_S1.copy()
    text.set_size(4)
    kind = h5py.h5t.create(h5py.h5t.COMPOUND, 12)
    for name, at, member in ((b"a", 0, text), (b"b", 8, h5py.h5t.IEEE_F32LE)):
        kind.insert(name, at, member)
    properties = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    properties.set_chunk((10,))
    made = h5py.h5d.create(file.id, b"x", kind, h5py.h5s.create_simple((50,)), properties)
    record = np.frombuffer(b"a\0zz" + b"gap!" + np.float32(1.5).tobytes(), np.uint8)
    for at in range(0, 50, 10):
        made.write_direct_chunk((at,), np.tile(record, 10).tobytes())


def flags(file: h5py.File) -> None:
    """Booleans of PyTables."""
    made = h5py.h5d.create(file.id, b"x", h5py.h5t.STD_B8LE, h5py.h5s.create_simple((50,)))
    made.write(h5py.h5s.ALL, h5py.h5s.ALL, np.arange(50, dtype=np.uint8) % 2, h5py.h5t.STD_B8LE)


@pytest.mark.parametrize("userblock", [0, 512])
@pytest.mark.parametrize("libver", ["earliest", "latest"])
@pytest.mark.parametrize(
    ("make", "way"),
    [
        (contiguous, "contiguous"),
        (bools, "contiguous"),
        (little_gzip, "storage chunks"),
        (guessed, "storage chunks"),
        (pytables, "storage chunks"),
        (netcdf4, "storage chunks"),
        (never_filled, "storage chunks"),
        (holes, "storage chunks"),
        (skipped_filter, "storage chunks"),
        (never_filled_holes, "general"),
        (scaleoffset, "general"),
        (compact, "general"),
        (grows_sideways, "general"),
        (odd_precision, "general"),
        (null_terminated, "general"),
        (never_written, "general"),
        (padded, "contiguous"),
        (records_of_text, "storage chunks"),
        (flags, "contiguous"),
    ],
)
def test_each_kind_of_file_gets_its_way(
    tmp_path: Path, make: Callable[[h5py.File], None], way: str, libver: str, userblock: int
) -> None:
    path = tmp_path / "a.h5"
    with h5py.File(path, "w", libver=libver, userblock_size=userblock) as file:
        make(file)
    description = describe(path)
    assert (description.dataset("x").way, taken(description, "x")) == (way, way)
    if make is never_written:  # with a userblock it has an offset all the same
        assert description.dataset("x").why == "nothing was ever written to it"
    with h5py.File(path) as file:
        for start, stop in [(0, 50), (9, 23), (49, 50)]:
            expected = file["x"][start:stop].tobytes()
            assert read(description, "x", start, stop, [1]) == expected


@pytest.mark.parametrize("options", FILTERS + SZIP, ids=str)
def test_a_fast_decoder_is_taken_for_each_filter(tmp_path: Path, options: Any) -> None:
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file.create_dataset("x", data=PICTURES, chunks=(7, 6, 8, 3), **options)
    description = describe(tmp_path / "a.h5")
    slow = "blosc2" in description.dataset("x").filters or options == SZIP[-1]
    assert taken(description, "x") == ("general" if slow else "storage chunks")
    assert read(description, "x", 5, 30) == PICTURES[5:30].tobytes()


def test_rows_behind_a_link_are_not_looked_for_in_this_file(tmp_path: Path) -> None:
    for name, value in (("a.h5", 1), ("b.h5", 2)):
        with h5py.File(tmp_path / name, "w") as file:
            rows = np.zeros((50, 4), "u1")
            rows[20] = value  # the first and the last row are alike
            file["own"] = rows
    with h5py.File(tmp_path / "a.h5", "r+") as file:
        file["x"] = h5py.ExternalLink("b.h5", "own")
    description = describe(tmp_path / "a.h5", allow_external=True)
    assert description.dataset("x").why == "it lies in another file"
    assert read(description, "x", 20, 21) == bytes([2] * 4)
