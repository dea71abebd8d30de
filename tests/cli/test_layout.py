"""Slow layouts: `inspect` says what they cost, and the line that it prints mends them."""

from __future__ import annotations

import json
import shlex
from pathlib import Path
from typing import Any

import h5py
import hdf5plugin
import numpy as np
import pytest

from prefetcher.cli import main
from prefetcher.hdf5.describe import describe

ROWS = 256
IMAGES = np.arange(ROWS * 8 * 8 * 3, dtype=np.uint32).astype(np.uint8).reshape(ROWS, 8, 8, 3)

SLOW: dict[str, tuple[dict[str, Any], str]] = {
    "through h5py": (
        {"chunks": (16, 8, 8, 3), **hdf5plugin.Blosc2()},
        "one thread of the process read at a time, whatever readers= says: only HDF5 itself",
    ),
    "parts of rows": (
        {"chunks": (64, 4, 4, 1), "compression": "gzip"},
        "each of which holds parts of 64 rows: one row alone costs decoding 12.3 kB to get 192 b",
    ),
    "parts of rows, one row each": ({"chunks": (1, 8, 8, 1)}, "a row lies in 3 storage chunks"),
    "a row in each": (
        {"chunks": (1, 8, 8, 3)},
        "256 storage chunks of 192 bytes are found, read and decoded one by one",
    ),
}
"""What is slow, by how it is made, and what is said of it."""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A name that a shell would take for three words."""
    return tmp_path / "my data (1).h5"


def inspected(path: Path, capsys: pytest.CaptureFixture[str]) -> tuple[str, dict[str, Any]]:
    assert main(["inspect", str(path)]) == 0
    text = capsys.readouterr().out
    assert main(["inspect", str(path), "--json"]) == 0
    return text, json.loads(capsys.readouterr().out)


def pasted(line: str, capsys: pytest.CaptureFixture[str]) -> Path:
    """Runs a line as a shell would; returns the file that it made."""
    command, *words = shlex.split(line)
    assert command == "prefetcher"
    assert main(words) == 0
    capsys.readouterr()
    return Path(words[2])


def write(path: Path, images: str = "images", labels: str = "labels", **how: Any) -> None:
    with h5py.File(path, "a") as made:
        made.create_dataset(images, data=IMAGES, **how)
        made[labels] = np.arange(ROWS)


@pytest.mark.parametrize("kind", SLOW)
def test_a_slow_layout_says_what_it_costs_and_the_line_mends_it(
    file: Path, kind: str, capsys: pytest.CaptureFixture[str]
) -> None:
    how, cost = SLOW[kind]
    write(file, **how)
    text, found = inspected(file, capsys)
    assert list(found["slow"]) == ["images"]
    assert cost in found["slow"]["images"]
    assert f"images is slow to read: {found['slow']['images']}." in text
    (line,) = found["convert"]
    assert f"\n{line}\n" in text
    assert ("--codec auto" in line) == ("compression" in how)
    out = pasted(line, capsys)
    assert out == file.with_name("my data (1)-repacked.h5")
    text, found = inspected(out, capsys)
    assert (found["slow"], found["convert"]) == ({}, [])
    assert "slow to read" not in text
    with h5py.File(out) as mended:
        assert np.array_equal(mended["images"], IMAGES)
        assert np.array_equal(mended["labels"], np.arange(ROWS))


def test_storage_chunks_that_h5py_guessed_and_those_that_are_too_large(
    file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with h5py.File(file, "w") as made:
        guessed = made.create_dataset("guessed", (3000, 64, 64, 3), "u1", chunks=True)
        guessed[:5] = 1
        assert guessed.chunks[1:] != (64, 64, 3)
        huge = made.create_dataset("large/huge", (3000, 100, 100), "u1", chunks=(2000, 100, 100))
        huge[:2] = 1
    _, found = inspected(file, capsys)
    assert "parts of" in found["slow"]["guessed"]
    assert found["slow"]["large/huge"] == (
        "a storage chunk holds 2,000 rows, 20 MB, which one thread decodes at once; "
        "2,000 rows stay together when they are shuffled"
    )


def test_each_group_that_is_slow_has_a_line_and_a_file_of_its_own(
    file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for split in ("train", "val"):
        images = {"chunks": (16, 8, 8, 3), **hdf5plugin.Blosc2()}
        write(file, f"{split}/images", f"{split}/labels", **images)
    write(file, "test/images", "test/labels")
    _, found = inspected(file, capsys)
    assert set(found["slow"]) == {"train/images", "val/images"}
    outs = [pasted(line, capsys) for line in found["convert"]]
    assert {out.stem for out in outs} == {f"my data (1)-{s}-repacked" for s in ("train", "val")}
    for out in outs:
        assert {dataset.name for dataset in describe(out).datasets} == {"images", "labels"}


def test_a_file_that_is_there_is_not_replaced(
    file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write(file, chunks=(1, 8, 8, 3))
    for name in ("-repacked", "-repacked-2"):
        file.with_stem(file.stem + name).touch()
    _, found = inspected(file, capsys)
    assert shlex.split(found["convert"][0])[3] == str(file.with_stem(f"{file.stem}-repacked-3"))


@pytest.mark.parametrize(
    "how",
    [
        {},
        {"chunks": (ROWS, 8, 8, 3), "compression": "gzip"},
        {"chunks": (ROWS, 8, 8, 3), "compression": "lzf"},
    ],
)
def test_what_reads_well_is_left_alone(
    file: Path, how: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    """Labels in small storage chunks too: they ride along with what they belong to."""
    write(file, **how)
    with h5py.File(file, "a") as made:
        del made["labels"]
        made.create_dataset("labels", data=np.arange(ROWS), chunks=(1,))
    text, found = inspected(file, capsys)
    assert (found["slow"], found["convert"]) == ({}, [])
    assert "slow to read" not in text


@pytest.mark.parametrize(
    ("images", "labels"), [("a/x", "b/x"), ("-x", "labels"), ("x\x1b]0;", "labels")]
)
def test_where_no_line_would_do_none_is_printed(
    file: Path, images: str, labels: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Two datasets of one last name, a name like a flag, a name that no shell takes as it is."""
    write(file, images, labels, chunks=(1, 8, 8, 3))
    with h5py.File(file, "a") as made:
        made.attrs["x"], made.attrs["y"] = json.dumps(images), json.dumps(labels)
    text, found = inspected(file, capsys)
    assert list(found["slow"]) == [images]
    assert found["convert"] == []
    assert "`prefetcher convert` writes it in a way that is read at full speed" in text
