"""Packed numbers come as NetCDF's own library unpacks them."""

from __future__ import annotations

import ast
import json
import multiprocessing
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from helpers import netcdf
from helpers.files import WIDTH
from helpers.models import assert_each
from helpers.sequences import small
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

import prefetcher
from prefetcher import DatasetError, Field, Unpacked, Window
from prefetcher.cli import main
from prefetcher.columns.column import Packing, Stored

N = 60
NUMBERS = np.arange(N * 3).reshape(N, 3)


_processes: list[ProcessPoolExecutor] = []


@pytest.fixture(scope="module", autouse=True)
def _netcdf_beside() -> Iterator[None]:
    """NetCDF's library has a process of its own: copies of HDF5 take each other's filters."""
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as process:
        _processes.append(process)
        yield
        _processes.clear()


def write(path: Path, kind: str = "i2", **attributes: Any) -> Path:
    """A NetCDF file whose `t` is stored as `kind`, with these attributes, and `id`."""
    packed = (NUMBERS * 7 - 300).astype(kind)
    _processes[0].submit(netcdf.write, path, packed, attributes).result()
    return path


def by_netcdf(path: Path) -> NDArray[np.float32]:
    """The values as NetCDF's library has them, NaN where it masks them."""
    return _processes[0].submit(netcdf.unpacked, path).result()


def check(path: Path, column: Any = None) -> NDArray[Any]:
    """A pass gives each row as NetCDF's library does."""
    expected = by_netcdf(path)
    with small(path, column or Unpacked("t"), "id") as train:
        seen = []
        for x, y in train:
            assert x.dtype == np.float32
            np.testing.assert_array_equal(x, expected[y])
            seen += y.tolist()
    assert sorted(seen) == list(range(N))
    return expected


@pytest.mark.parametrize("kind", ["i1", "i2", "u2", "i4", "f4", "f8"])
def test_values_are_those_of_netcdf(tmp_path: Path, kind: str) -> None:
    scale = {"scale_factor": 0.0123, "add_offset": 273.15}
    fill = np.dtype(kind).type(50)
    expected = check(write(tmp_path / "a.nc", kind, _FillValue=fill, **scale))
    assert np.isnan(expected).any() == (50 in (NUMBERS * 7 - 300).astype(kind))


@pytest.mark.parametrize(
    "attributes",
    [
        {"scale_factor": 0.5},
        {"add_offset": np.float32(0.1)},
        {"_FillValue": np.int16(-300)},
        {"missing_value": np.int16(-293)},
        {
            "_FillValue": np.int16(-300),
            "missing_value": np.array([-293, -286], np.int16),
            "scale_factor": 2,
        },
    ],
    ids=str,
)
def test_each_attribute_alone_counts(tmp_path: Path, attributes: dict[str, Any]) -> None:
    check(write(tmp_path / "a.nc", **attributes))


def test_integers_that_are_meant_without_a_sign(tmp_path: Path) -> None:
    path = write(
        tmp_path / "a.nc", "i2", _Unsigned="true", scale_factor=0.1, _FillValue=np.int16(-300)
    )
    assert np.nanmax(check(path)) > 6500


def test_big_endian_numbers(tmp_path: Path) -> None:
    path = tmp_path / "a.h5"
    with h5py.File(path, "w") as file:
        for kind in (">i2", ">i4", ">f4"):
            file[kind[1:]] = NUMBERS.astype(kind)
            file[kind[1:]].attrs["scale_factor"] = 0.25
    for name in ("i2", "i4", "f4"):
        with small(path, Unpacked(name), None, shuffle=False) as train:
            assert (np.concatenate([x for (x,) in train]) == NUMBERS / 4).all()


def test_windows_of_them_and_them_of_windows(tmp_path: Path) -> None:
    path = write(tmp_path / "a.nc", scale_factor=0.5, _FillValue=np.int16(-293))
    expected = by_netcdf(path)
    for column in (Window(Unpacked("t"), 4), Unpacked(Window("t", 4))):
        with small(path, column, "id") as train:
            for x, y in train:
                np.testing.assert_array_equal(x, expected[y[:, None] + np.arange(4)])


