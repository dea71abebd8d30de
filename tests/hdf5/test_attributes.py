"""What a file says about itself, and files that say nothing or something else."""

from __future__ import annotations

from pathlib import Path

import h5py
import pytest

from prefetcher.errors import FileMissingError, NoDatasetError
from prefetcher.hdf5.attributes import Attributes, encode, read_attributes


@pytest.fixture
def file(tmp_path: Path) -> Path:
    with h5py.File(tmp_path / "data.h5", "w") as file:
        file.attrs.update(encode({"splits": ["train"], "source": "photos", "x": None}))
        group = file.create_group("train")
        group.attrs.update(encode({"x": "images", "y": ["kind", "angle"]}))
        group["kind"] = [0, 1]
        group["kind"].attrs.update(encode({"class_names": ["cat", "dog"]}))
    return tmp_path / "data.h5"


def test_a_group_with_its_prefix(file: Path) -> None:
    said = read_attributes(file, "train")
    assert (said.x, said.y) == ("train/images", ("train/kind", "train/angle"))
    assert said.class_names == {"train/kind": ("cat", "dog")}
    assert (said.splits, said.source) == (("train",), "photos")


def test_the_file_itself(file: Path) -> None:
    said = read_attributes(file)
    assert (said.x, said.y, said.splits) == (None, None, ("train",))


def test_no_such_group(file: Path) -> None:
    with pytest.raises(NoDatasetError, match="it has train"):
        read_attributes(file, "val")
    with pytest.raises(FileMissingError):
        read_attributes(file.with_name("none.h5"))


def test_a_file_of_somebody_else(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "data.h5", "w") as file:
        file.attrs["x"] = 5.0
        file.attrs["y"] = "not JSON"
        file["link"] = h5py.ExternalLink("other.h5", "/")
    assert read_attributes(tmp_path / "data.h5") == Attributes()


@pytest.mark.parametrize("value", ["5", "[5]", '{"a": 1}', "true", '["lost", "data"]'])
def test_json_of_somebody_else(tmp_path: Path, value: str) -> None:
    """Names that are no names, and splits that are no groups of the file."""
    with h5py.File(tmp_path / "data.h5", "w") as file:
        file["data"] = [0]
        for name in ("splits", "source", "prefetcher_version", "class_names"):
            file.attrs[name] = file["data"].attrs[name] = value
        if "lost" not in value:
            file.attrs["x"] = file.attrs["y"] = value
    said = read_attributes(tmp_path / "data.h5")
    assert (said.x, said.y, said.splits, said.source, said.version) == (None, None, (), None, None)
    assert said.class_names == ({"data": ("lost", "data")} if "lost" in value else {})


def test_more_class_names_than_an_attribute_holds_as_a_list(tmp_path: Path) -> None:
    names = tuple(f"a rather long name of class {number}" for number in range(20_000))
    with h5py.File(tmp_path / "data.h5", "w") as file:
        file["y"] = [0]
        file["y"].attrs.update(encode({"class_names": names}))
    assert read_attributes(tmp_path / "data.h5").class_names == {"y": names}
