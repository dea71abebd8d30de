"""A folder of real pictures into one file: its rows, what it says, and how it fails."""

from __future__ import annotations

import json
import os
import shutil
import signal
import threading
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from helpers.photographs import CLASSES, TILE, names_in, photograph, pixels, spoil
from PIL import Image

from prefetcher import convert
from prefetcher.conversion import single
from prefetcher.conversion.convert import Conversion
from prefetcher.conversion.options import Options
from prefetcher.errors import (
    DatasetError,
    FileError,
    FileMissingError,
    ReadError,
    SettingsError,
)
from prefetcher.filters.encode import Encoded, Encoder
from prefetcher.hdf5.attributes import read_attributes
from prefetcher.writing.partial import PartialFile

COUNT = 25 * len(CLASSES)


def test_a_class_for_each_sub_folder(tiles: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.h5"
    converted = convert(tiles, out)
    assert (converted.rows, converted.skipped, converted.report) == (COUNT, 0, None)
    assert converted.nbytes == out.stat().st_size
    files = sorted(path for path in tiles.rglob("*") if path.suffix in (".png", ".jpg"))
    with h5py.File(out) as file:
        assert file["images"].shape == (COUNT, TILE, TILE, 3)
        for path, row in zip(files, file["images"], strict=True):
            with Image.open(path) as image:
                assert np.array_equal(row, np.asarray(image)), path
        labels = file["labels"][:].tolist()
    assert labels == [CLASSES.index(path.parent.name) for path in files]
    assert names_in(tmp_path) == ["out.h5"]


def test_what_the_file_says(tiles: Path, tmp_path: Path) -> None:
    convert(tiles, tmp_path / "out.h5", shuffle=True, seed=7)
    said = read_attributes(tmp_path / "out.h5")
    assert (said.x, said.y, said.splits) == ("images", "labels", ())
    assert said.class_names == {"labels": CLASSES}
    assert said.source == "tiles"
    assert said.version
    assert (said.arguments["shuffle"], said.arguments["seed"]) == (True, 7)


@pytest.mark.usefixtures("small_steps")
def test_the_same_bytes_whatever_decodes(tiles: Path, tmp_path: Path) -> None:
    settings: dict[str, Any] = {"size": (40, 44), "shuffle": True, "codec": "gzip"}
    convert(tiles, tmp_path / "one.h5", workers=1, **settings)
    with h5py.File(tmp_path / "one.h5") as file:
        assert file["images"].compression == "gzip"
    convert(tiles, tmp_path / "many.h5", workers=7, **settings)
    with ProcessPoolExecutor(2, mp_context=get_context("spawn")) as executor:
        convert(tiles, tmp_path / "processes.h5", executor=executor, **settings)
    wanted = (tmp_path / "one.h5").read_bytes()
    assert (tmp_path / "many.h5").read_bytes() == wanted
    assert (tmp_path / "processes.h5").read_bytes() == wanted


@pytest.mark.usefixtures("small_steps")
def test_the_same_bytes_whoever_encodes(folder: Path, tmp_path: Path) -> None:
    """Behind a picture that is left out, the rows of a part are no storage chunk's any more."""
    sorted(folder.rglob("*.png"))[40].write_bytes(b"junk")
    settings: dict[str, Any] = {"size": (40, 44), "codec": "zstd", "on_error": "skip"}
    encoding: list[str] = []
    real = Encoder.encode

    def encode(self: Encoder, rows: Any) -> Encoded:
        encoding.append(threading.current_thread().name)
        return real(self, rows)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Encoder, "encode", encode)
        convert(folder, tmp_path / "workers.h5", **settings)
        by_workers = [name for name in encoding if "convert" in name]
        assert 0 < len(by_workers) < len(encoding)
        encoding.clear()
        patch.setattr(PartialFile, "encoders", {})
        convert(folder, tmp_path / "writer.h5", **settings)
        assert {name for name in encoding if "convert" in name} == set()
    assert (tmp_path / "workers.h5").read_bytes() == (tmp_path / "writer.h5").read_bytes()


def test_split_by_class(tiles: Path, tmp_path: Path) -> None:
    convert(tiles, tmp_path / "out.h5", split={"train": 0.8, "val": 0.2}, shuffle=True)
    with h5py.File(tmp_path / "out.h5") as file:
        for name, each in (("train", 20), ("val", 5)):
            assert np.bincount(file[name]["labels"]).tolist() == [each] * 4
            assert len(file[name]["images"]) == 4 * each
        rows = np.concatenate([file["train/images"], file["val/images"]])
    assert len(np.unique(rows, axis=0)) == len(np.unique(pixels(tiles, tmp_path), axis=0))
    said = read_attributes(tmp_path / "out.h5", "val")
    assert (said.x, said.y, said.splits) == ("val/images", "val/labels", ("train", "val"))
    assert said.class_names == {"val/labels": CLASSES}


