"""Packed numbers come as NetCDF's own library unpacks them."""

from __future__ import annotations

import ast
import json
import re
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

import prefetcher
from prefetcher import DatasetError, Field, PrefetchSequence, Row, Unpacked, Window
from prefetcher.cli import main
from prefetcher.columns.column import Packing, Stored

N = 60
NUMBERS = np.arange(N * 3).reshape(N, 3)


@pytest.fixture(scope="module")
def foreign(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return write_all(tmp_path_factory.mktemp("packed"), ["packing"])


def write(path: Path, **attributes: Any) -> Path:
    """A file whose `t` is int16, with these attributes, and `id`."""
    with h5py.File(path, "w") as file:
        file["t"] = NUMBERS.astype("i2")
        file["t"].attrs.update(attributes)
        file["id"] = np.arange(N, dtype=np.int32)
    return path


def check(path: Path) -> NDArray[Any]:
    """A pass gives each row as NetCDF's library does."""
    expected: NDArray[Any] = np.load(path.with_suffix(".npy"))
    with small(path, Unpacked("t"), "id") as train:
        seen = []
        for x, y in train:
            assert x.dtype == np.float32
            np.testing.assert_array_equal(x, expected[y])
            seen += y.tolist()
    assert sorted(seen) == list(range(N))
    return expected


@pytest.mark.parametrize("kind", ["i1", "i2", "u2", "i4", "f4", "f8"])
def test_values_are_those_of_netcdf(foreign: dict[str, Path], kind: str) -> None:
    check(foreign[kind])


@pytest.mark.parametrize("name", ["scale", "offset", "fill", "missing", "all"])
def test_each_attribute_alone_counts(foreign: dict[str, Path], name: str) -> None:
    assert np.isnan(check(foreign[name])).any() == (name in ("fill", "missing", "all"))


def test_integers_that_are_meant_without_a_sign(foreign: dict[str, Path]) -> None:
    assert np.nanmax(check(foreign["unsigned"])) > 6500


def test_big_endian_numbers(tmp_path: Path) -> None:
    path = tmp_path / "a.h5"
    with h5py.File(path, "w") as file:
        for kind in (">i2", ">i4", ">f4"):
            file[kind[1:]] = NUMBERS.astype(kind)
            file[kind[1:]].attrs["scale_factor"] = 0.25
    for name in ("i2", "i4", "f4"):
        with small(path, Unpacked(name), None, shuffle=False) as train:
            assert (np.concatenate([x for (x,) in train]) == NUMBERS / 4).all()


def test_windows_of_them_and_them_of_windows(foreign: dict[str, Path]) -> None:
    path = foreign["all"]
    expected = np.load(path.with_suffix(".npy"))
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


@pytest.mark.parametrize("value", [np.zeros(0), h5py.Empty("f4")])
def test_attributes_of_no_meaning_are_none(tmp_path: Path, value: Any) -> None:
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["t"] = NUMBERS
        file["t"].attrs["scale_factor"] = value
    with small(tmp_path / "a.h5", "t", None, shuffle=False) as train:
        assert train._feed.shards.dataset("t").packing is None


@pytest.mark.parametrize(
    ("attributes", "says"),
    [
        ({"scale_factor": [0.1, 0.2]}, "scale_factor has 2 numbers, where one number is expected"),
        ({"scale_factor": "0.1"}, r"scale_factor is text \(0.1\), where one number is expected"),
        ({"add_offset": 1j}, r"add_offset is complex128 \(1j\), where one number is expected"),
        ({"_FillValue": np.zeros(100)}, "_FillValue has 100 numbers, where one number is"),
        ({"missing_value": "none"}, r"missing_value is text \(none\), where 1 to 16 numbers are"),
    ],
)
def test_an_attribute_that_is_no_number_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], attributes: dict[str, Any], says: str
) -> None:
    """As a number is read, so is what it is packed by; and the rows as they are stored."""
    path = write(tmp_path / "a.h5", **attributes)
    with pytest.raises(DatasetError, match=f"x=Unpacked.t.: it cannot be unpacked.*{says}.*'t'"):
        small(path, Unpacked("t"), None)
    with small(path, "t", None, shuffle=False) as train:
        assert (train[0][0] == NUMBERS[: len(train[0][0])]).all()
    assert main(["inspect", str(path)]) == 0
    told = capsys.readouterr().out
    assert re.search(f"t cannot be unpacked: its attribute {says}", told)
    assert "x='t'" in told


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


YEARS: list[dict[str, Any]] = [
    {"scale_factor": 0.5, "add_offset": 1.0},
    {"scale_factor": 2.0, "_FillValue": np.int16(3)},
    {"scale_factor": 0.5, "add_offset": 1.0},
    {"scale_factor": 0.25, "missing_value": np.int16(4)},
]


