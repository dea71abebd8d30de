"""Rows of variable length through `Source`: what h5py gives, whatever the cut and the file."""

from __future__ import annotations

import errno
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from helpers.ragged import same, write_ragged

from prefetcher.errors import (
    ClosedError,
    CorruptError,
    DatasetError,
    FileChangedError,
    ReadError,
    RowsError,
)
from prefetcher.hdf5.describe import describe
from prefetcher.hdf5.fingerprint import fingerprint
from prefetcher.hdf5.objects import ObjectWay
from prefetcher.hdf5.sharded import ShardedSource
from prefetcher.hdf5.shards import describe_all
from prefetcher.hdf5.source import Source

N = 40
NAMES = ["tokens", "chunked", "bytes", "text", "pairs", "big", "empty"]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return write_ragged(tmp_path / "a.h5", N)


def room(rows: int, shape: tuple[int, ...] = ()) -> Any:
    return np.empty((rows, *shape), object)


@pytest.mark.parametrize("name", NAMES)
def test_rows_are_those_of_h5py(path: Path, name: str) -> None:
    description = describe(path)
    shape = description.dataset(name).row_shape
    with closing(Source(description, [name])) as source, h5py.File(path) as file:
        source.expect(name, [(0, N)])
        assert source.ranges(name, [(0, N)]) == []
        runs = [(30, 37), (2, 10), (39, 40), (5, 5), (0, 1)]
        out = room(17, shape)
        source.objects(name, runs, out)
        rows = file[name][()]
        assert same(out, np.concatenate([rows[start:stop] for start, stop in runs]))


def test_a_read_in_many_steps_is_one(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("prefetcher.hdf5.objects.SCRATCH_BYTES", 1)
    with closing(Source(describe(path), ["tokens"])) as source, h5py.File(path) as file:
        way = source._enter().ways["tokens"]
        source._leave()
        assert isinstance(way, ObjectWay)
        assert way._step == 1
        out = room(N)
        source.objects("tokens", [(0, N)], out)
        assert same(out, file["tokens"][()])


def test_only_so_many_elements_are_kept(path: Path) -> None:
    with closing(Source(describe(path), ["tokens"])) as source, h5py.File(path) as file:
        out = room(N)
        source.objects("tokens", [(0, N)], out, 3)
        for row, whole in zip(out, file["tokens"], strict=True):
            assert (row == whole[:3]).all()
            assert row.base is None, "what was cut off stays in memory"


def test_several_files_are_one(tmp_path: Path) -> None:
    paths = [write_ragged(tmp_path / f"{n}.h5", n) for n in (7, 5, 9)]
    out = room(12)
    with closing(ShardedSource(describe_all(paths), ["tokens"])) as source:
        source.objects("tokens", [(5, 14), (20, 21), (0, 2)], out)
    rows = []
    for path in paths:
        with h5py.File(path) as file:
            rows += list(file["tokens"])
    assert same(out, [*rows[5:14], rows[20], *rows[:2]])
    assert describe_all(paths).dataset("tokens").heap_bytes == sum(p.stat().st_size for p in paths)


def test_files_whose_rows_have_other_elements_are_refused(tmp_path: Path) -> None:
    for name, dtype in (("a.h5", "i4"), ("b.h5", "f4")):
        with h5py.File(tmp_path / name, "w") as file:
            file.create_dataset("x", (3,), h5py.vlen_dtype(dtype))
    with pytest.raises(DatasetError, match=r"vlen float32 \(\) in b.h5, but of vlen int32"):
        describe_all([tmp_path / "a.h5", tmp_path / "b.h5"]).dataset("x")


def failing(*errors: Exception) -> Any:
    """h5py's reading, which first raises these."""
    left, real = list(errors), h5py.Dataset.__getitem__

    def getitem(dataset: Any, *arguments: Any) -> Any:
        if left:
            raise left.pop(0)
        return real(dataset, *arguments)

    return getitem


def test_a_passing_error_is_tried_again(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[Mapping[str, object]] = []
    with closing(Source(describe(path), ["tokens"], on_retry=told.append)) as source:
        out = room(9)
        monkeypatch.setattr(h5py.Dataset, "__getitem__", failing(OSError(errno.EIO, "weak")))
        source.objects("tokens", [(3, 10), (0, 2)], out)
    with h5py.File(path) as file:
        assert same(out, [*file["tokens"][3:10], *file["tokens"][:2]])
    assert [(event["dataset"], event["rows"]) for event in told] == [("tokens", [3, 10])]


def test_one_that_stays_names_its_rows(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with closing(Source(describe(path), ["tokens"], retries=1)) as source:
        weak = [OSError(errno.EIO, "weak") for _ in range(2)]
        monkeypatch.setattr(h5py.Dataset, "__getitem__", failing(*weak))
        with pytest.raises(ReadError, match=r"rows 3 to 10 of tokens in a.h5 failed: \[Errno 5\]"):
            source.objects("tokens", [(3, 10)], room(7))


def test_damage_names_its_rows(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with closing(Source(describe(path), ["tokens"])) as source:
        wrong = [RuntimeError("bad global heap") for _ in range(2)]
        monkeypatch.setattr(h5py.Dataset, "__getitem__", failing(*wrong))
        with pytest.raises(CorruptError, match=r"rows 3 to 10 of tokens in a.h5 are damaged.*heap"):
            source.objects("tokens", [(3, 10)], room(7))


def test_a_heap_that_was_written_over_is_damage(path: Path) -> None:
    content = path.read_bytes()
    assert content.count(b"GCOL") > 0
    path.write_bytes(content.replace(b"GCOL", b"XXXX"))
    with (
        closing(Source(describe(path), ["tokens"])) as source,
        pytest.raises(CorruptError, match=r"rows 0 to 40 of tokens in a.h5 are damaged"),
    ):
        source.objects("tokens", [(0, N)], room(N))


def test_a_file_that_was_written_to_is_told(path: Path) -> None:
    with closing(Source(describe(path), ["tokens"])) as source:
        with path.open("ab") as file:
            file.write(b"more")
        with pytest.raises(FileChangedError):
            source.objects("tokens", [(0, 5)], room(5))


def test_what_does_not_fit_is_refused(path: Path) -> None:
    source = Source(describe(path), ["tokens", "id"])
    with pytest.raises(RowsError, match=r"rows 35 to 41 of tokens in a.h5"):
        source.objects("tokens", [(35, 41)], room(6))
    with pytest.raises(RowsError, match="5 rows of tokens do not fill room for 6"):
        source.objects("tokens", [(0, 5)], room(6))
    with pytest.raises(DatasetError, match="ask for `objects`"):
        source.read("tokens", [(0, 1)], [np.empty((1, 8), np.uint8)])
    with pytest.raises(DatasetError, match="`read` them"):
        source.objects("id", [(0, 1)], room(1))
    source.close()
    with pytest.raises(ClosedError):
        source.objects("tokens", [(0, 1)], room(1))


def test_the_fingerprint_knows_every_element(tmp_path: Path) -> None:
    """Also one that moved from a row to the next."""
    found = set()
    for at, rows in enumerate(([[1, 2], [3]], [[1], [2, 3]], [[1, 2], [4]], [[1, 2], [3]])):
        with h5py.File(tmp_path / f"{at}.h5", "w") as file:
            tokens = file.create_dataset("x", (2,), h5py.vlen_dtype("i4"))
            tokens[0], tokens[1] = rows
        found.add(fingerprint(describe_all(tmp_path / f"{at}.h5"), ["x"]).rows)
    assert len(found) == 3