def test_a_table_of_labels(folder: Path, tmp_path: Path) -> None:
    lines = ["center, steering, speed, place"]
    lines += [
        f"grass/{i:04}.{'jpg' if i % 3 == 2 else 'png'}, {i / 8}, {i}, p{i % 2}" for i in (5, 3, 4)
    ]
    (folder / "log.csv").write_text("\n".join(lines))
    settings: dict[str, Any] = {"labels": folder / "log.csv", "path_col": "center"}
    convert(
        folder, tmp_path / "out.h5", label_cols=["steering", "speed:uint8", "place"], **settings
    )
    with h5py.File(tmp_path / "out.h5") as file:
        assert file["steering"][:].tolist() == [5 / 8, 3 / 8, 4 / 8]
        assert (file["steering"].dtype, file["speed"].dtype) == (np.float32, np.uint8)
        assert file["place"][:].tolist() == [1, 1, 0]
        with Image.open(folder / "grass/0003.png") as image:
            assert np.array_equal(file["images"][1], np.asarray(image))
    said = read_attributes(tmp_path / "out.h5")
    assert said.y == ("steering", "speed", "place")
    assert said.class_names == {"place": ("p0", "p1")}
    with Conversion(folder, tmp_path / "b.h5", Options(**settings)) as conversion:
        assert "97 pictures without a line are left out" in conversion.plan.about


def test_pictures_alone(folder: Path, tmp_path: Path) -> None:
    convert(folder / "grass", tmp_path / "out.h5", color="grey")
    with h5py.File(tmp_path / "out.h5") as file:
        assert file["images"].shape == (25, TILE, TILE, 1)
        assert list(file) == ["images"]
    assert read_attributes(tmp_path / "out.h5").y is None


def test_the_first_ten_failures_are_told(folder: Path, tmp_path: Path) -> None:
    names = spoil(folder, 12)
    with pytest.raises(FileError, match="12 or more could not be read") as raised:
        convert(folder, tmp_path / "out.h5", size=(16, 16), workers=1)
    told = str(raised.value)
    assert all(f"  {name}: " in told for name in names[:10])
    assert names[11] not in told
    assert names_in(tmp_path) == ["tiles"]


@pytest.mark.usefixtures("small_steps")
def test_skipped_pictures_are_reported(folder: Path, tmp_path: Path) -> None:
    names = spoil(folder, 12)
    out = tmp_path / "out.h5"
    converted = convert(folder, out, size=(16, 16), on_error="skip")
    assert (converted.rows, converted.skipped) == (COUNT - 12, 12)
    assert converted.report == tmp_path / "out.h5.skipped.jsonl"
    lines = [json.loads(line) for line in converted.report.read_text().splitlines()]
    assert [line["name"] for line in lines] == names
    assert all(line["reason"] for line in lines)
    with h5py.File(out) as file:
        assert len(file["images"]) == len(file["labels"]) == COUNT - 12
        assert file["images"][:].any(axis=(1, 2, 3)).all()
    convert(folder, out, size=(16, 16), on_error="skip", split={"a": 0.5, "b": 0.5})
    with h5py.File(out) as file:
        assert len(file["a/labels"]) + len(file["b/images"]) == COUNT - 12


def test_unusable_labels_are_failures_too(folder: Path, tmp_path: Path) -> None:
    table = tmp_path / "log.csv"
    table.write_text(
        "path,v\ngrass/0000.png,1\ngrass/0001.png,\ngrass/none.png,2\n../log.csv,3\n"
        "/etc/hostname,4\ngrass/0003.png,5\n"
    )
    with pytest.raises(FileError, match="3 could not be read") as raised:
        convert(folder, tmp_path / "out.h5", labels=table)
    assert "line 3 of log.csv: no v" in str(raised.value)
    assert "/etc/hostname: it is not a file in the folder" in str(raised.value)
    converted = convert(folder, tmp_path / "out.h5", labels=table, on_error="skip")
    assert (converted.rows, converted.skipped) == (2, 4)
    with h5py.File(tmp_path / "out.h5") as file:
        assert file["v"][:].tolist() == [1, 5]


