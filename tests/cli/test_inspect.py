"""`prefetcher inspect`: the file as it is, and a line of Python that works."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

import prefetcher
from prefetcher.cli import main
from prefetcher.cli.inspect import guess
from prefetcher.hdf5.describe import describe


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "[road].h5"
    with h5py.File(path, "w") as made:
        made["images"] = np.zeros((40, 8, 8, 3), np.uint8)
        made["angles"] = np.zeros(40, np.float32)
        made.create_dataset("packed", data=np.zeros((40, 6)), chunks=(5, 3), compression="gzip")
        made["group/mean"] = 0.5
    return path


def as_json(capsys: pytest.CaptureFixture[str], *words: str) -> dict[str, Any]:
    assert main(["inspect", *words, "--json"]) == 0
    result: dict[str, Any] = json.loads(capsys.readouterr().out)
    return result


def test_json_tells_how_each_dataset_is_stored(
    file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    found = as_json(capsys, str(file), "--batch-size", "16", "--chunk-size", "40")
    assert found["size_bytes"] == file.stat().st_size
    assert found["chunk_size"] == 32, "whole batches"
    datasets = {dataset.pop("name"): dataset for dataset in found["datasets"]}
    assert set(datasets) == {"images", "angles", "packed", "group/mean"}
    images, packed = datasets["images"], datasets["packed"]
    assert images["shape"] == [40, 8, 8, 3]
    assert images["layout"] == "contiguous"
    assert images["decoded_bytes"] == images["stored_bytes"] == 40 * 192
    assert (images["row_bytes"], images["batch_bytes"], images["chunk_bytes"]) == (192, 3072, 6144)
    assert packed["storage_chunk"] == [5, 3]
    assert packed["filters"] == ["gzip-4"]
    assert packed["ratio"] == round(40 * 48 / packed["stored_bytes"], 3) > 1
    assert all(dataset["way"] and dataset["why"] for dataset in datasets.values())
    assert (found["batch_bytes"], found["chunk_bytes"]) == (16 * 196, 32 * 196)


def test_text_shows_every_dataset_and_the_weights(
    file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["inspect", str(file)]) == 0
    text = capsys.readouterr().out
    assert str(file) in text, "brackets are no markup"
    assert "40x8x8x3" in text
    assert "storage chunks 5x3" in text
    assert "gzip-4" in text
    assert "A batch of 32 weighs 6.27 kB, a chunk of 3200 (100 batches) 7.84 kB." in text


def test_the_line_of_python_works(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    line = as_json(capsys, str(file))["python"]
    with eval(line, {"prefetcher": prefetcher}) as sequence:
        x, y = sequence[0]
    assert (x.shape, y.shape) == ((32, 8, 8, 3), (32,))


@pytest.mark.parametrize(
    ("shapes", "x", "y"),
    [
        ({"x": (9, 4), "y": (9,)}, "x", "y"),
        ({"ids": (9,), "images": (9, 8, 8), "labels": (9, 10)}, "images", "labels"),
        ({"a": (9, 5), "b": (9, 2), "c": (9,)}, "a", "c"),
        ({"a/x": (9, 5), "a/y": (9,), "b/x": (9, 4), "b/y": (9,)}, "a/x", "a/y"),
        ({"x": (9, 5), "mean": (1, 4)}, "x", None),
        ({"number": ()}, None, None),
        ({"empty": (0, 5)}, None, None),
        ({}, None, None),
    ],
)  # fmt: skip
def test_the_guess(
    tmp_path: Path, shapes: dict[str, tuple[int, ...]], x: str | None, y: str | None
) -> None:
    with h5py.File(tmp_path / "guess.h5", "w", track_order=True) as made:
        for name, shape in shapes.items():
            made.create_dataset(name, shape, "f4", track_order=True)
    found = guess(describe(tmp_path / "guess.h5").datasets)
    assert (found and found.x.name) == x
    assert (found and found.y and found.y.name) == y


def test_a_file_without_datasets(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    h5py.File(tmp_path / "empty.h5", "w").close()
    assert main(["inspect", str(tmp_path / "empty.h5")]) == 0
    assert "no dataset" in capsys.readouterr().out
    assert as_json(capsys, str(tmp_path / "empty.h5"))["python"] is None


def test_a_file_of_scalars_cannot_be_wrapped(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with h5py.File(tmp_path / "scalar.h5", "w") as made:
        made["one"] = 1
    assert main(["inspect", str(tmp_path / "scalar.h5")]) == 0
    assert "Nothing in it has rows" in capsys.readouterr().out
