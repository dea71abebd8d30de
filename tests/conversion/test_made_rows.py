"""HDF5 sources whose rows are made anew: pictures, variable length, sparse, turned."""

from __future__ import annotations

import json
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import scipy.sparse as sp
from helpers.ragged import picture_of, tokens_of, write_ragged
from PIL import Image

import prefetcher
from prefetcher import (
    CorruptError,
    DatasetError,
    Padded,
    Picture,
    SettingsError,
    Sparse,
    Unpacked,
    convert,
)
from prefetcher.cli import main
from prefetcher.conversion import reading
from prefetcher.errors import FileError
from prefetcher.filters.decode import Decoder
from prefetcher.hdf5.attributes import read_attributes
from prefetcher.hdf5.source import Source

N = 60


@pytest.fixture
def ragged(tmp_path: Path) -> Path:
    """Rows of variable length, and the same pictures as rows of one size."""
    path = write_ragged(tmp_path / "ragged.h5", N)
    with h5py.File(path, "a") as file:
        longest = max(len(row) for row in file["bytes"]) + 9
        rows = np.zeros((N, longest), np.uint8)
        for number, row in enumerate(file["bytes"]):
            rows[number, : len(row)] = row
        file["tokens_mask"] = np.arange(N)
        file["filled"], file["opaque"] = rows, rows.view(f"V{longest}")[:, 0]
    return path


def rows_of(path: Path, *names: str) -> list[Any]:
    with h5py.File(path) as file:
        return [file[name][:] for name in names]


@pytest.mark.parametrize("name", ["bytes", "filled", "opaque"])
def test_pictures_are_what_picture_gives(ragged: Path, tmp_path: Path, name: str) -> None:
    out = tmp_path / "out.h5"
    converted = convert(
        ragged, out, x=name, y="id", size=(5, 7), resize="pad", color="grey", shuffle=True
    )
    assert converted.rows == N
    pictures, numbers = rows_of(out, name, "id")
    assert (pictures.shape, pictures.dtype) == ((N, 5, 7, 1), np.uint8)
    assert sorted(numbers) == list(range(N))
    column = Picture(name, (5, 7), color="grey", resize="pad")
    with prefetcher.PrefetchSequence(ragged, column, "id", shuffle=False) as same:
        expected = np.concatenate([x for x, _ in same])
    assert (pictures == expected[numbers]).all()
    with prefetcher.PrefetchSequence(out) as train:  # the file says what it holds
        assert sum(len(y) for _, y in train) == N


def test_pictures_of_one_size_need_none_written(ragged: Path, tmp_path: Path) -> None:
    convert(ragged, tmp_path / "out.h5", x="bytes")
    (pictures,) = rows_of(tmp_path / "out.h5", "bytes")
    assert (pictures == np.arange(N)[:, None, None, None]).all()
    assert pictures.shape == (N, 6, 9, 3)
    convert(ragged, tmp_path / "plain.h5", x="filled")  # it may be anything
    assert rows_of(tmp_path / "plain.h5", "filled")[0].shape == rows_of(ragged, "filled")[0].shape


