"""Several files as one data set: rows follow each other, and nothing is mixed up."""

from __future__ import annotations

import os
from itertools import pairwise
from pathlib import Path
from random import Random
from typing import Any

import h5py
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from prefetcher import DatasetError, FileMissingError, NoDatasetError, PrefetchSequence
from prefetcher.errors import SettingsError
from prefetcher.hdf5.attributes import encode
from prefetcher.hdf5.manifest import Shard, checksum, write_manifest
from prefetcher.hdf5.sharded import ShardedSource
from prefetcher.hdf5.shards import describe_all
from prefetcher.order.runs import runs_of
from prefetcher.storage.local import LocalBytes

LENGTHS = (7, 1, 12, 5)
N = sum(LENGTHS)


def write(path: Path, **datasets: Any) -> Path:
    with h5py.File(path, "w") as file:
        for name, rows in datasets.items():
            file[name] = rows
    return path


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("shards")
    edges = np.cumsum([0, *LENGTHS])
    return [
        write(
            folder / f"part-{number}.h5",
            x=np.arange(start, stop, dtype=np.int64)[:, None].repeat(3, 1),
            y=np.arange(start, stop, dtype=np.float32),
        )
        for number, (start, stop) in enumerate(pairwise(edges))
    ]


@given(st.sets(st.integers(0, N - 1), min_size=1), st.integers(1, 30), st.randoms())
def test_rows_are_counted_over_all_files(
    files: list[Path], wanted: set[int], piece: int, chance: Random
) -> None:
    runs = runs_of(np.array(sorted(wanted)))
    chance.shuffle(runs)
    source = ShardedSource(describe_all(files), ["x"])
    rows = np.zeros((len(wanted), 24), np.uint8)
    source.read("x", runs, [rows[at : at + piece] for at in range(0, len(rows), piece)])
    source.close()
    expected = np.concatenate([np.arange(*run) for run in runs])
    assert (rows.view(np.int64) == expected[:, None]).all()


