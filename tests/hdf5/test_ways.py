"""Every way gives the bytes of h5py, and each dataset gets the way that fits it."""

from __future__ import annotations

import itertools
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import h5py
import hdf5plugin
import numpy as np
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
    {"compression": "lzf", "shuffle": True},
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


class Case(NamedTuple):
    """One dataset to write, and the rows of it to read."""

    shape: tuple[int, ...]
    dtype: Any
    chunks: tuple[int, ...] | None
    filters: Mapping[str, Any]
    written: tuple[int, int]
    fill_time: str
    noisy: bool
    file: Mapping[str, Any]
    rows: tuple[int, int]
    cuts: Sequence[int]


@st.composite
def cases(draw: st.DrawFn) -> Case:
    shape = tuple(draw(st.lists(st.integers(1, 9), min_size=0, max_size=3)))
    shape = (draw(st.integers(1, 40)), *shape)
    chunks = draw(st.none() | st.tuples(*(st.integers(1, extent + 2) for extent in shape)))
    start = draw(st.integers(0, shape[0]))
    stop = draw(st.integers(start, shape[0]))
    return Case(
        shape,
        draw(st.sampled_from(DTYPES)),
        chunks,
        draw(st.sampled_from(FILTERS)) if chunks else {},
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
        limit = (None,) * len(case.shape) if case.chunks else None
        data = file.create_dataset(
            "x", case.shape, case.dtype, chunks=case.chunks, maxshape=limit, **options
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
        source.read(name, start, stop, out)
    finally:
        source.close()
    return b"".join(array.tobytes() for array in out)


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
        assert read(description, "x", start, stop, case.cuts) == expected
        assert read(through_h5py(description), "x", start, stop, case.cuts) == expected
