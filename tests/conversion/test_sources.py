"""Arrays, other HDF5 files and iterators: their rows arrive, whatever they were stored as."""

from __future__ import annotations

import pickle
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from numpy.typing import NDArray

import prefetcher
from prefetcher import convert
from prefetcher.conversion.arrays import array_source
from prefetcher.conversion.options import Options
from prefetcher.errors import (
    DatasetError,
    FileError,
    FileMissingError,
    NoDatasetError,
    SettingsError,
)
from prefetcher.hdf5.attributes import read_attributes

X = np.random.default_rng(0).integers(0, 999, (1000, 30, 20)).astype(np.int32)
Y = np.linspace(0, 1, 1000)


def rows_of(path: Path, *names: str) -> list[NDArray[Any]]:
    with h5py.File(path) as file:
        return [file[name][:] for name in names]


@pytest.mark.parametrize("form", ["C", "F", "big-endian"])
def test_npy(tmp_path: Path, form: str) -> None:
    array = {"C": X, "F": np.asfortranarray(X), "big-endian": X.astype(">i4")}[form]
    np.save(tmp_path / "images.npy", array)
    converted = convert(tmp_path / "images.npy", tmp_path / "out.h5")
    assert converted.rows == 1000
    (found,) = rows_of(tmp_path / "out.h5", "images")
    assert np.array_equal(found, X)
    assert found.dtype == np.int32
    assert read_attributes(tmp_path / "out.h5").x == "images"


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_npz(tmp_path: Path, save: Any) -> None:
    save(tmp_path / "data.npz", images=X, angles=Y)
    convert(tmp_path / "data.npz", tmp_path / "out.h5")
    images, angles = rows_of(tmp_path / "out.h5", "images", "angles")
    assert np.array_equal(images, X)
    assert np.array_equal(angles, Y)
    said = read_attributes(tmp_path / "out.h5")
    assert (said.x, said.y, said.source) == ("images", "angles", "data.npz")


def test_files_are_mapped_not_read(tmp_path: Path) -> None:
    """What travels to a worker is a path and row numbers; an array in memory travels as rows."""
    np.savez(tmp_path / "data.npz", images=X)
    source = array_source(tmp_path / "data.npz", Options())
    assert len(pickle.dumps(source.part(np.arange(10)))) < 2000
    held = array_source({"images": X}, Options()).part(np.arange(10))
    assert X[:10].nbytes < len(pickle.dumps(held)) < X[:10].nbytes + 2000
    source.close()