def test_nothing_at_all_is_an_error(folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.h5"
    (tmp_path / "empty").mkdir()
    with pytest.raises(FileMissingError, match="no pictures in empty"):
        convert(tmp_path / "empty", out)
    with pytest.raises(FileMissingError, match="there is no"):
        convert(tmp_path / "nowhere", out)
    for path in (folder / "grass").iterdir():
        path.write_bytes(b"junk")
    with pytest.raises(FileError, match="every row was left out"):
        convert(folder / "grass", out, size=(8, 8), on_error="skip")
    with pytest.raises(FileError, match="no picture in grass can be read"):
        convert(folder / "grass", out)
    with pytest.raises(FileError, match="no folder"):
        convert(folder, tmp_path / "none" / "out.h5")
    assert names_in(tmp_path) == ["empty", "tiles"]


def test_pictures_of_another_size_need_a_size(folder: Path, tmp_path: Path) -> None:
    shutil.copy(photograph("coffee"), folder / "coffee" / "whole.png")
    with pytest.raises(FileError, match=r"coffee/whole\.png: it is 400 x 600.* write a size"):
        convert(folder, tmp_path / "out.h5")


def test_classes_and_loose_pictures_do_not_mix(folder: Path, tmp_path: Path) -> None:
    shutil.copy(photograph("coffee"), folder / "whole.png")
    with pytest.raises(DatasetError, match=r"whole\.png"):
        convert(folder, tmp_path / "out.h5")


def test_what_does_not_fit_the_disk_is_refused(
    tiles: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = shutil.disk_usage(tmp_path)._replace(free=100_000)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage)
    with pytest.raises(FileError, match=r"needs 0\.000\d+ GB .* has 0\.0001 GB free"):
        convert(tiles, tmp_path / "out.h5")
    assert not names_in(tmp_path)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"size": (0, 8)}, "height and width"),
        ({"size": (8,)}, "height and width"),
        ({"resize": "squeeze"}, "stretch, pad, crop"),
        ({"color": "bgr"}, "rgb, grey, rgba"),
        ({"color": "gray"}, r"color='gray': .*rgba: did you mean 'grey'\?"),
        ({"color": "grayscale"}, "did you mean 'grey'"),
        ({"codec": "jpeg"}, "none, gzip, lz4, zstd, auto"),
        ({"on_error": "ignore"}, "fail, skip"),
        ({"split": {"a": 0.5, "b": 0.4}}, "add up to 1"),
        ({"split": {"a": 1.5, "b": -0.5}}, "add up to 1"),
        ({"split": {"a/b": 1.0}}, "add up to 1"),
        ({"workers": 0}, "1 or more"),
        ({"shards": 0}, "1 or more"),
        ({"label_cols": ["a"]}, "labels="),
        ({"shuffle": "no"}, "shuffle='no': write True or False"),
        ({"resume": 1}, "resume=1: write True or False"),
        ({"seed": -1}, "2\\*\\*64"),
    ],
)
def test_settings_that_cannot_work(
    tiles: Path, tmp_path: Path, settings: dict[str, Any], message: str
) -> None:
    with pytest.raises(SettingsError, match=message):
        convert(tiles, tmp_path / "out.h5", **settings)


def test_a_worker_process_that_dies_is_told(tiles: Path, tmp_path: Path) -> None:
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as executor:
        os.kill(executor.submit(os.getpid).result(), signal.SIGTERM)
        with pytest.raises(ReadError, match="a worker died"):
            convert(tiles, tmp_path / "out.h5", executor=executor)
    assert not (tmp_path / "out.h5").exists()


def test_auto_measures_and_the_file_tells_what_was_chosen(tiles: Path, tmp_path: Path) -> None:
    with Conversion(tiles, tmp_path / "out.h5", Options(codec="auto")) as conversion:
        assert {trial.codec for trial in conversion.plan.trials} == {"gzip", "lz4", "zstd"}
        conversion.run()
    said = read_attributes(tmp_path / "out.h5")
    assert said.arguments["codec"] == conversion.plan.codec


@pytest.mark.usefixtures("small_steps")
def test_memory_does_not_grow_with_the_folder(tiles: Path, tmp_path: Path) -> None:
    """However fast the decoders are, only so many parts are loaded and not yet written."""
    under_way = 0
    most = 0
    real = single.load

    def counted(part: Any) -> Any:
        nonlocal under_way, most
        under_way += 1
        most = max(most, under_way)
        return real(part)

    def written(rows: int, _: int) -> None:
        nonlocal under_way
        under_way -= bool(rows)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(single, "load", counted)
        convert(tiles, tmp_path / "out.h5", workers=1, progress=written)
    assert most <= 5
