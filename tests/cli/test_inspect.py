"""`prefetcher inspect`: the file as it is, and a line of Python that works."""

from __future__ import annotations

import json
from importlib.metadata import version
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from helpers.appending import appending
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
    assert "A batch of 32 weighs 6.27 kB, a chunk of 40 (2 batches) 7.84 kB." in text
    assert main(["inspect", str(file), "--batch-size", "100"]) == 0
    text = capsys.readouterr().out
    assert "A batch of 40 weighs 7.84 kB, a chunk of 40 (1 batch) 7.84 kB." in text


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
    assert "Nothing in it has rows of numbers" in capsys.readouterr().out


@pytest.fixture
def mixed(tmp_path: Path) -> Path:
    """A file in which some datasets cannot be read, or not trained on."""
    with h5py.File(tmp_path / "b.h5", "w") as other:
        other["x"] = np.zeros((20, 90))
    with h5py.File(tmp_path / "mixed.h5", "w") as made:
        made["numbers"] = np.zeros((20, 3), np.float32)
        made["marks"] = np.zeros(20, bool)
        made["out"] = h5py.ExternalLink(str(tmp_path / "b.h5"), "/x")
        made["few"] = np.zeros((1, 50))
        made["text"] = np.array([b"a" * 50] * 20)
        made["records"] = np.zeros(20, [("a", "f8", (50,))])
        made["complex"] = np.zeros((20, 50), complex)
        made["wide"] = np.zeros((20, 50), np.longdouble)
        made["bytes"] = np.zeros(20, "V90")
        made["none"] = np.zeros((20, 0))
        made["label"] = np.array([b"a"] * 20)
        made.create_dataset("references", (20,), h5py.ref_dtype)
        h5py.h5d.create(made.id, b"time", h5py.h5t.UNIX_D32LE, h5py.h5s.create_simple((20,)))
    return tmp_path / "mixed.h5"


def test_only_what_would_train_is_proposed(mixed: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = as_json(capsys, str(mixed))
    assert (found["x"], found["y"]) == ("records[a]", "marks")
    with wrapped(found) as sequence:
        assert sequence[0][0].shape == (20, 50)


def test_what_cannot_be_read_is_listed_with_its_reason(
    mixed: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    refused = {each["name"]: each["refused"] for each in as_json(capsys, str(mixed))["datasets"]}
    assert "out is a link to /x in " in refused["out"]
    assert "--allow-external" in refused["out"]
    assert "its type is none of numpy's" in refused["time"]
    assert {name for name, why in refused.items() if why} == {"out", "time"}
    assert main(["inspect", str(mixed)]) == 0
    text = capsys.readouterr().out
    assert "out cannot be read: out is a link to /x in " in text
    assert "time cannot be read: its type is none of numpy's" in text


def test_links_out_of_the_file_are_followed_if_asked(
    mixed: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    found = as_json(capsys, str(mixed), "--allow-external")
    assert found["x"] == "out"
    assert "allow_external=True" in found["python"]
    assert all("--allow-external" in line for line in found["convert"])
    assert found["convert"], "h5py has to read it"
    with wrapped(found) as sequence:
        assert sequence[0][0].shape == (20, 90)


def test_a_filter_that_nothing_has_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with h5py.File(tmp_path / "a.h5", "w") as made:
        made["good"] = np.zeros((20, 2))
        properties = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
        properties.set_chunk((20,))
        properties.set_filter(32020, h5py.h5z.FLAG_OPTIONAL, ())
        space = h5py.h5s.create_simple((20,))
        h5py.h5d.create(made.id, b"packed", h5py.h5t.STD_U8LE, space, properties)
    says = "HDF5 filter 32020, which neither HDF5 nor the hdf5plugin that is installed has"
    found = as_json(capsys, str(tmp_path / "a.h5"))
    assert (found["x"], found["y"]) == ("good", None)
    assert says in found["datasets"][1]["refused"]
    with pytest.raises(prefetcher.DatasetError, match=says):
        prefetcher.PrefetchSequence(tmp_path / "a.h5", "packed", None)


def test_what_a_file_says_must_train_too(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with h5py.File(tmp_path / "a.h5", "w") as made:
        made["rows"], made["words"] = np.zeros((20, 2)), np.array([b"a"] * 20)
        made.attrs["x"], made.attrs["y"] = '"rows"', '"words"'
    found = as_json(capsys, str(tmp_path / "a.h5"))
    assert (found["x"], found["y"]) == ("rows", None)
    with wrapped(found) as sequence:
        assert len(sequence) == 1


def test_several_files_are_one_data_set(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for number in range(3):
        with h5py.File(tmp_path / f"part-{number}.h5", "w") as made:
            made["x"] = np.zeros((100, 8), np.float32)
            made["y"] = np.zeros(100, np.int32)
    pattern, listed = str(tmp_path / "part-*.h5"), sorted(map(str, tmp_path.iterdir()))
    for words in ([pattern], listed):
        found = as_json(capsys, *words)
        assert found["files"] == listed
        assert found["datasets"][0]["shape"] == [300, 8]
        with eval(found["python"], {"prefetcher": prefetcher}) as sequence:
            assert sequence.plan.num_samples == 300
    assert main(["inspect", pattern]) == 0
    assert "part-0.h5 and 2 more" in capsys.readouterr().out


def test_a_folder_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["inspect", "."]) == 1
    assert ". is a folder, not an HDF5 file" in capsys.readouterr().err


def test_a_number_that_is_none_is_named(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(["inspect", str(file), "--batch-size", "many"])
    assert "'many' is not a whole number" in capsys.readouterr().err


def test_a_file_that_is_being_written(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with appending(tmp_path / "grows.h5", 50) as writer:
        assert main(["inspect", str(tmp_path / "grows.h5")]) != 0
        assert "--swmr" in capsys.readouterr().err
        found = as_json(capsys, str(tmp_path / "grows.h5"), "--swmr")
        assert [each["shape"] for each in found["datasets"]] == [
            [30, 4], [50, 4], [50, 4], [50, 1],
        ]  # fmt: skip
        assert found["python"].endswith(", swmr=True)")
        writer.append(60)
        with eval(found["python"], {"prefetcher": prefetcher}) as sequence:
            assert sequence.plan.num_samples == 60
