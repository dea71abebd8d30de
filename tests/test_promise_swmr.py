"""`swmr=True`: of a file that is written in SWMR mode, the rows that are there at construction."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from helpers.appending import Writer, appending
from helpers.files import ids_of
from helpers.leaks import open_hdf5_files
from helpers.processes import run_script
from helpers.sequences import ids, small

from prefetcher import FileBusyError, FileChangedError, Row, SettingsError, Window, folds, split
from prefetcher.hdf5.describe import describe
from prefetcher.hdf5.manifest import shard_of, write_manifest
from prefetcher.hdf5.opened import OPEN_FILES
from prefetcher.hdf5.source import Source

N = 50


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "grows.h5"


@pytest.fixture
def writer(path: Path) -> Iterator[Writer]:
    with appending(path, N) as writer:
        yield writer


def seen(path: Any, **settings: Any) -> list[int]:
    """The ids of one pass."""
    with small(path, swmr=True, **settings) as sequence:
        return sorted(i for batch in sequence for i in ids(batch))


@pytest.mark.parametrize("name", ["x", "plain"])
def test_a_file_that_is_being_written_gives_the_rows_that_are_there(
    path: Path, writer: Writer, name: str
) -> None:
    assert seen(path, x=name) == list(range(N))
    writer.append(77)
    assert seen(path, x=name) == list(range(77))


@pytest.mark.parametrize("name", ["x", "plain"])
def test_rows_that_come_later_belong_to_the_next_sequence(
    path: Path, writer: Writer, name: str
) -> None:
    """Whether they come before the first batch, in mid-pass or between the runs of threads."""
    with small(path, x=name, swmr=True, shuffle=False) as sequence:
        writer.append(60)
        batches = iter(sequence)
        found = ids(next(batches))
        writer.append(200)
        found += [i for batch in batches for i in ids(batch)]
        assert found == list(range(N))
        sequence._stream._dispose(sequence._stream._engine)  # type: ignore[arg-type]
        writer.append(300)
        assert [i for batch in sequence for i in ids(batch)] == list(range(N))
    assert seen(path, x=name) == list(range(300))


def test_a_writer_that_never_rests(path: Path, writer: Writer) -> None:
    """Its last storage chunk moves with each append; no row is lost, torn or zero."""
    writer.append_on()
    for readers in (1, 3):
        for name in ("x", "plain"):
            writer.wait_for_more()
            with small(path, x=name, swmr=True, readers=readers) as sequence:
                rows = sequence.plan.num_samples
                assert rows >= N
                for _ in range(2):
                    found = sorted(i for batch in sequence for i in ids(batch))
                    assert found == list(range(rows))


def test_rows_that_only_some_datasets_have_yet_are_left_out(path: Path, writer: Writer) -> None:
    writer.append(60, "x")
    assert seen(path) == list(range(N))
    train, val = split(path, 0.2, x="x", stratify="y", swmr=True)
    assert sorted([*train, *val]) == list(range(N))
    assert len(folds(path, 5, x="x", stratify="y", swmr=True)) == 5


@pytest.mark.parametrize(("plain", "y"), [(605, 50), (495, 55), (500, 70)])
def test_datasets_of_different_strides_are_cut_to_the_samples_that_all_have(
    path: Path, writer: Writer, plain: int, y: int
) -> None:
    writer.append(plain, "plain")
    writer.append(y, "y")
    with small(path, Row("plain", stride=10), "y", swmr=True, shuffle=False) as sequence:
        found = [(x[:, 0], y[:, 0]) for x, y in sequence]
    x, y_found = (np.concatenate(part) for part in zip(*found, strict=True))
    assert y_found.tolist() == list(range(50))
    assert (x == 10 * y_found).all()


def test_windows_end_where_the_shortest_dataset_does(path: Path, writer: Writer) -> None:
    writer.append(60, "x")
    with small(path, Window("x", 4), Row("y", ahead=3), swmr=True, shuffle=False) as sequence:
        found = [int(y) for _, part in sequence for y in part[:, 0]]
    assert found == list(range(3, N))


def test_weights_that_were_written_ahead_are_cut_too(path: Path, writer: Writer) -> None:
    writer.append(60, "y")
    with small(path, "plain", None, weights="y", swmr=True) as sequence:
        assert sequence.plan.num_samples == N
        assert all((x < N).all() for x, *_ in sequence)


def test_two_sequences_at_once_and_the_writer_goes_on(path: Path, writer: Writer) -> None:
    with small(path, swmr=True) as first:
        ids(first[0])
        writer.append(100)
        with small(path, "plain", "y", swmr=True) as second:
            rows = second.plan.num_samples
            assert N <= rows <= 100  # HDF5 shares what it knows of a file that is open here
            assert sorted(i for batch in second for i in ids(batch)) == list(range(rows))
        assert sorted(i for batch in first for i in ids(batch)) == list(range(N))


def test_when_the_writer_has_closed_or_crashed(path: Path, writer: Writer) -> None:
    with small(path, swmr=True) as sequence:
        ids(sequence[0])
        writer.append(60)
        writer.close()
        assert sorted(i for batch in sequence for i in ids(batch)) == list(range(N))
    assert seen(path) == list(range(60))
    with appending(path, 20) as crashing:
        crashing.kill()
    assert seen(path) == list(range(20))


def test_a_file_that_nobody_writes_may_be_read_so_too(path: Path, tmp_path: Path) -> None:
    for libver in ("earliest", "latest"):
        with h5py.File(tmp_path / "still.h5", "w", libver=libver) as file:
            file["x"] = file["y"] = np.arange(9, dtype=np.float32)[:, None]
        assert seen(tmp_path / "still.h5") == list(range(9))


def test_several_growing_files(path: Path, tmp_path: Path, writer: Writer) -> None:
    other = tmp_path / "other.h5"
    files: Any = [path, other]
    with appending(other, 10) as second:
        second.append(20, "x")
        with small(files, swmr=True, shuffle=False) as sequence:
            writer.append(60)
            found = [i for batch in sequence for i in ids(batch)]
    assert found == [*range(N), *range(10)]


def test_growing_files_may_be_closed_and_opened_again(
    path: Path, tmp_path: Path, writer: Writer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(OPEN_FILES, "_most_descriptors", lambda: 2)
    others = [tmp_path / "b.h5", tmp_path / "c.h5"]
    files: Any = [path, *others]
    with (
        appending(others[0], 10) as second,
        appending(others[1], 20),
        small(files, swmr=True, block_size=2, readers=1) as sequence,
    ):
        for rows in (60, 90):
            found = sorted(i for batch in sequence for i in ids(batch))
            assert found == sorted([*range(N), *range(10), *range(20)])
            assert len(open_hdf5_files()) <= 4  # of six, if all were open
            writer.append(rows)
            second.append(rows)


def test_the_files_of_a_manifest_do_not_grow(path: Path, writer: Writer) -> None:
    writer.close()
    manifest = path.with_name("all.json")
    write_manifest(manifest, [shard_of(path)])
    with small(manifest) as sequence:
        assert sequence.plan.num_samples == N
    with pytest.raises(SettingsError, match=r"swmr=True: all.json is a manifest, whose files no"):
        small(manifest, swmr=True)


def test_the_refusal_names_the_setting(path: Path, writer: Writer) -> None:
    with pytest.raises(
        FileBusyError, match=r"or pass swmr=True .* to read the rows that are there"
    ):
        small(path)


def test_the_refusal_does_not_name_it_where_it_does_not_help(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "a.h5", "w", libver="latest") as file:
        file["x"] = file["y"] = np.arange(9, dtype=np.float32)[:, None]
    run_script(
        f"import h5py, os; file = h5py.File({str(tmp_path / 'a.h5')!r}, 'r+', libver='latest'); "
        "file.flush(); os._exit(0)"
    )
    for swmr in (False, True):
        with pytest.raises(FileBusyError, match="h5clear") as caught:
            small(tmp_path / "a.h5", swmr=swmr)
        assert "swmr" not in str(caught.value)


def test_a_writer_in_this_process(path: Path) -> None:
    with h5py.File(path, "w", libver="latest") as file:
        for name in ("x", "y"):
            file.create_dataset(name, (5, 1), "f4", chunks=(4, 1), maxshape=(None, 1))
            file[name][:] = np.arange(5)[:, None]
        with pytest.raises(FileBusyError, match=r"this process has .* close it first$"):
            small(path, swmr=True)
        file.swmr_mode = True
        with pytest.raises(FileBusyError, match="close it first, or pass swmr=True"):
            small(path)
        assert seen(path) == list(range(5))


def test_a_split_finds_the_rows_though_no_dataset_is_named(path: Path) -> None:
    with h5py.File(path, "w", libver="latest") as file:
        for name in ("a", "b"):
            file.create_dataset(name, data=np.arange(5), chunks=(4,), maxshape=(None,))
        file.swmr_mode = True
        train, val = split(path, 2, swmr=True)
    assert sorted([*train, *val]) == list(range(5))


@pytest.mark.parametrize("swmr", [False, True])
def test_a_file_that_was_replaced_is_refused(path: Path, writer: Writer, swmr: bool) -> None:
    writer.close()
    shutil.copy(path, path.with_suffix(".copy"))
    with small(path, swmr=swmr) as sequence:
        path.with_suffix(".copy").replace(path)
        with pytest.raises(FileChangedError):
            sequence[0]


def test_a_file_that_was_replaced_is_refused_though_nothing_is_read_through_h5py(
    path: Path, writer: Writer
) -> None:
    writer.close()
    shutil.copy(path, path.with_suffix(".copy"))
    with small(path, "fixed", "fixed", swmr=True) as sequence:
        sequence[0]
        path.with_suffix(".copy").replace(path)
        sequence._stream._dispose(sequence._stream._engine)  # type: ignore[arg-type]
        with pytest.raises(FileChangedError, match=r"another file took the place of grows.h5"):
            sequence[1]


def test_a_dataset_that_shrank_is_refused(path: Path, writer: Writer) -> None:
    with small(path, swmr=True) as sequence:
        writer.append(N - 10, "x")
        with pytest.raises(FileChangedError, match="was float32"):
            sequence[0]


def test_what_cannot_move_is_read_past_the_lock(path: Path, writer: Writer) -> None:
    description = describe(path, swmr=True)
    assert {each.name: each.way for each in description.datasets} == {
        "fixed": "contiguous", "x": "general", "plain": "general", "y": "general",
    }  # fmt: skip
    writer.append(90)
    with closing(Source(description, ["fixed"])) as source:
        out = np.empty((30, 16), np.uint8)
        source.read("fixed", [(0, 30)], [out])
        assert ids_of(out.view(np.float32)) == list(range(30))


def test_a_virtual_dataset_over_a_growing_file(path: Path, tmp_path: Path, writer: Writer) -> None:
    layout = h5py.VirtualLayout((N, 4), "f4")
    layout[:] = h5py.VirtualSource(path, "plain", (N, 4), maxshape=(None, 4))[:N]
    with h5py.File(tmp_path / "virtual.h5", "w", libver="latest") as file:
        file.create_virtual_dataset("x", layout)
        file["y"] = np.arange(N, dtype=np.float32)[:, None]
    writer.append(90)
    assert seen(tmp_path / "virtual.h5", allow_external=True) == list(range(N))


def test_the_setting_is_checked(path: Path) -> None:
    with pytest.raises(SettingsError, match="swmr='no': write True or False"):
        small(path, swmr="no")
