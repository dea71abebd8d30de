"""Names with wildcards: the groups of a file as shards of one data set."""

from __future__ import annotations

import errno
from contextlib import closing
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from helpers.leaks import open_hdf5_files
from hypothesis import given
from hypothesis import strategies as st

from prefetcher.errors import CorruptError, DatasetError, NoDatasetError, SettingsError
from prefetcher.hdf5 import index, proof
from prefetcher.hdf5.patterns import is_pattern, natural
from prefetcher.hdf5.ready import Opener
from prefetcher.hdf5.sharded import ShardedSource
from prefetcher.hdf5.shards import Shards, describe_all

LENGTHS = {"demo_10": 4, "demo_2": 3, "demo_1": 5, "mask": 2}
X, Y = "data/demo_*/obs/x", "data/demo_*/y"


@pytest.fixture
def paths(tmp_path: Path) -> list[Path]:
    """Two files of demonstrations; each row of x holds its number within all of them, y too."""
    paths, at = [tmp_path / "a.h5", tmp_path / "b.h5"], 0
    for path in paths:
        with h5py.File(path, "w") as file:
            for name in ("demo_1", "demo_2", "demo_10"):
                rows = np.arange(at, at + LENGTHS[name])
                at += len(rows)
                group = file.create_group(f"data/{name}")
                group.create_dataset("obs/x", data=rows[:, None], chunks=(2, 1), compression=1)
                group["y"] = rows.astype("f4")
            file["data/mask/y"] = np.zeros(2)
            file["data/total"] = 3
    return paths


def read(shards: Shards, name: str) -> list[Any]:
    dataset = shards.dataset(name)
    out = np.empty((dataset.rows, dataset.row_bytes), np.uint8)
    source = ShardedSource(shards, [name])
    try:
        source.read(name, [(0, dataset.rows)], [out])
    finally:
        source.close()
    found: list[Any] = out.view(dataset.dtype)[:, 0].tolist()
    return found


def test_groups_follow_each_other_in_natural_order(paths: list[Path]) -> None:
    shards = describe_all(paths)
    assert [part.rows for part in shards.parts(X)] == [5, 3, 4, 5, 3, 4]
    assert shards.dataset(Y).shape == (24,)
    assert read(shards, X) == read(shards, Y) == list(range(24))
    assert shards.where(2, X) == "data/demo_10/obs/x in a.h5"


def test_a_wildcard_stays_within_its_part_of_the_path(paths: list[Path]) -> None:
    for pattern, rows in (("data/*/y", [5, 3, 4, 2]), ("data/demo_??/y", [4])):
        assert [part.rows for part in describe_all(paths[0]).parts(pattern)] == rows
    with pytest.raises(NoDatasetError, match=r"no dataset '\*/y'"):
        describe_all(paths[0]).dataset("*/y")


def test_a_file_without_a_group_has_no_row(paths: list[Path], tmp_path: Path) -> None:
    with h5py.File(tmp_path / "none.h5", "w") as file:
        file.create_group("data")
    shards = describe_all([paths[0], tmp_path / "none.h5", paths[1]])
    shards.look_up([X, Y])
    assert read(shards, X) == read(shards, Y) == list(range(24))


def test_a_dataset_that_is_called_so_is_meant_itself(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "star.h5", "w") as file:
        file["x*"], file["x1"] = np.arange(3), np.arange(5)
    assert read(describe_all(tmp_path / "star.h5"), "x*") == [0, 1, 2]


def test_patterns_of_one_data_set_match_the_same_groups(paths: list[Path]) -> None:
    with h5py.File(paths[1], "a") as file:
        del file["data/demo_2/y"]
    shards = describe_all(paths)
    shards.look_up([X, Y])
    shards.dataset(X)
    with pytest.raises(DatasetError, match=r"stands for data/demo_2/obs/x in b.h5, and .*/y for"):
        shards.dataset(Y)


def test_a_pattern_and_a_plain_name_do_not_go_together(paths: list[Path]) -> None:
    shards = describe_all(paths[0])
    shards.dataset(X)
    with pytest.raises(DatasetError, match=r"is a pattern of groups, and data/mask/y is one"):
        shards.dataset("data/mask/y")


def test_rows_of_another_kind_are_told_with_their_group(paths: list[Path]) -> None:
    with h5py.File(paths[1], "a") as file:
        del file["data/demo_10/y"]
        file["data/demo_10/y"] = np.zeros((4, 2))
    with pytest.raises(
        DatasetError, match=r"\(2,\) in data/demo_10/y in b.h5, but .*demo_1/y in a"
    ):
        describe_all(paths).dataset(Y)


def test_a_pattern_in_a_file_that_grows_is_refused(paths: list[Path]) -> None:
    with pytest.raises(SettingsError, match=r"swmr=True: data/demo_\*/obs/x is a pattern"):
        describe_all(paths[0], swmr=True).level({X: 1})


