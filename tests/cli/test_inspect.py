"""`prefetcher inspect`: the file as it is, and a line of Python that works."""

from __future__ import annotations

import json
from importlib.metadata import version
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from PIL import Image

import prefetcher
from prefetcher.cli import main

VERSION = version("prefetcher")


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


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """A folder of two classes."""
    for name in ("cat", "dog"):
        (tmp_path / "photos" / name).mkdir(parents=True)
        for number in range(5):
            Image.new("RGB", (8, 8), (number, 0, 0)).save(
                tmp_path / "photos" / name / f"{number}.png"
            )
    return tmp_path / "photos"


def wrapped(found: dict[str, Any]) -> prefetcher.PrefetchSequence:
    """What the line to paste makes."""
    sequence: prefetcher.PrefetchSequence = eval(found["python"], {"prefetcher": prefetcher})
    return sequence


def test_a_file_that_knows_its_names_needs_none(
    pictures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out.h5"
    prefetcher.convert(pictures, out, size=(4, 4))
    found = as_json(capsys, str(out))
    says = found["says"]
    assert (says["x"], says["y"], says["splits"]) == ("images", "labels", {})
    assert says["class_names"] == {"labels": ["cat", "dog"]}
    assert (says["source"], says["version"]) == ("photos", VERSION)
    assert (says["arguments"]["size"], says["arguments"]["seed"]) == ([4, 4], 0)
    assert found["python"] == f"prefetcher.PrefetchSequence({str(out)!r})"
    with wrapped(found) as sequence:
        assert sequence[0][0].shape == (10, 4, 4, 3)
    assert main(["inspect", str(out)]) == 0
    text = capsys.readouterr().out
    assert f"prefetcher {VERSION} made it from photos, with size=[4, 4]" in text
    assert "Inputs: images, targets: labels." in text
    assert "Classes of labels: 0 cat, 1 dog." in text
    assert "seed=0" in text
    assert "split=" not in text, "what was not set is not told"


def test_label_columns_and_splits(
    pictures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    table, out = tmp_path / "log.csv", tmp_path / "out.h5"
    lines = [f"cat/{number}.png,{number / 2},kind {number}" for number in range(5)]
    table.write_text("\n".join(["path,angle,kind", *lines]))
    prefetcher.convert(pictures, out, labels=table, split={"a": 0.5, "b": 0.5})
    found = as_json(capsys, str(out))
    assert found["says"]["splits"] == {
        name: {"x": f"{name}/images", "y": [f"{name}/angle", f"{name}/kind"]} for name in "ab"
    }
    assert set(found["says"]["class_names"]) == {"a/kind", "b/kind"}
    with wrapped(found) as sequence:
        assert len(sequence[0][1]) == 2
    assert main(["inspect", str(out)]) == 0
    text = capsys.readouterr().out
    assert "Inputs: b/images, targets: b/angle, b/kind." in text
    assert 'labels="log.csv"' in text


def test_many_classes_are_cut_short(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with h5py.File(tmp_path / "many.h5", "w") as made:
        made["y"] = np.zeros(9)
        made["y"].attrs["class_names"] = json.dumps([f"class {number}" for number in range(30)])
    assert main(["inspect", str(tmp_path / "many.h5")]) == 0
    text = capsys.readouterr().out
    assert "7 class 7, and 22 more." in text
    assert "made it" not in text


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