def test_a_field_that_is_packed(tmp_path: Path) -> None:
    path = tmp_path / "a.h5"
    rows = np.zeros(N, [("a", "i2"), ("b", "f4")])
    rows["a"] = np.arange(N)
    with h5py.File(path, "w") as file:
        file["t"] = rows
        file["t"].attrs["scale_factor"] = 0.5
    with small(path, Unpacked(Field("t", "a")), None, shuffle=False) as train:
        assert (np.concatenate([x for (x,) in train]) == np.arange(N) / 2).all()


@settings(max_examples=40)
@given(
    st.sampled_from(["i1", "u1", "<i2", ">i2", "u2", "i4", "u4", "i8", "f4", "f8"]),
    st.floats(-1e3, 1e3),
    st.floats(-1e6, 1e6),
    st.lists(st.integers(-200, 200), max_size=3),
    st.booleans(),
    st.integers(0, 2**32),
)
def test_each_number_is_worked_out_in_float64_and_rounded_once(
    kind: str, scale: float, offset: float, fills: list[int], unsigned: bool, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    stored = rng.integers(-200, 200, (11, 5)).astype(kind)
    packing = Packing(scale, offset, tuple(map(float, fills)), unsigned)
    value = Unpacked("t").value(Stored(stored.dtype, (5,), packing=packing))
    assert (value.dtype, value.shape) == (np.dtype(np.float32), (5,))
    plain = stored.astype(stored.dtype.newbyteorder("="))
    missing = np.isin(plain.astype(float), fills)
    meant = plain.view(f"u{plain.itemsize}") if unsigned and plain.dtype.kind == "i" else plain
    expected = (meant.astype(np.float64) * scale + offset).astype(np.float32)
    np.testing.assert_array_equal(
        value.make(stored), np.where(missing, np.float32(np.nan), expected)
    )


def test_what_is_not_packed_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "a.nc")
    with pytest.raises(DatasetError, match=r"x=Unpacked.t.: none of its attributes .* write 't'"):
        small(path, Unpacked("t"), "id")
    with h5py.File(tmp_path / "b.h5", "w") as file:
        file["t"] = np.zeros(N, [("a", "i2")])
        file["t"].attrs["scale_factor"] = 2.0
    with pytest.raises(DatasetError, match="packed values are"):
        small(tmp_path / "b.h5", Unpacked("t"), None)


@pytest.mark.parametrize("value", ["2", np.zeros(0), np.zeros(100), h5py.Empty("f4"), 1j])
def test_attributes_of_no_meaning_are_none(tmp_path: Path, value: Any) -> None:
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["t"] = NUMBERS
        file["t"].attrs["scale_factor"] = value
    with small(tmp_path / "a.h5", "t", None, shuffle=False) as train:
        assert train._feed.shards.dataset("t").packing is None


def test_inspect_names_what_is_packed_and_proposes_the_column(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write(tmp_path / "a.nc", scale_factor=0.5, add_offset=3.0, _FillValue=np.int16(-293))
    main(["inspect", str(path)])
    told = capsys.readouterr().out
    line = "t is packed (scale_factor 0.5, add_offset 3, no value where -293): Unpacked('t') gives"
    assert line in told
    python = told.strip().splitlines()[-1]
    assert "x=prefetcher.Unpacked('t')" in python
    ast.parse(python)
    with eval(python, {"prefetcher": prefetcher}) as train:
        assert train[0][0].dtype == np.float32
    main(["inspect", "--json", str(path)])
    (t,) = (d for d in json.loads(capsys.readouterr().out)["datasets"] if d["name"] == "t")
    assert t["packing"] == {"scale": 0.5, "offset": 3.0, "fills": [-293.0], "unsigned": False}


def test_a_model_is_trained_on_them(tmp_path: Path, model: Any) -> None:
    ids = np.repeat(np.arange(N)[:, None], WIDTH, axis=1)
    path = tmp_path / "a.nc"
    packed, attributes = (4 * ids + 8).astype("i2"), {"scale_factor": 0.25, "add_offset": -2.0}
    _processes[0].submit(netcdf.write, path, packed, attributes).result()
    with small(path, Unpacked("t"), "id") as train:
        history = model.fit(train, epochs=1, verbose=0)
    assert history.history["loss"] == [0.0]
    assert_each(model, N, times=1)
