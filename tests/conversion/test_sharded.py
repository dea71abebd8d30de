"""Several files and a manifest: the same bytes whoever writes them, and however often one dies."""

from __future__ import annotations

import os
import shutil
import signal
from concurrent.futures import ProcessPoolExecutor
from contextlib import nullcontext
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from helpers.photographs import CLASSES, photograph

from prefetcher import PrefetchSequence, convert
from prefetcher.conversion import plan, sharded
from prefetcher.conversion.convert import Conversion
from prefetcher.conversion.options import Options
from prefetcher.errors import FileError
from prefetcher.hdf5.attributes import read_attributes
from prefetcher.hdf5.manifest import read_manifest

COUNT = 25 * len(CLASSES)


def written(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def fresh(tmp_path: Path, name: str) -> Path:
    (tmp_path / name).mkdir()
    return tmp_path / name


def test_the_shards_are_the_one_file_in_pieces(tiles: Path, tmp_path: Path) -> None:
    convert(tiles, tmp_path / "one.h5", shuffle=True, seed=2)
    out = fresh(tmp_path, "shards") / "data.h5"
    converted = convert(tiles, out, shuffle=True, seed=2, shards=3)
    assert converted.file == out.with_name("data.json")
    assert converted.rows == COUNT
    manifest = read_manifest(converted.file)
    manifest.verify()
    assert [shard.rows for shard in manifest.shards] == [34, 33, 33]
    assert converted.nbytes == sum(shard.nbytes for shard in manifest.shards)
    with h5py.File(tmp_path / "one.h5") as file:
        for name in ("images", "labels"):
            pieces = []
            for path in manifest.paths:
                with h5py.File(path) as shard:
                    pieces.append(shard[name][:])
            assert np.array_equal(np.concatenate(pieces), file[name])
    assert set(written(out.parent)) == {"data.json", *(shard.name for shard in manifest.shards)}
    said = read_attributes(manifest.paths[2])
    assert (said.x, said.y, said.class_names) == ("images", "labels", {"labels": CLASSES})


def test_the_same_bytes_whoever_writes_them(tiles: Path, tmp_path: Path) -> None:
    one, many, others = (fresh(tmp_path, name) for name in ("one", "many", "others"))
    convert(tiles, one / "data.h5", shards=4, workers=1)
    convert(tiles, many / "data.h5", shards=4, workers=5)
    with ProcessPoolExecutor(2, mp_context=get_context("spawn")) as executor:
        convert(tiles, others / "data.h5", shards=4, executor=executor)
    assert written(one) == written(many) == written(others)


def test_each_split_has_its_shards_and_manifest(tiles: Path, tmp_path: Path) -> None:
    settings: dict[str, Any] = {"split": {"train": 0.8, "val": 0.2}, "shuffle": True, "seed": 4}
    convert(tiles, tmp_path / "one.h5", **settings)
    out = fresh(tmp_path, "shards") / "data.h5"
    converted = convert(tiles, out, shards=3, **settings)
    assert converted.files == (out.with_name("data-train.json"), out.with_name("data-val.json"))
    assert converted.rows == COUNT
    for split, manifest in zip(("train", "val"), converted.files, strict=True):
        with (
            h5py.File(tmp_path / "one.h5") as one,
            PrefetchSequence(manifest, shuffle=False, batch_size=COUNT) as sequence,
        ):
            images, labels = sequence[0]
            assert np.array_equal(images, one[split]["images"])
            assert np.array_equal(labels, one[split]["labels"])
        shards = read_manifest(manifest).shards
        assert shards[1].name == f"data-{split}-00001-of-00003.h5"
        assert read_attributes(out.with_name(shards[1].name)).splits == ()
    before = written(out.parent)
    assert len(before) == 8
    convert(tiles, out, shards=3, workers=1, **settings)
    assert written(out.parent) == before


def test_failures_in_shards(tiles: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(tiles, tmp_path / "tiles"))
    for number in range(12):
        (folder / "grass" / f"{2 * number:04}.{'jpg' if number % 3 == 1 else 'png'}").write_bytes(
            b""
        )
    out = fresh(tmp_path, "out") / "data.h5"
    with pytest.raises(FileError, match=r"grass/0000\.png"):
        convert(folder, out, shards=4)
    assert "data.json" not in written(out.parent)
    assert not list(out.parent.glob("*.partial"))
    converted = convert(folder, out, shards=4, on_error="skip")
    assert (converted.rows, converted.skipped) == (COUNT - 12, 12)
    assert read_manifest(converted.file).rows == COUNT - 12
    assert converted.report
    assert len(converted.report.read_text().splitlines()) == 12


def test_shards_that_are_done_are_not_written_again(
    tiles: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = fresh(tmp_path, "whole")
    convert(tiles, whole / "data.h5", shards=5)
    out = fresh(tmp_path, "out") / "data.h5"
    told = 0

    def progress(rows: int, _: int) -> None:
        nonlocal told
        told += rows
        if told >= 60:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        convert(tiles, out, shards=5, workers=1, progress=progress)
    assert "data.json" not in written(out.parent)
    spoiled = out.with_name("data-00001-of-00005.h5")
    spoiled.write_bytes(spoiled.read_bytes()[:-1] + b"?")
    ran: list[str] = []
    real = sharded.run

    def run(task: sharded.ShardTask) -> sharded.Done:
        ran.append(task.path.name)
        return real(task)

    monkeypatch.setattr(sharded, "run", run)
    convert(tiles, out, shards=5, workers=1, resume=True)
    assert ran == [f"data-0000{number}-of-00005.h5" for number in (1, 3, 4)]
    assert written(out.parent) == written(whole)


def test_shards_that_are_done_need_no_room_any_more(
    tiles: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The disk has room for what is left, not for all."""
    out, told = fresh(tmp_path, "out") / "data.h5", 0

    def progress(rows: int, _: int) -> None:
        nonlocal told
        told += rows
        if told >= 80:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        convert(tiles, out, shards=5, workers=1, progress=progress)
    with Conversion(tiles, out, Options(shards=5)) as conversion:
        need = conversion.plan.nbytes
    usage = shutil.disk_usage(out.parent)
    for free, fits in ((need // 6, False), (need // 4, True)):
        monkeypatch.setattr(shutil, "disk_usage", lambda _, free=free: usage._replace(free=free))
        with pytest.raises(FileError, match="needs"):
            convert(tiles, out, shards=5)
        with nullcontext() if fits else pytest.raises(FileError, match=r"needs 4\.\d+e-05 GB"):
            assert convert(tiles, out, shards=5, resume=True).rows == COUNT


def test_a_finished_conversion_is_told_from_a_broken_one(tiles: Path, tmp_path: Path) -> None:
    out = fresh(tmp_path, "out") / "data.h5"
    split: dict[str, Any] = {"split": {"a": 0.5, "b": 0.5}, "shards": 2}
    first = convert(tiles, out, **split)
    again = convert(tiles, out, resume=True, **split)
    assert (again.was_finished, again.rows, again.files, again.nbytes) == (
        True, COUNT, first.files, first.nbytes,
    )  # fmt: skip
    assert not convert(tiles, out, resume=True, seed=1, **split).was_finished
    first.files[1].unlink()
    assert not convert(tiles, out, resume=True, seed=1, **split).was_finished
    next(out.parent.glob("*.h5")).unlink()
    assert not convert(tiles, out, resume=True, seed=1, **split).was_finished


def test_more_shards_than_rows(tiles: Path, tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", np.arange(3))
    converted = convert(tmp_path / "x.npy", tmp_path / "data.h5", shards=9)
    assert [shard.rows for shard in read_manifest(converted.file).shards] == [1, 1, 1]


def test_a_dask_cluster_loses_a_worker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whole photographs, so that every worker is busy when one of them is killed."""
    distributed = pytest.importorskip("distributed")
    folder = fresh(tmp_path, "pictures")
    for number in range(96):
        name = ("hubble_deep_field", "retina", "astronaut")[number % 3]
        shutil.copy(photograph(name), folder / f"{number:03}{photograph(name).suffix}")
    here, there = fresh(tmp_path, "here"), fresh(tmp_path, "there")
    settings: dict[str, Any] = {"size": (64, 64), "shards": 12}
    convert(folder, here / "data.h5", **settings)

    killed: list[int] = []
    with (
        distributed.LocalCluster(
            n_workers=2,
            threads_per_worker=1,
            processes=True,
            dashboard_address=None,
            local_directory=str(fresh(tmp_path, "dask")),
            silence_logs=50,
        ) as cluster,
        distributed.Client(cluster) as client,
    ):
        pids = client.run(os.getpid)

        def progress(rows: int, _: int) -> None:
            busy = [worker for worker, tasks in client.processing().items() if tasks]
            if rows and busy and not killed:
                killed.append(pids[busy[0]])
                os.kill(pids[busy[0]], signal.SIGKILL)

        executor = client.get_executor(retries=3, pure=False)
        convert(folder, there / "data.h5", executor=executor, progress=progress, **settings)
    assert killed
    assert written(there) == written(here)


def test_storage_chunks_stay_those_of_the_plan(tiles: Path, tmp_path: Path) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(plan, "storage_rows", lambda _: 4)
        converted = convert(tiles, tmp_path / "data.h5", shards=2)
    with h5py.File(read_manifest(converted.file).paths[0]) as file:
        assert file["images"].chunks[0] == file["labels"].chunks[0] == 4