def years(folder: Path) -> tuple[Path, Any]:
    """A file of ten hours for each year, and what they stand for (hours, 2)."""
    stored = np.arange(80, dtype="i2").reshape(4, 10, 2) % 9
    values = []
    for number, attributes in enumerate(YEARS):
        with h5py.File(folder / f"{number}.nc", "w") as file:
            file["t"] = stored[number]
            file["t"].attrs.update(attributes)
            file["id"] = np.arange(10) + 10 * number
        filled = [float(each) for name, each in attributes.items() if "_F" in name or "_v" in name]
        year = stored[number] * attributes["scale_factor"] + attributes.get("add_offset", 0.0)
        values.append(np.where(np.isin(stored[number], filled), np.nan, year).astype("f4"))
    return folder / "?.nc", np.concatenate(values)


@pytest.mark.parametrize("shuffle", [True, False])
def test_each_file_is_unpacked_as_it_says(tmp_path: Path, shuffle: bool) -> None:
    """NetCDF, a file for each year, with the scale that fits the year."""
    pattern, values = years(tmp_path)
    with small(pattern, Unpacked("t"), "id", shuffle=shuffle, batchers=2) as train:
        seen = []
        for x, y in train:
            assert x.dtype == np.float32
            np.testing.assert_array_equal(x, values[y])
            seen += y.tolist()
    assert sorted(seen) == list(range(40))


def test_windows_of_files_that_are_packed_in_several_ways(tmp_path: Path) -> None:
    pattern, values = years(tmp_path)
    x = {"inner": Window(Unpacked("t"), 3, ahead=-1, pad="edge"), "outer": Row(Unpacked("t"))}
    with small(pattern, x, "id") as train:
        for x, y in train:
            year = y // 10 * 10
            at = np.clip(y[:, None] + [-1, 0, 1], year[:, None], year[:, None] + 9)
            np.testing.assert_array_equal(x["inner"], values[at])
            np.testing.assert_array_equal(x["outer"], values[y])


def test_files_of_several_keys_are_unpacked_by_their_own_cuts(tmp_path: Path) -> None:
    pattern, values = years(tmp_path)
    with h5py.File(tmp_path / "ids.h5", "w") as file:
        file["id"] = np.arange(40)
    files = {"x": pattern, "y": [tmp_path / "ids.h5"]}
    with PrefetchSequence(files, Unpacked("t"), "id", batch_size=7) as train:
        for x, y in train:
            np.testing.assert_array_equal(x, values[y])


def test_files_with_nan_for_no_value_are_packed_alike(tmp_path: Path) -> None:
    """xarray writes it into every file of floats. Two NaN are not equal."""
    for number in range(2):
        with h5py.File(tmp_path / f"{number}.nc", "w") as file:
            file["t"] = np.array([1, np.nan, 3], "f4")
            file["t"].attrs["_FillValue"] = np.float32(np.nan)
    with small(tmp_path / "?.nc", Unpacked("t"), None, shuffle=False) as train:
        first, second = train._feed.shards.parts("t")
        assert first.packing == second.packing
        np.testing.assert_array_equal(train[0][0], [1, np.nan, 3, 1])


def test_a_file_that_is_not_packed_beside_some_that_are(tmp_path: Path) -> None:
    pattern, _ = years(tmp_path)
    with h5py.File(tmp_path / "2.nc", "a") as file:
        del file["t"].attrs["scale_factor"], file["t"].attrs["add_offset"]
    with pytest.raises(DatasetError, match=r"t is packed in 0\.nc \(.*\), and not in 2\.nc: give"):
        small(pattern, Unpacked("t"), None)


def test_a_manifest_leaves_them_to_the_files(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """It does not hold attributes, and each file may have its own."""
    pattern, _ = years(tmp_path)
    assert main(["manifest", str(pattern), "--out", str(tmp_path / "t.json")]) == 0
    capsys.readouterr()
    with (
        small(tmp_path / "t.json", Unpacked("t"), "id", shuffle=False) as told,
        small(pattern, Unpacked("t"), "id", shuffle=False) as looked_up,
    ):
        for (x, _), (same, _) in zip(told, looked_up, strict=True):
            np.testing.assert_array_equal(x, same)


def test_a_model_is_trained_on_them(tmp_path: Path, model: Any) -> None:
    path = tmp_path / "a.nc"
    ids = np.repeat(np.arange(N)[:, None], WIDTH, axis=1)
    with h5py.File(path, "w") as file:
        file["x"] = ((ids + 2) * 4).astype("i2")
        file["x"].attrs.update(scale_factor=0.25, add_offset=-2.0)
        file["y"] = np.arange(N, dtype=np.float32)
    with small(path, Unpacked("x"), "y") as train:
        history = model.fit(train, epochs=1, verbose=0)
    assert history.history["loss"] == [0.0]
    assert_each(model, N, times=1)