def test_damaged_pictures_are_told_or_left_out(
    ragged: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with h5py.File(ragged, "a") as file:
        for row in (3, 40):
            file["bytes"][row] = np.frombuffer(picture_of(row)[:30] + b"junk", np.uint8)
        file["bytes"][41] = np.array([], np.uint8)
    out = tmp_path / "out.h5"
    with pytest.raises(FileError, match=r"row 3 of bytes: .*\n.*row 40 of bytes"):
        convert(ragged, out, x="bytes", y=("id", "tokens"), size=(4, 4), length=3)
    assert not out.exists()
    words = ["--x", "bytes", "--y", "id", "tokens", "--size", "4", "4", "--length", "3"]
    assert main(["convert", str(ragged), str(out), *words, "--on-error", "skip"]) == 3
    capsys.readouterr()
    good = [number for number in range(N) if number not in (3, 40, 41)]
    pictures, numbers, tokens = rows_of(out, "bytes", "id", "tokens")
    assert numbers.tolist() == good
    assert pictures[:, 0, 0, 0].tolist() == good
    assert [row[:2].tolist() for row in tokens] == [
        [*tokens_of(number)[:2], 0, 0][:2] for number in good
    ]
    told = [json.loads(line) for line in Path(f"{out}.skipped.jsonl").read_text().splitlines()]
    assert [each["row"] for each in told] == [3, 40, 41]


def test_a_damaged_first_picture_hides_no_others(ragged: Path, tmp_path: Path) -> None:
    with h5py.File(ragged, "a") as file:
        file["bytes"][0] = np.frombuffer(b"junk" * 30, np.uint8)
    out = tmp_path / "out.h5"
    assert convert(ragged, out, x="bytes", y="id", size=(4, 4), on_error="skip").skipped == 1
    pictures, numbers = rows_of(out, "bytes", "id")
    assert pictures[:, 0, 0, 0].tolist() == numbers.tolist() == list(range(1, N))


@pytest.mark.parametrize("name", ["tokens", "chunked", "big", "empty"])
def test_numbers_are_what_padded_gives(ragged: Path, tmp_path: Path, name: str) -> None:
    out = tmp_path / "out.h5"
    convert(ragged, out, x=name, y="id", length=6, fill=-1, mask=True, shuffle=True, seed=3)
    rows, masks, numbers = rows_of(out, name, f"{name}_mask", "id")
    columns = (Padded(name, 6, -1), Padded(name, 6, mask=True))
    with prefetcher.PrefetchSequence(ragged, columns, "id", shuffle=False) as same:
        expected = [np.concatenate(each) for each in zip(*(x for x, _ in same), strict=True)]
    assert (rows == expected[0][numbers]).all()
    assert (masks == expected[1][numbers]).all()
    assert (rows.dtype, masks.dtype) == (expected[0].dtype, np.bool_)
    assert read_attributes(out).x == name
    with prefetcher.PrefetchSequence(out, {"x": name, "mask": f"{name}_mask"}, "id") as train:
        assert sum(len(y) for _, y in train) == N


@pytest.mark.parametrize("shards", [None, 2])
@pytest.mark.parametrize("split", [None, {"train": 0.5, "val": 0.5}])
def test_packed_numbers_stay_packed(tmp_path: Path, shards: int | None, split: Any) -> None:
    attributes = {
        "scale_factor": np.float32(0.1), "add_offset": 3, "_FillValue": np.array([-1], "i2"),
        "missing_value": np.array([7, 9], "i2"), "_Unsigned": "true",
    }  # fmt: skip
    with h5py.File(tmp_path / "a.nc", "w") as file:
        file["t"], file["id"] = np.arange(-20, 20, dtype="i2"), np.arange(40)
        file["t"].attrs.update(attributes)
    converted = convert(
        tmp_path / "a.nc", tmp_path / "o.h5", x="t", y="id", split=split, shards=shards
    )
    column = Unpacked("t")
    with prefetcher.PrefetchSequence(tmp_path / "a.nc", column, None, shuffle=False) as whole:
        expected = np.concatenate([x for (x,) in whole])
    seen = 0
    for path in converted.files:
        for group in ("train", "val") if split and not shards else (None,):
            with prefetcher.PrefetchSequence(path, column, "id", split=group) as train:
                for x, rows in train:
                    assert np.array_equal(x, expected[rows], equal_nan=True)
                    seen += len(rows)
    assert seen == 40
    assert np.isnan(expected).sum() == 3


def test_columns_may_be_numbered_by_uint64(tmp_path: Path) -> None:
    dense = matrix(tmp_path / "a.h5ad")
    with h5py.File(tmp_path / "a.h5ad", "a") as file:
        numbers = file["X/indices"][:].astype("u8")
        del file["X/indices"]
        file["X/indices"] = numbers
    convert(tmp_path / "a.h5ad", tmp_path / "out.h5", x="X")
    assert (rows_of(tmp_path / "out.h5", "X")[0] == dense).all()


def matrix(path: Path, kind: Any = np.float64, rows: int = 400, columns: int = 300) -> Any:
    """Writes a sparse matrix as AnnData does; gives it dense."""
    made = sp.random(rows, columns, 0.05, "csr", np.float64, random_state=0)
    made.data = np.ceil(made.data * 9).astype(kind)
    with h5py.File(path, "w") as file:
        group = file.create_group("X")
        group.attrs["encoding-type"], group.attrs["shape"] = "csr_matrix", made.shape
        for part in ("data", "indices"):
            group.create_dataset(part, data=getattr(made, part), chunks=(64,), compression="gzip")
        group["indptr"] = made.indptr
        file["obs/id"] = np.arange(rows)
    return made.toarray()


@pytest.mark.parametrize("kind", [np.float64, np.float32, np.int32, np.uint8])
def test_sparse_rows_are_what_sparse_gives(tmp_path: Path, kind: Any) -> None:
    dense = matrix(tmp_path / "cells.h5ad", kind)
    converted = convert(
        tmp_path / "cells.h5ad", tmp_path / "out.h5", x="X", y="obs/id", shuffle=True
    )
    rows, numbers = rows_of(tmp_path / "out.h5", "X", "id")
    assert rows.dtype == np.float32
    assert sorted(numbers) == list(range(len(dense)))
    assert (rows == dense[numbers].astype(np.float32)).all()
    assert converted.nbytes < rows.nbytes / 2  # compressed, though nobody asked for a codec
    with prefetcher.PrefetchSequence(tmp_path / "cells.h5ad", Sparse("X"), "obs/id") as train:
        x, y = train[0]
        places = [numbers.tolist().index(number) for number in y]
        assert (rows[places] == x).all()


def test_elements_that_come_twice_are_added_and_damage_is_told(tmp_path: Path) -> None:
    path = tmp_path / "a.h5"
    with h5py.File(path, "w") as file:
        group = file.create_group("X")
        group.attrs["encoding-type"], group.attrs["shape"] = "csr_matrix", (3, 4)
        group["data"], group["indices"] = [1.0, 2.0, 4.0, 8.0], [3, 3, 0, 1]
        group["indptr"] = [0, 3, 3, 4]
    convert(path, tmp_path / "out.h5", x="X")
    assert rows_of(tmp_path / "out.h5", "X")[0].tolist() == [[4, 0, 0, 3], [0] * 4, [0, 8, 0, 0]]
    with h5py.File(path, "a") as file:
        file["X/indices"][3] = 4
    with pytest.raises(CorruptError, match=r"rows 2 to 3 of X in a\.h5 are damaged"):
        convert(path, tmp_path / "out.h5", x="X")


def test_the_plan_says_what_it_will_weigh(
    tmp_path: Path, ragged: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    dense = matrix(tmp_path / "cells.h5ad")
    words = ["convert", str(tmp_path / "cells.h5ad"), str(tmp_path / "out.h5"), "--x", "X"]
    assert main([*words, "--dry-run"]) == 0
    told = " ".join(capsys.readouterr().out.split())
    assert "X: sparse, " in told
    assert f"written dense, as float32, {dense.size * 4 / 1e6:,.1f} MB before" in told
    assert "decodes" in told  # codecs were tried, as zeros compress well
    assert main([*words, "--dry-run", "--codec", "none", "--json"]) == 0
    plan = json.loads(capsys.readouterr().out)
    assert (plan["codec"], plan["bytes"] > dense.size * 4) == ("none", True)
    words = ["convert", str(ragged), str(tmp_path / "out.h5"), "--x", "tokens", "--length", "4"]
    assert main([*words, "--dry-run"]) == 0
    told = " ".join(capsys.readouterr().out.split())
    assert "tokens: 0 to 10 elements in 32 rows looked at; 17 of these are longer than 4" in told
    assert not (tmp_path / "out.h5").exists()


SETTINGS: dict[str, dict[str, Any]] = {
    "pictures": {"x": "bytes", "y": "id", "size": (5, 5)},
    "numbers": {"x": "tokens", "y": "id", "length": 5, "mask": True},
    "turned": {"x": "turned", "y": "id", "axis": {"turned": -1}},
}


@pytest.mark.usefixtures("small_steps")
@pytest.mark.parametrize("kind", SETTINGS)
def test_the_file_is_the_same_whatever_the_workers_and_the_interruptions(
    ragged: Path, tmp_path: Path, kind: str
) -> None:
    with h5py.File(ragged, "a") as file:
        file.create_dataset("turned", data=np.arange(7 * N).reshape(7, N), chunks=(3, 8))
    settings = SETTINGS[kind] | {"shuffle": True, "split": {"a": 0.7, "b": 0.3}}
    one, two, three = (tmp_path / f"{n}" / "out.h5" for n in range(3))
    for path in (one, two, three):
        path.parent.mkdir()
    convert(ragged, one, workers=1, **settings)
    convert(ragged, two, workers=3, **settings)
    assert two.read_bytes() == one.read_bytes()
    seen = [0]

    def stopping(rows: int, _: int) -> None:
        seen[0] += rows
        if seen[0] > N // 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        convert(ragged, three, progress=stopping, **settings)
    assert not three.exists()
    done: list[int] = []
    convert(ragged, three, resume=True, progress=lambda n, _: done.append(n), **settings)
    assert done[0] > 0
    for name in ("a", "b"):
        place = f"{name}/{settings['x']}"
        (whole,), (gone_on,) = rows_of(one, place), rows_of(three, place)
        assert np.array_equal(whole, gone_on)
    assert convert(ragged, three, resume=True, **settings).was_finished


def test_other_processes_make_it_too(ragged: Path, tmp_path: Path) -> None:
    settings: dict[str, Any] = {"x": ("bytes", "tokens"), "y": "id", "size": (4, 4), "length": 3}
    convert(ragged, tmp_path / "here.h5", **settings)
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as executor:
        convert(ragged, tmp_path / "there.h5", executor=executor, **settings)
        converted = convert(ragged, tmp_path / "s.h5", shards=2, executor=executor, **settings)
    assert (tmp_path / "here.h5").read_bytes() == (tmp_path / "there.h5").read_bytes()
    with prefetcher.PrefetchSequence(converted.file, ("bytes", "tokens"), "id") as train:
        assert sorted(np.concatenate([y for _, y in train])) == list(range(N))


@pytest.mark.parametrize("options", [{}, {"chunks": (4, 5, 40), "compression": "gzip"}])
def test_samples_along_the_last_axis(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], options: dict[str, Any]
) -> None:
    """As MATLAB has them: a matrix and a vector in one line."""
    rows = np.arange(500 * 4 * 5).reshape(500, 4, 5)
    with h5py.File(tmp_path / "a.mat", "w") as file:
        file.create_dataset("x", data=np.moveaxis(rows, 0, 2), **options)
        file["y"] = np.arange(500)[None]
    words = ["convert", str(tmp_path / "a.mat"), str(tmp_path / "out.h5"), "--x", "x", "--y", "y"]
    assert main(words) == 1
    assert "x, y: 500 along the last axis; if these are the rows, write --axis -1" in (
        " ".join(capsys.readouterr().err.split())
    )
    for axis in ("-1", "x=-1,y=1"):
        assert main([*words, "--axis", axis, "--shuffle"]) == 0
        x, y = rows_of(tmp_path / "out.h5", "x", "y")
        assert y.shape == (500, 1)
        assert (x == rows[y[:, 0]]).all()
    with prefetcher.PrefetchSequence(tmp_path / "out.h5") as train:
        assert all((x == rows[y[:, 0]]).all() for x, y in train)


def test_long_storage_chunks_are_decoded_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not once for each part of the file that is written."""
    rows = np.random.default_rng(0).integers(0, 9, (4000, 2000)).astype(np.int16)
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file.create_dataset("x", data=rows.T, chunks=(2000, 1000), compression="gzip")
        file.create_dataset("y", data=rows, chunks=(1000, 2000), compression="gzip")
    decoded: list[int] = []
    decode = Decoder.decode

    def note(self: Decoder, data: Any, mask: int) -> Any:
        decoded.append(1)
        return decode(self, data, mask)

    monkeypatch.setattr(Decoder, "decode", note)
    for name, axis, shuffle in (("x", -1, False), ("y", 0, False), ("x", -1, True)):
        decoded.clear()
        convert(
            tmp_path / "a.h5", tmp_path / "out.h5", x=name, axis=axis, workers=3, shuffle=shuffle
        )
        (found,) = rows_of(tmp_path / "out.h5", name)
        assert (np.sort(found, axis=None) == np.sort(rows, axis=None)).all()
        assert shuffle or (found == rows).all()
        assert len(decoded) <= 4 + 2  # and two to prove the way


def test_rows_of_many_elements_are_turned_many_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["x"] = np.random.default_rng(0).integers(0, 256, (100, 100, 3, 600), np.uint8)
    read: list[int] = []
    before = Source.read

    def note(self: Source, name: str, runs: Any, out: Any) -> None:
        read.extend(stop - start for start, stop in runs)
        before(self, name, runs, out)

    monkeypatch.setattr(Source, "read", note)
    convert(tmp_path / "a.h5", tmp_path / "out.h5", x="x", axis=-1)
    assert read == [559, 41]  # 16 MiB, not the 34 rows that are a storage chunk of the new file
    with h5py.File(tmp_path / "a.h5") as old, h5py.File(tmp_path / "out.h5") as new:
        assert (np.moveaxis(old["x"][:], 3, 0) == new["x"][:]).all()


def test_storage_chunks_that_cannot_be_kept_are_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = np.random.default_rng(0).integers(0, 9, (4000, 2000)).astype(np.int16)
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file.create_dataset("x", data=rows.T, chunks=(2000, 2000), compression="gzip")
    monkeypatch.setattr(reading, "_KEPT_BYTES", 1 << 20)
    words = ["convert", str(tmp_path / "a.h5"), str(tmp_path / "out.h5"), "--x", "x"]
    assert main([*words, "--axis", "-1", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)["plan"]["found"]
    assert any("2,000 rows lie in storage chunks of 8 MB together" in each for each in told)
    assert (rows_of(tmp_path / "out.h5", "x")[0] == rows).all()
    assert main([*words, "--axis", "-1", "--shuffle", "--dry-run"]) == 0
    told = " ".join(capsys.readouterr().out.split())
    assert "in a shuffled order 2,000 rows are decoded for each" in told
    assert "faster without --shuffle" in told


def test_a_matrix_with_nothing_in_it(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "a.h5", "w") as file:
        group = file.create_group("X")
        group.attrs["encoding-type"], group.attrs["shape"] = "csr_matrix", (5, 4)
        group["data"], group["indices"] = np.zeros(0), np.zeros(0, int)
        group["indptr"] = np.zeros(6, int)
    convert(tmp_path / "a.h5", tmp_path / "out.h5", x="X")
    assert rows_of(tmp_path / "out.h5", "X")[0].tolist() == [[0] * 4] * 5


def test_what_is_kept_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    kept = reading._Kept(100)
    blocks = {key: np.full(40, key, np.uint8) for key in range(5)}
    reads: list[int] = []

    def read(key: int) -> Any:
        reads.append(key)
        return blocks[key]

    for key in (0, 1, 0, 2, 1, 0):
        assert kept.get(key, lambda key=key: read(key))[0] == key  # type: ignore[misc]
    assert reads == [0, 1, 2, 0]
    assert sum(each.nbytes for each in kept._blocks.values()) <= 100


@pytest.mark.parametrize(
    ("settings", "error", "says"),
    [
        ({"x": "tokens"}, SettingsError, r"write .* length=10, .* longest of 32"),
        ({"x": "tokens", "size": (3, 3)}, SettingsError, "length="),
        ({"x": "id", "size": (3, 3)}, SettingsError, "encoded pictures"),
        ({"x": "id", "length": 3}, SettingsError, "numbers of variable length"),
        ({"x": "tokens", "length": 3, "fill": 0.5}, DatasetError, "write another fill"),
        ({"x": "text", "length": 3}, DatasetError, "text of variable length"),
        ({"x": "pairs", "length": 3}, DatasetError, "several rows of variable length"),
        ({"x": "tokens", "mask": True}, SettingsError, "length="),
        ({"x": "id", "axis": {"none": 1}}, SettingsError, "none is none of the datasets"),
        ({"x": "id", "axis": 1}, DatasetError, "no axis 1"),
        ({"x": "tokens", "length": 0}, SettingsError, "1 or more"),
        ({"x": "id", "axis": 0.5}, SettingsError, "whole number"),
        (
            {"x": "tokens", "y": "tokens_mask", "length": 3, "mask": True},
            SettingsError,
            "as another",
        ),
    ],
)
def test_refused(
    ragged: Path, tmp_path: Path, settings: dict[str, Any], error: type[Exception], says: str
) -> None:
    with pytest.raises(error, match=says):
        convert(ragged, tmp_path / "out.h5", **settings)
    assert not (tmp_path / "out.h5").exists()


def test_settings_of_other_sources_are_refused(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.zeros((4, 4)))
    (tmp_path / "photos").mkdir()
    Image.new("RGB", (3, 3)).save(tmp_path / "photos" / "a.png")
    for source in ("a.npy", "photos"):
        for settings in ({"axis": -1}, {"length": 3}):
            with pytest.raises(SettingsError, match="HDF5 files"):
                convert(tmp_path / source, tmp_path / "out.h5", **settings)  # type: ignore[arg-type]
    with pytest.raises(SettingsError, match="axis= is for files"):
        convert(iter([np.zeros(3)]), tmp_path / "out.h5", axis=-1)
