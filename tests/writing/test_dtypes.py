"""Every dtype that a file can hold comes back as it was, and the others are refused by name."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray

import prefetcher
from prefetcher import DatasetError, HDF5Writer, SettingsError

SCALARS = st.one_of(
    hnp.boolean_dtypes(),
    hnp.integer_dtypes(endianness="?"),
    hnp.unsigned_integer_dtypes(endianness="?"),
    hnp.floating_dtypes(endianness="?", sizes=(16, 32, 64)),
    hnp.complex_number_dtypes(endianness="?", sizes=(64, 128)),
    hnp.byte_string_dtypes(min_len=1, max_len=9),
    st.integers(1, 9).map(lambda size: np.dtype(f"V{size}")),
)
DTYPES = st.one_of(
    SCALARS,
    st.tuples(st.lists(SCALARS, min_size=1, max_size=3), st.booleans()).map(
        lambda drawn: np.dtype([(f"f{n}", each) for n, each in enumerate(drawn[0])], align=drawn[1])
    ),
)
"""What HDF5 has numbers, text and opaque bytes for, and structures of them, with padding or not."""


@st.composite
def rows(draw: st.DrawFn) -> NDArray[Any]:
    """Rows of any dtype and any bits: trailing NULs, NaNs with a payload, negative zeros."""
    dtype = draw(DTYPES)
    shape = (draw(st.integers(1, 70)), *draw(hnp.array_shapes(min_dims=0, max_dims=2, max_side=3)))
    some = draw(st.binary(min_size=dtype.itemsize, max_size=4 * dtype.itemsize))
    filled = np.resize(np.frombuffer(some, np.uint8), int(np.prod(shape)) * dtype.itemsize)
    if _holds_booleans(dtype):  # any other bits are no booleans
        filled &= 1
    return filled.view(dtype).reshape(shape)


def _holds_booleans(dtype: np.dtype[Any]) -> bool:
    fields: Any = dtype.fields or {}
    base = dtype.subdtype[0] if dtype.subdtype else dtype
    return base.kind == "b" or any(_holds_booleans(field[0]) for field in fields.values())


def bits(values: NDArray[Any]) -> list[bytes]:
    """The bytes of every field; what pads them stands for nothing."""
    if values.dtype.names is None:
        return [values.tobytes()]
    return [part for name in values.dtype.names for part in bits(values[name])]


@given(rows(), st.sampled_from(["none", "gzip"]))
def test_the_writer_gives_back_the_very_bytes(data: NDArray[Any], codec: Any) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "data.h5")
        with HDF5Writer(path, {"a": (data.shape[1:], data.dtype)}, codec=codec) as out:
            out.append({"a": data[:3]})
            out.append({"a": data[3:]})
        with h5py.File(path) as file:
            assert file["a"].dtype == data.dtype
            assert bits(file["a"][:]) == bits(data)


@given(rows())
def test_convert_gives_back_the_very_values(data: NDArray[Any]) -> None:
    """In native byte order, which every backend takes."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "data.h5")
        prefetcher.convert({"a": data}, path)
        again = Path(folder, "again.h5")
        prefetcher.convert(path, again)
        native = data.astype(data.dtype.newbyteorder("="))
        for made in (path, again):
            with h5py.File(made) as file:
                assert bits(file["a"][:]) == bits(native)


@pytest.mark.parametrize(
    "values", [[b"ab", b"a", b""], [b"\0\0", b"a\0", b""], [b"", b"", b""]], ids=str
)
@pytest.mark.parametrize("shape", [(3,), (3, 1)])
def test_strings_shorter_than_their_size(
    tmp_path: Path, values: list[bytes], shape: tuple[int, ...]
) -> None:
    data = np.array(values, "S6").reshape(shape)
    prefetcher.convert({"a": data}, tmp_path / "data.h5")
    with h5py.File(tmp_path / "data.h5") as file:
        assert file["a"][:].tobytes() == data.tobytes()


@pytest.mark.parametrize("dtype", ["U3", "M8[s]", "m8[ns]", "S0", "V0"])
def test_a_dtype_that_hdf5_has_not_is_refused_with_what_to_write(
    tmp_path: Path, dtype: str
) -> None:
    with pytest.raises(SettingsError, match=r"a=.*: .*'S32'"):
        HDF5Writer(tmp_path / "data.h5", a=((), dtype))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("kept", ["float64", "complex128"])
def test_not_a_number_may_become_wider(tmp_path: Path, kept: str) -> None:
    with HDF5Writer(tmp_path / "data.h5", a=((), kept)) as out:
        out.append(a=np.array([1, np.nan], "float32" if kept == "float64" else "complex64"))
    with h5py.File(tmp_path / "data.h5") as file:
        assert np.isnan(file["a"][1])


def test_padding_of_elements_is_no_damage(tmp_path: Path) -> None:
    """Bytes that stand for nothing, in whole storage chunks and in one that is not full."""
    padded = np.dtype([("a", "?"), ("b", "f8")], align=True)
    for dtype in (padded, np.dtype("longdouble"), np.dtype("clongdouble")):
        data: Any = np.full((70_000, dtype.itemsize), 1, np.uint8).view(dtype)[:, 0]
        if dtype is padded:
            data["a"], data["b"] = 1, 2.5
        else:
            data[:] = 2.5
        for codec in ("none", "gzip"):
            with HDF5Writer(tmp_path / "data.h5", a=((), dtype), codec=codec) as out:
                out.append(a=data)
            with h5py.File(tmp_path / "data.h5") as file:
                assert (file["a"][:] == data).all()


@pytest.mark.parametrize("dtype", ["U3", "M8[s]"])
def test_convert_refuses_such_arrays_by_name(tmp_path: Path, dtype: str) -> None:
    with pytest.raises(
        DatasetError, match=r"a in arrays is .*, which HDF5 does not have: store numbers"
    ):
        prefetcher.convert({"a": np.zeros(3, dtype)}, tmp_path / "data.h5")
    assert not list(tmp_path.iterdir())