@pytest.mark.parametrize("kind", ["S", "vlen"])
def test_some_groups_alone(paths: list[Path], kind: str) -> None:
    """By a dataset of names, of which each file has its own, or by the names themselves."""
    for path, names in zip(paths, (["demo_10", "demo_1"], ["demo_2"]), strict=True):
        with h5py.File(path, "a") as file:
            dtype = "S9" if kind == "S" else h5py.string_dtype()
            file["mask/train"] = np.array(names, dtype=object).astype(dtype)
    shards = describe_all(paths)
    shards.only("mask/train")
    shards.look_up([X, Y])
    assert read(shards, X) == read(shards, Y) == [*range(5), *range(8, 12), *range(17, 20)]
    shards = describe_all(paths)
    shards.only(["demo_2"])
    assert read(shards, Y) == [5, 6, 7, 17, 18, 19]
    with h5py.File(paths[1], "a") as file:
        del file["data/demo_2"]
    shards = describe_all(paths)
    shards.only(["demo_2"])
    assert read(shards, Y) == [5, 6, 7]


def test_a_group_that_is_not_there_is_named(paths: list[Path]) -> None:
    shards = describe_all(paths)
    shards.only(["demo_2", "demo_9"])
    with pytest.raises(NoDatasetError, match=r"groups= names demo_9, and data/demo_"):
        shards.dataset(Y)


def test_links_lead_to_groups_too(paths: list[Path], tmp_path: Path) -> None:
    with h5py.File(tmp_path / "links.h5", "w") as file:
        file["real/one/x"] = np.arange(3)
        file["linked/a"] = h5py.SoftLink("/real/one")
        file["linked/gone"] = h5py.SoftLink("/nowhere")
        file["linked/out"] = h5py.ExternalLink(paths[0].name, "/data/demo_1/obs")
    with pytest.raises(DatasetError, match=r"linked/(gone|out)"):
        describe_all(tmp_path / "links.h5").dataset("linked/*/x")
    assert read(describe_all(tmp_path / "links.h5"), "linked/?/x") == [0, 1, 2]


@given(st.lists(st.integers(0, 10**6)))
def test_numbers_are_sorted_by_their_value(numbers: list[int]) -> None:
    names = sorted(((f"demo_{number}",) for number in numbers), key=natural)
    assert names == [(f"demo_{number}",) for number in sorted(numbers)]


def test_what_a_pattern_is() -> None:
    assert [is_pattern(name) for name in ("a/b", "a*/b", "a?", "a[b]")] == [
        False,
        True,
        True,
        False,
    ]


def test_a_group_is_proved_when_it_is_first_read(
    paths: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    proved: list[str] = []
    real = Opener._fast_way

    def note(self: Opener, name: str, *arguments: Any) -> Any:
        proved.append(name)
        return real(self, name, *arguments)

    monkeypatch.setattr(Opener, "_fast_way", note)
    shards = describe_all(paths[0]).including([X, Y])
    out = np.empty((5, 8), np.uint8)
    with closing(ShardedSource(shards, [X, Y])) as source:
        source.read(X, [(0, 5)], [out])
        assert proved == ["data/demo_1/obs/x"]
        source.read(X, [(0, 5)], [out])
        assert len(proved) == 1
        source.read(X, [(4, 9)], [out])
        assert proved == [f"data/demo_{number}/obs/x" for number in (1, 2, 10)]
        assert out.view(np.int64)[:, 0].tolist() == [4, 5, 6, 7, 8]


def test_h5py_lets_a_file_go_when_all_of_its_groups_are_proved(paths: list[Path]) -> None:
    shards = describe_all(paths[0]).including([X, Y])
    x, y = np.empty((12, 8), np.uint8), np.empty((12, 4), np.uint8)
    with closing(ShardedSource(shards, [X, Y])) as source:
        source.read(X, [(0, 12)], [x])
        assert len(open_hdf5_files()) == 2
        source.read(Y, [(0, 12)], [y])
        source.read(X, [(0, 12)], [x])
        assert len(open_hdf5_files()) == 1


def test_damage_of_a_group_is_told_when_its_rows_are_wanted(
    paths: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    real = index.walk_index

    def damaged(dataset: h5py.Dataset) -> Any:
        if dataset.name == "/data/demo_2/obs/x":
            raise CorruptError("its index is torn")
        return real(dataset)

    monkeypatch.setattr("prefetcher.hdf5.ready.walk_index", damaged)
    shards = describe_all(paths[0]).including([X, Y])
    with closing(ShardedSource(shards, [X, Y])) as source:
        out = np.empty((5, 8), np.uint8)
        source.read(X, [(0, 5)], [out])
        for _ in range(2):
            with pytest.raises(CorruptError, match=r"data/demo_2/obs/x in a.h5 .*torn"):
                source.read(X, [(4, 9)], [out])
        source.read(X, [(0, 5)], [out])


def test_a_group_whose_proof_the_system_broke_off_is_tried_again(
    paths: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    real, broken = proof.agrees, [OSError(errno.EIO, "broken")]

    def fails_once(*arguments: Any) -> bool:
        if broken:
            raise broken.pop()
        return real(*arguments)

    monkeypatch.setattr("prefetcher.hdf5.ready.agrees", fails_once)
    told: list[Any] = []
    shards = describe_all(paths[0]).including([X, Y])
    with closing(ShardedSource(shards, [X, Y], on_retry=told.append)) as source:
        out = np.empty((5, 8), np.uint8)
        source.read(X, [(0, 5)], [out])
    assert out.view(np.int64)[:, 0].tolist() == [0, 1, 2, 3, 4]
    assert [each["file"] for each in told] == ["a.h5"]