def test_a_file_is_announced_before_the_first_read_of_it(
    files: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Or the first chunk of each file would be read at the pace of single random reads."""
    announced: list[int] = []
    monkeypatch.setattr(LocalBytes, "in_memory", lambda *_: False)
    monkeypatch.setattr(os, "posix_fadvise", lambda file, *_: announced.append(file))
    source = ShardedSource(describe_all(files), ["x"])
    source.expect("x", [(5, 9)])
    source.close()
    assert len(set(announced)) == 3  # rows 5 to 9 lie in three files


def test_a_file_that_is_gone_is_told_when_it_is_read(tmp_path: Path) -> None:
    path = write(tmp_path / "a.h5", x=np.arange(4))
    source = ShardedSource(describe_all(path), ["x"])
    path.unlink()
    source.expect("x", [(0, 4)])
    with pytest.raises(FileMissingError, match=r"a\.h5"):
        source.read("x", [(0, 4)], [np.zeros((4, 8), np.uint8)])
    source.close()


@pytest.mark.parametrize("shuffle", [True, False])
def test_a_sequence_over_a_pattern_or_a_list(files: list[Path], shuffle: bool) -> None:
    pattern = files[0].parent / "part-*.h5"
    passes = []
    for named in (pattern, str(pattern), files, [files[0], files[0].parent / "part-[123].h5"]):
        with PrefetchSequence(named, batch_size=4, chunk_size=8, shuffle=shuffle, readers=2) as seq:
            batches = list(seq)
        for x, y in batches:
            assert (x[:, 0] == y).all()
        passes.append(np.concatenate([y for _, y in batches]).tolist())
    assert sorted(passes[0]) == list(range(N))
    assert passes[1:] == passes[:1] * 3
    assert (passes[0] == list(range(N))) is not shuffle


def test_a_file_is_opened_when_it_is_first_read(files: list[Path]) -> None:
    source = ShardedSource(describe_all(files), ["x", "y"])
    source.read("x", [(8, 9)], [np.zeros((1, 24), np.uint8)])
    assert list(source._sources) == [2]
    source.close()


def test_a_pattern_that_matches_nothing(tmp_path: Path) -> None:
    with pytest.raises(FileMissingError, match=r"no file matches .*none-\*\.h5"):
        PrefetchSequence(tmp_path / "none-*.h5")


def test_an_empty_list() -> None:
    with pytest.raises(SettingsError, match="name one file at least"):
        PrefetchSequence([])


def test_a_file_of_another_kind_is_named(files: list[Path], tmp_path: Path) -> None:
    odd = write(tmp_path / "odd.h5", x=np.zeros((3, 4), np.int64), y=np.zeros(3))
    with pytest.raises(DatasetError, match=r"int64 \(4,\) in odd\.h5, but of int64 \(3,\)"):
        PrefetchSequence([files[0], odd])


@pytest.mark.parametrize(
    ("kinds", "wide"),
    [(("u1", "i8", "i2"), "i8"), ((">i4", "i4", "i4"), "i4"), (("u1", "i1", "u2"), "i4")],
)
def test_whole_numbers_of_several_widths_are_the_widest(
    tmp_path: Path, kinds: Any, wide: str
) -> None:
    """Labels that several programs wrote. Rows of (2, 3), so that a slab holds few."""
    x = np.random.default_rng(0).integers(0, 127, (3, 50, 2, 3))
    for number, kind in enumerate(kinds):
        write(tmp_path / f"{number}.h5", x=x[number].astype(kind), y=x[number, :, 0, 0])
    with PrefetchSequence(tmp_path / "?.h5", "x", "y", batch_size=8, readers=2) as train:
        assert train.state_dict()["file"]["files"] == 3
        for rows, y in train:
            assert rows.dtype == wide
            assert (rows[:, 0, 0] == y).all()
    with PrefetchSequence(tmp_path / "?.h5", "x", None, shuffle=False) as test:
        assert (np.concatenate([rows for (rows,) in test]) == x.reshape(150, 2, 3)).all()
    write(tmp_path / "3.h5", x=np.zeros((5, 2, 3), "f4"), y=np.zeros(5))
    with pytest.raises(DatasetError, match=r"x has rows of float32 .* in 3\.h5, but of "):
        PrefetchSequence(tmp_path / "?.h5", "x", None)


def test_lengths_must_agree_in_each_file(tmp_path: Path) -> None:
    """In sum they do, so the rows of the second file would get the first one's targets."""
    first = write(tmp_path / "a.h5", x=np.zeros(3), y=np.zeros(4))
    second = write(tmp_path / "b.h5", x=np.zeros(4), y=np.zeros(3))
    with pytest.raises(DatasetError, match=r"a\.h5 has x 3 rows, y 4 rows"):
        PrefetchSequence([first, second])


def test_a_dataset_that_one_file_lacks(files: list[Path], tmp_path: Path) -> None:
    odd = write(tmp_path / "odd.h5", x=np.zeros((3, 3), np.int64))
    with pytest.raises(NoDatasetError, match=r"no dataset 'y' in odd\.h5"):
        PrefetchSequence([files[0], odd])


def test_a_manifest_names_the_files_and_their_order(files: list[Path], tmp_path: Path) -> None:
    shards = []
    for number in (2, 0):
        copy = tmp_path / files[number].name
        copy.write_bytes(files[number].read_bytes())
        shards.append(Shard(copy.name, LENGTHS[number], copy.stat().st_size, checksum(copy)))
    manifest = tmp_path / "samples.json"
    write_manifest(manifest, shards)
    with PrefetchSequence(manifest, batch_size=4, shuffle=False) as seq:
        ids = np.concatenate([y for _, y in seq]).tolist()
    assert ids == [*range(8, 20), *range(7)]


@pytest.mark.parametrize(
    ("given", "parts"), [({}, 2), ({"y": None}, 1), ({"x": "angles"}, None), ({"y": "images"}, 2)]
)
def test_a_file_that_knows_its_names_needs_none(
    tmp_path: Path, given: dict[str, Any], parts: int | None
) -> None:
    path = tmp_path / "named.h5"
    with h5py.File(path, "w") as file:
        file["images"], file["angles"] = np.zeros((5, 2), np.uint8), np.ones(5)
        file.attrs.update(encode({"x": "images", "y": "angles"}))
    if parts is None:  # a name that was given is not replaced, nor is the one beside it
        with pytest.raises(NoDatasetError, match="no dataset 'y'"):
            PrefetchSequence(path, **given)
        return
    with PrefetchSequence(path, **given) as seq:
        batch = seq[0]
    assert len(batch) == parts
    assert batch[0].shape == (5, 2)
