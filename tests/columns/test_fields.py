"""Fields of records that PyTables, pandas and h5py wrote, read past HDF5's lock."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from helpers.files import WIDTH
from helpers.foreign import write_all
from helpers.models import assert_each
from helpers.sequences import small
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from prefetcher import DatasetError, Field, NoDatasetError, PrefetchSequence, Row, Window
from prefetcher.hdf5.describe import describe
from prefetcher.hdf5.source import Source

N = 60
PADDED = np.dtype([("id", "i4"), ("flag", "?"), ("energy", "f8"), ("kind", "i2")], align=True)
NESTED = np.dtype(
    [("pos", [("x", "f4"), ("y", ">f4"), ("in", PADDED)]), ("v", "i2", (2, 3)), ("id", "i4")],
    align=True,
)


def fill(rows: NDArray[Any], start: int = 0) -> NDArray[Any]:
    """Gives each number of record i another value that depends on i."""
    for number, name in enumerate(rows.dtype.names or ()):
        kind = rows.dtype[name]
        if kind.names:
            fill(rows[name], start + 10 * number)
        elif name == "id":
            rows[name] = np.arange(len(rows))
        elif kind.base.kind == "S":
            rows[name] = [f"r{row}".encode() for row in range(len(rows))]
        else:
            base = np.arange(len(rows)).reshape(-1, *[1] * len(kind.shape))
            more = np.arange(np.prod(kind.shape, dtype=int)).reshape(kind.shape)
            rows[name] = base + more + start + number
    return rows


def of_h5py(kind: np.dtype[Any], **options: Any) -> Callable[[Path], str]:
    def write(path: Path) -> str:
        with h5py.File(path, "w") as file:
            file.create_dataset("events", data=fill(np.zeros(N, kind)), **options)
        return "events"

    return write


RECORDS: dict[str, Callable[[Path], str]] = {
    "padded": of_h5py(PADDED),
    "padded gzip": of_h5py(PADDED, chunks=(7,), compression="gzip", shuffle=True),
    "nested": of_h5py(NESTED),
    "nested gzip": of_h5py(NESTED, chunks=(7,), compression="gzip"),
    "packed": of_h5py(np.dtype([("id", ">i4"), ("name", "S3"), ("b", "u1")]), chunks=(9,)),
}
FOREIGN = {
    "pytables": "events",
    "pytables-zlib": "events",
    "pytables-blosc": "events",
    "pandas": "frame/table",
}
"""Where the records lie in files of other libraries."""


@pytest.fixture(scope="module")
def foreign(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return write_all(tmp_path_factory.mktemp("records"), ["records"])


@pytest.fixture(params=[*RECORDS, *FOREIGN])
def written(
    request: pytest.FixtureRequest, tmp_path: Path, foreign: dict[str, Path]
) -> tuple[Path, str]:
    if request.param in FOREIGN:
        return foreign[request.param], FOREIGN[request.param]
    path = tmp_path / "a.h5"
    return path, RECORDS[request.param](path)


def raw(records: NDArray[Any]) -> NDArray[np.uint8]:
    """All bytes of records; a copy by numpy would leave out those between the fields."""
    return records.view(np.uint8).reshape(len(records), -1)


def columns(dtype: np.dtype[Any], name: str) -> list[tuple[str, tuple[str, ...]]]:
    """Each field that is no record, as a name and as its path."""
    found = []
    for field in dtype.names or ():
        kind, path = dtype[field], f"{name}[{field}]"
        inner = columns(kind.base, path) if kind.base.names else [(path, ())]
        found += [(text, (field, *rest)) for text, rest in inner]
    return found


def test_records_are_read_past_hdf5(written: tuple[Path, str]) -> None:
    path, name = written
    description = describe(path)
    assert description.dataset(name).way in ("contiguous", "storage chunks")
    source = Source(description, [name])
    assert source.way_of(name) != "general"
    source.close()


def test_every_field_of_every_writer_comes_as_h5py_has_it(written: tuple[Path, str]) -> None:
    path, name = written
    with h5py.File(path) as file:
        rows = file[name][:]
    for text, fields in columns(rows.dtype, name):
        expected = rows
        for field in fields:
            expected = expected[field]
        if expected.dtype.kind == "S":
            continue
        column: Any = name
        for field in fields:
            column = Field(column, field)
        for x in (text, column):
            with small(path, x, f"{name}[id]", readers=2) as train:
                seen = []
                for values, ids in train:
                    np.testing.assert_array_equal(values, expected[ids])
                    assert values.flags.c_contiguous
                    seen += ids.tolist()
        assert sorted(seen) == list(range(N))


def test_whole_records_reach_a_transform_as_h5py_has_them(written: tuple[Path, str]) -> None:
    path, name = written
    with h5py.File(path) as file:
        rows = file[name][:]
    clean = np.zeros(N, rows.dtype.newbyteorder("="))
    clean[...] = rows

    def transform(records: NDArray[Any]) -> NDArray[Any]:
        ids: NDArray[Any] = records["id"]
        np.testing.assert_array_equal(records, clean[ids])
        assert (raw(records) == raw(clean)[ids]).all()
        return ids

    with small(path, name, None, transform=transform) as train:
        assert sorted(int(each) for (ids,) in train for each in ids) == list(range(N))


def test_bytes_of_no_field_hold_nothing_of_this_process(tmp_path: Path) -> None:
    """Rows that were never written, between storage chunks that were."""
    path = tmp_path / "a.h5"
    value = np.array((7, True, 2.5, 3), PADDED)
    with h5py.File(path, "w") as file:
        rows = file.create_dataset("events", (N,), PADDED, chunks=(5,), fillvalue=value)
        rows[:5] = fill(np.zeros(5, PADDED))
        rows[-5:] = fill(np.zeros(5, PADDED))
    clean = np.zeros(1, PADDED)
    for name in PADDED.names or ():
        clean[name] = value[name]
    holes = []

    def transform(records: NDArray[Any]) -> NDArray[Any]:
        is_hole = records["id"] == 7
        assert (raw(records)[is_hole] == raw(clean)).all()
        holes.append(int(is_hole.sum()))
        return records["id"]

    with small(path, "events", None, transform=transform, shuffle=False) as train:
        list(train)
    assert sum(holes) >= N - 10


def test_text_ends_at_its_first_zero_byte(tmp_path: Path) -> None:
    """A writer may leave anything behind it; HDF5 hands out zeros, and so do we."""
    text = h5py.h5t.C_S1.copy()
    text.set_size(4)
    kind = h5py.h5t.create(h5py.h5t.COMPOUND, 8)
    kind.insert(b"name", 0, text)
    kind.insert(b"id", 4, h5py.h5t.STD_I32LE)
    stored = b"".join(b"a\0" + bytes([row, 66]) + row.to_bytes(4, "little") for row in range(N))
    with h5py.File(tmp_path / "a.h5", "w") as file:
        properties = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
        properties.set_chunk((N,))
        made = h5py.h5d.create(file.id, b"events", kind, h5py.h5s.create_simple((N,)), properties)
        made.write_direct_chunk((0,), stored)

    def transform(records: NDArray[Any]) -> NDArray[Any]:
        assert (raw(records)[:, :4] == [ord("a"), 0, 0, 0]).all()
        return records["id"]

    with small(tmp_path / "a.h5", "events", None, transform=transform) as train:
        assert train._feed.shards.dataset("events").way == "storage chunks"
        assert sorted(int(each) for (x,) in train for each in x) == list(range(N))


# any record


NUMBERS = ("u1", "i2", ">i4", "f4", ">f8", "?", "S3", "c8")


@st.composite
def record_types(draw: st.DrawFn, deep: int = 2) -> np.dtype[Any]:
    """Records with gaps, arrays and records in them."""
    fields: list[Any] = [("id", "i4")]
    for number in range(draw(st.integers(0, 4))):
        inner = draw(record_types(deep - 1)) if deep and draw(st.booleans()) else None
        kind: Any = inner if inner is not None else draw(st.sampled_from(NUMBERS))
        shape = draw(st.sampled_from([(), (), (2,), (1, 3)]))
        fields.append((f"f{number}", kind, shape))
    return np.dtype(fields, align=draw(st.booleans()))


@settings(max_examples=40)
@given(
    record_types(),
    st.integers(1, 30),
    st.sampled_from([{}, {"chunks": (1,)}, {"chunks": (1,), "compression": "gzip"}]),
    st.integers(0, 2**32),
    st.booleans(),
)
def test_any_record_comes_whole(
    tmp_path_factory: pytest.TempPathFactory,
    kind: np.dtype[Any],
    count: int,
    options: dict[str, Any],
    seed: int,
    shuffle: bool,
) -> None:
    path = tmp_path_factory.mktemp("any") / "a.h5"
    noise = np.random.default_rng(seed).integers(0, 2, (count, kind.itemsize), np.uint8)
    rows = noise.view(kind)[:, 0].copy()
    rows["id"] = np.arange(count)
    with h5py.File(path, "w") as file:
        file.create_dataset("events", data=rows, **options)
        rows = file["events"][:]
    assert describe(path).dataset("events").way != "general"
    seen = []

    def transform(records: NDArray[Any]) -> NDArray[Any]:
        ids: NDArray[Any] = records["id"]
        for _, fields in columns(rows.dtype, "events"):
            found, expected = records, rows[ids]
            for field in fields:
                found, expected = found[field], expected[field]
            np.testing.assert_array_equal(found, expected)
        return ids

    with small(path, "events", None, transform=transform, shuffle=shuffle) as train:
        for (ids,) in train:
            seen += ids.tolist()
    assert sorted(seen) == list(range(count))


def test_what_numpy_stores_otherwise_goes_through_h5py(tmp_path: Path) -> None:
    kinds = {
        "vlen": np.dtype([("id", "i4"), ("text", h5py.string_dtype())]),
        "reference": np.dtype([("id", "i4"), ("to", h5py.ref_dtype)]),
    }
    twelve = h5py.h5t.STD_U16LE.copy()
    twelve.set_precision(12)
    spaces = h5py.h5t.C_S1.copy()
    spaces.set_size(2)
    spaces.set_strpad(h5py.h5t.STR_SPACEPAD)
    with h5py.File(tmp_path / "a.h5", "w") as file:
        for name, dtype in kinds.items():
            file.create_dataset(name, (N,), dtype)
        for name, member in (("twelve", twelve), ("spaces", spaces)):
            kind = h5py.h5t.create(h5py.h5t.COMPOUND, 2)
            kind.insert(b"a", 0, member)
            made = h5py.h5d.create(file.id, name.encode(), kind, h5py.h5s.create_simple((N,)))
            h5py.Dataset(made)[:] = np.zeros(N, h5py.Dataset(made).dtype)
    for dataset in describe(tmp_path / "a.h5").datasets:
        assert (dataset.way, dataset.why) == (
            "general", "its type is stored in other bytes than numpy's",
        )  # fmt: skip


# columns of fields


def test_fields_of_one_dataset_are_read_once(tmp_path: Path) -> None:
    path = tmp_path / "a.h5"
    of_h5py(NESTED)(path)
    x = ("events[pos][x]", "events[v]", Window("events[pos][in][energy]", 2))
    with small(path, x, Row("events[id]", ahead=1)) as train:
        assert len(train._feed.needs) == 1
        (a, b, c), y = train[0]
    with h5py.File(path) as file:
        rows = file["events"][:]
    at = y - 1
    assert b.shape == (4, 2, 3)
    np.testing.assert_array_equal(a, rows["pos"]["x"][at])
    np.testing.assert_array_equal(b, rows["v"][at])
    np.testing.assert_array_equal(c, rows["pos"]["in"]["energy"][at[:, None] + [0, 1]])


def test_a_dataset_of_that_very_name_comes_first(tmp_path: Path) -> None:
    path = tmp_path / "a.h5"
    of_h5py(PADDED)(path)
    with h5py.File(path, "r+") as file:
        file["events[energy]"] = np.full(N, 9.0)
    with small(path, "events[energy]", None) as train:
        assert (train[0][0] == 9).all()


def test_fields_that_are_not_there_are_told(tmp_path: Path) -> None:
    path = tmp_path / "a.h5"
    of_h5py(NESTED)(path)
    with pytest.raises(DatasetError, match=r"no field 'z' in events\[pos\]"):
        small(path, "events[pos][z]", None)
    with pytest.raises(DatasetError, match=r"which has no fields: leave 'z' out"):
        small(path, "events[pos][x][z]", None)
    with pytest.raises(NoDatasetError, match="no dataset 'other'"):
        small(path, "other[z]", None)
    with pytest.raises(DatasetError, match=r"holds records.*name a field, as in 'events\[pos\]'"):
        small(path, "events", None)


def test_the_fixed_form_of_pandas_is_plain_arrays(foreign: dict[str, Path]) -> None:
    with small(foreign["pandas-fixed"], "frame/block0_values", None, shuffle=False) as train:
        assert train._feed.shards.dataset("frame/block0_values").way == "contiguous"
        found = np.concatenate([x.copy() for (x,) in train])
    np.testing.assert_array_equal(found, np.arange(N)[:, None] / [4, 8])


@pytest.mark.parametrize("kind", ["pytables-zlib", "pandas"])
def test_a_model_is_trained_on_fields(foreign: dict[str, Path], model: Any, kind: str) -> None:
    path, name = foreign[kind], FOREIGN[kind]
    widen = lambda x, y: (np.repeat(x[:, None], WIDTH, axis=1), y)  # noqa: E731
    with PrefetchSequence(path, f"{name}[id]", f"{name}[id]", transform=widen) as train:
        history = model.fit(train, epochs=2, verbose=0)
    assert history.history["loss"] == [0.0] * 2
    assert_each(model, N, times=2)