def test_arrays_in_memory_and_files_together(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", X)
    source = {"images": tmp_path / "a.npy", "angles": Y}
    convert(source, tmp_path / "out.h5", shuffle=True, seed=3)
    images, angles = rows_of(tmp_path / "out.h5", "images", "angles")
    order = np.argsort(angles)
    assert order.tolist() != list(range(1000))
    assert np.array_equal(images[order], X)


def test_arrays_that_do_not_fit(tmp_path: Path) -> None:
    out = tmp_path / "out.h5"
    with pytest.raises(DatasetError, match="as many rows"):
        convert({"x": X, "y": Y[:5]}, out)
    with pytest.raises(DatasetError, match="Python objects"):
        convert({"x": np.array([None, {}])}, out)
    with pytest.raises(NoDatasetError, match="it has x"):
        convert({"x": X}, out, x="images")
    np.save(tmp_path / "a.npy", X)
    with (tmp_path / "a.npy").open("r+b") as file:
        file.truncate(5000)
    with pytest.raises(FileError, match="cut short"):
        convert(tmp_path / "a.npy", out)
    (tmp_path / "a.npy").write_bytes(b"junk" * 30)
    with pytest.raises(FileError, match="not an array"):
        convert(tmp_path / "a.npy", out)
    (tmp_path / "a.npz").write_bytes(b"junk" * 30)
    with pytest.raises(FileError, match=r"not an \.npz"):
        convert(tmp_path / "a.npz", out)
    with pytest.raises(FileMissingError):
        convert({"x": tmp_path / "none.npy"}, out)
    with pytest.raises(FileMissingError):
        convert(tmp_path / "none.npy", out)
    assert not out.exists()


@pytest.fixture
def old(tmp_path: Path) -> Path:
    """As PyTables appends to an EArray: small storage chunks, compressed, its own attributes."""
    with h5py.File(tmp_path / "old.h5", "w") as file:
        file.attrs["PYTABLES_FORMAT_VERSION"] = "2.1"
        images = file.create_dataset(
            "data/images", data=X, chunks=(3, 30, 20), maxshape=(None, 30, 20), compression="lzf"
        )
        images.attrs.update({"CLASS": "EARRAY", "EXTDIM": 0, "VERSION": "1.1"})
        file["data/angles"] = Y.astype(">f8")
    return tmp_path / "old.h5"


@pytest.mark.parametrize("shuffle", [False, True])
def test_an_hdf5_file_is_packed_anew(tmp_path: Path, old: Path, shuffle: bool) -> None:
    out = tmp_path / "out.h5"
    convert(old, out, x="data/images", y="data/angles", codec="gzip", shuffle=shuffle)
    images, angles = rows_of(out, "images", "angles")
    order = np.argsort(angles)
    assert (order.tolist() == list(range(1000))) != shuffle
    assert np.array_equal(images[order], X)
    with h5py.File(out) as file:
        assert file["images"].chunks == (435, 30, 20)  # 1 MiB of pictures and angles
        assert file["images"].compression == "gzip"
        assert file["angles"].dtype == np.dtype("<f8")


def test_a_file_of_ours_needs_no_names(tmp_path: Path, old: Path) -> None:
    convert(old, tmp_path / "a.h5", x="data/images", y="data/angles")
    convert(tmp_path / "a.h5", tmp_path / "b.h5", shuffle=True)
    said = read_attributes(tmp_path / "b.h5")
    assert (said.x, said.y) == ("images", "angles")


def test_hdf5_files_that_do_not_fit(tmp_path: Path, old: Path) -> None:
    out = tmp_path / "out.h5"
    with pytest.raises(DatasetError, match="write x="):
        convert(old, out)
    with pytest.raises(NoDatasetError, match="angles"):
        convert(old, out, x="pictures")
    with h5py.File(old, "a") as file:
        file["data/short"] = Y[:9]
        file["images"] = X
    with pytest.raises(DatasetError, match="as many rows"):
        convert(old, out, x="data/images", y="data/short")
    with pytest.raises(SettingsError, match="same last name"):
        convert(old, out, x=("data/images", "images"))
    with pytest.raises(SettingsError, match="another name"):
        convert(old, old, x="images")
    with pytest.raises(SettingsError, match="encoded pictures"):
        convert(old, out, x="images", size=(8, 8))
    assert not out.exists()


def test_damaged_storage_is_an_error_whatever_on_error_says(tmp_path: Path, old: Path) -> None:
    with h5py.File(old) as file:
        at = file["data/images"].id.get_chunk_info(50).byte_offset
    content = bytearray(old.read_bytes())
    content[at : at + 60] = b"\xff" * 60
    old.write_bytes(content)
    with pytest.raises(prefetcher.ReadError, match="data/images"):
        convert(old, tmp_path / "out.h5", x="data/images", on_error="skip")
    assert not (tmp_path / "out.h5").exists()


def samples() -> Iterator[tuple[NDArray[np.int32], float]]:
    yield from zip(X, Y.tolist(), strict=True)


@pytest.mark.parametrize("codec", ["none", "gzip", "auto"])
def test_an_iterator(tmp_path: Path, codec: Any) -> None:
    done: list[int] = []
    out = tmp_path / "out.h5"
    converted = convert(samples(), out, codec=codec, progress=lambda more, _: done.append(more))
    assert converted.rows == sum(done) == 1000
    assert len(done) > 1
    x, y = rows_of(out, "x", "y")
    assert np.array_equal(x, X)
    assert np.array_equal(y, Y)
    said = read_attributes(out)
    assert (said.x, said.y, said.source) == ("x", "y", "iterator")


def test_an_iterator_of_named_values(tmp_path: Path) -> None:
    convert(({"pixels": x, "mean": x.mean()} for x in X[:9]), tmp_path / "out.h5")
    said = read_attributes(tmp_path / "out.h5")
    assert (said.x, said.y) == ("pixels", "mean")


def test_an_iterator_without_the_named_values(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"x='pixel': .* did you mean 'pixels'"):
        convert(iter([{"pixels": X[0]}]), tmp_path / "out.h5", x="pixel")
    assert not list(tmp_path.iterdir())


def test_an_iterator_that_breaks_leaves_nothing(tmp_path: Path) -> None:
    def broken() -> Iterator[NDArray[np.int32]]:
        yield from X
        raise RuntimeError("the camera fell off")

    with pytest.raises(RuntimeError, match="camera"):
        convert(broken(), tmp_path / "out.h5")
    with pytest.raises(DatasetError, match="no sample"):
        convert(iter(()), tmp_path / "out.h5")
    with pytest.raises(DatasetError, match="differ in x"):
        convert([X[0], X[1][:3]], tmp_path / "out.h5")
    with pytest.raises(SettingsError, match="shuffle needs to know"):
        convert(samples(), tmp_path / "out.h5", shuffle=True)
    assert not list(tmp_path.iterdir())
