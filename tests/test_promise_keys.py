"""x and y in different files: every promise holds as it does for one file of the same rows."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import h5py
import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import prefetcher
from prefetcher import (
    CorruptError,
    DatasetError,
    FileChangedError,
    NoDatasetError,
    Padded,
    PrefetchSequence,
    Row,
    SettingsError,
    StateError,
    Window,
)
from prefetcher.cli import main
from prefetcher.hdf5.attributes import encode
from prefetcher.hdf5.opened import OPEN_FILES

N = 60
SMALL: dict[str, Any] = {"batch_size": 4, "chunk_size": 16, "block_size": 4}


def cut(path: Path, cuts: list[int], **datasets: Any) -> list[Path]:
    """Files with the rows between cuts, in order."""
    path.mkdir(exist_ok=True)
    edges = [0, *sorted(cuts), len(next(iter(datasets.values())))]
    paths = []
    for number, (start, stop) in enumerate(pairwise(edges)):
        paths.append(path / f"part-{number}.h5")
        with h5py.File(paths[-1], "w") as file:
            for name, rows in datasets.items():
                shape = (min(3, stop - start), *rows.shape[1:])
                file.create_dataset(name, data=rows[start:stop], chunks=shape, fletcher32=True)
    return paths


def numbered(rows: int = N) -> tuple[Any, Any]:
    """Inputs and labels that say which row they are of."""
    number = np.arange(rows)
    return np.repeat(number[:, None], 3, 1).astype("f4"), number.astype("f4")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same 60 rows: x in four files and y in two, "data" in either; and both in one, or in as
    many files as there are edges of any."""
    folder = tmp_path_factory.mktemp("keys")
    x, y = numbered()
    cut(folder / "x", [7, 20, 41], images=x, data=x)
    cut(folder / "y", [33], labels=y, data=y, classes=(y % 10 == 0).astype("i4"))
    cut(folder / "one", [], images=x, labels=y)
    cut(folder / "both", [7, 20, 33, 41], images=x, labels=y)
    return folder


@pytest.fixture
def file(folder: Path) -> dict[str, str]:
    return {"x": f"{folder}/x/part-*.h5", "y": f"{folder}/y/part-*.h5"}


def values(train: PrefetchSequence) -> list[float]:
    """The labels of a pass; fails where x and y do not belong together."""
    found: list[float] = []
    for x, y in train:
        assert (x.reshape(len(x), -1)[:, 0] == y).all()
        found += y.tolist()
    return found


@pytest.mark.parametrize(("shuffle", "alike"), [(True, "both"), (False, "both"), (False, "one")])
def test_the_order_is_that_of_files_cut_at_all_edges(
    folder: Path, file: dict[str, str], shuffle: bool, alike: str
) -> None:
    """Blocks are pieces of files; without shuffling it is the order of one file, too."""
    given: dict[str, Any] = SMALL | {"x": "images", "y": "labels", "shuffle": shuffle, "readers": 2}
    with PrefetchSequence(f"{folder}/{alike}/part-*.h5", **given) as one:
        expected = [values(one), values(one)]
    with PrefetchSequence(file, **given) as two:
        assert [values(two), values(two)] == expected
        assert 0 < two.stats().buffer_peak_bytes <= two.memory_bytes
    assert sorted(expected[0]) == list(range(N))


CUTS = st.sets(st.integers(1, N - 1), max_size=5).map(sorted)


@settings(max_examples=25, deadline=None)
@given(CUTS, CUTS, st.integers(1, 4), st.integers(-2, 5), st.sampled_from([None, "edge"]))
def test_no_window_crosses_an_edge_of_any_file(
    x_cuts: list[int], y_cuts: list[int], length: int, ahead: int, pad: Any
) -> None:
    x, y = numbered()
    edges = sorted({0, N, *x_cuts, *y_cuts})
    expected = []
    for start, stop in pairwise(edges):
        for at in range(start, stop):
            window, label = np.arange(at, at + length), at + ahead
            if pad:
                expected.append((window.clip(start, stop - 1).tolist(), at))
            elif at + length <= stop and start <= label < stop:
                expected.append((window.tolist(), label))
    inputs = Window("images", length, pad=pad)
    labels = Row("labels", ahead=0 if pad else ahead)
    with tempfile.TemporaryDirectory() as folder:
        given = {
            "x": cut(Path(folder) / "x", x_cuts, images=x),
            "y": cut(Path(folder) / "y", y_cuts, labels=y),
        }
        lengths = [sorted(np.diff([0, *cuts, N])) for cuts in (x_cuts, y_cuts)]
        if not expected or (x_cuts != y_cuts and lengths[0] == lengths[1]):
            with pytest.raises(DatasetError, match=r"in another order|has no sample"):
                PrefetchSequence(given, inputs, labels)
            return
        with PrefetchSequence(given, inputs, labels, shuffle=False, **SMALL) as train:
            found = [(a[:, 0].tolist(), b) for x, y in train for a, b in zip(x, y, strict=True)]
        with PrefetchSequence(given, inputs, labels, **SMALL) as train:
            shuffled = [(a[:, 0].tolist(), b) for x, y in train for a, b in zip(x, y, strict=True)]
    assert found == expected
    assert sorted(shuffled) == sorted(expected)


@pytest.mark.parametrize(("rows", "every", "count"), [(41, 4, 11), (43, 4, 11), (40, 4, 10)])
def test_strides_differ_between_files(tmp_path: Path, rows: int, every: int, count: int) -> None:
    """Frames in two files of `rows`, and a label for each four of them in one."""
    frames = np.repeat(np.arange(2 * rows)[:, None], 3, 1)
    cut(tmp_path / "x", [rows], frames=frames)
    labels = np.concatenate([np.arange(0, rows, every), rows + np.arange(0, rows, every)])
    cut(tmp_path / "y", [], labels=labels)
    x = Window("frames", 2, stride=every, pad="edge")
    with PrefetchSequence(
        {"x": tmp_path / "x" / "part-*.h5", "y": tmp_path / "y" / "part-0.h5"}, x, "labels"
    ) as train:
        ((windows, found),) = train
    assert (windows[:, 0, 0] == found).all()
    assert sorted(found.tolist()) == labels.tolist()
    assert len(labels) == 2 * count


def test_names_say_which_file_they_are_of(folder: Path, file: dict[str, str]) -> None:
    """The same name in both files; several inputs out of several files; other keys than x and y."""
    keyed = {"a": file["x"], "b": f"{folder}/one/part-0.h5", "y": file["y"]}
    with PrefetchSequence(file, x="data", y="data", **SMALL) as train:
        assert sorted(values(train)) == list(range(N))
    with PrefetchSequence(
        keyed, x={"left": "a:images", "right": Window("b:images", 1)}, y="b:labels", **SMALL
    ) as train:
        for x, y in train:
            assert (x["left"][:, 0] == y).all()
            assert (x["right"][:, 0, 0] == y).all()
    with pytest.raises(
        SettingsError,
        match=r"x='images': none of the keys of file= \(a, b, y\) is "
        r"'x': write one before the name, as in 'a:images'",
    ):
        PrefetchSequence(keyed, x="images")


@pytest.mark.parametrize(
    ("given", "error", "message"),
    [
        ({"y": None, "sample_weight": None}, None, ""),
        ({"y": np.arange(N)}, None, ""),
        ({"x": "imges"}, NoDatasetError, r"x='x:imges': no dataset 'imges' in part-0.h5.*'images'"),
        ({"y": "images"}, NoDatasetError, r"y='y:images': no dataset 'images' in part-0.h5"),
        ({"balance": "data"}, SettingsError, "balance='data' is in the files of x, y: write which"),
        ({"weights": "none"}, NoDatasetError, "weights='none': no dataset 'none' in part-0.h5 and"),
    ],
)  # fmt: skip
def test_what_each_part_may_be(
    file: dict[str, str], given: dict[str, Any], error: Any, message: str
) -> None:
    given = {"x": "images", "y": "labels"} | given
    if error is None:
        with PrefetchSequence(file, **given, **SMALL) as train:
            assert len(list(train)) == N / 4
        return
    with pytest.raises(error, match=message):
        PrefetchSequence(file, **given)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({}, r"file=\{\}: name the files of x and y, as in \{'x': 'x.h5', 'y': 'y.h5'\}"),
        ({3: "a.h5"}, r"file=\{3: ...\}: the keys are 'x', 'y' and 'sample_weight', or words"),
        ({"a:b": "a.h5"}, "the keys are 'x', 'y' and 'sample_weight', or words"),
        ({"x": {"left": "a.h5"}}, r"file=\{'x': .*Files of single inputs have keys of their own"),
        ({"x": []}, r"name one file at least"),
        ({"x": 3}, r"file=\{'x': 3\}: write a path, a pattern"),
        ({"x": "a.h5", "y": "a.h5", "sample_weight": "a.h5"}, "and sample_weight is None"),
    ],
)
def test_other_forms_are_refused(
    folder: Path, monkeypatch: pytest.MonkeyPatch, wrong: Any, message: str
) -> None:
    monkeypatch.chdir(folder / "one")
    wrong = {key: "part-0.h5" if files == "a.h5" else files for key, files in wrong.items()}
    with pytest.raises(SettingsError, match=message):
        PrefetchSequence(wrong, "images", "labels")


def test_rows_must_agree_in_total(folder: Path, tmp_path: Path) -> None:
    _, y = numbered()
    short = cut(tmp_path / "short", [], labels=y[:-1])
    with pytest.raises(DatasetError, match=r"x:images 60 rows, y:labels 59 rows.* as many each"):
        PrefetchSequence({"x": f"{folder}/x/part-*.h5", "y": short}, "images", "labels")


def test_files_in_another_order_are_refused(tmp_path: Path) -> None:
    """In sum they agree, so the rows of one file would get the labels of another."""
    x, y = numbered()
    given = {"x": cut(tmp_path / "x", [7, 20], images=x), "y": cut(tmp_path / "y", [], labels=y)}
    given["y"] = cut(tmp_path / "z", [13, 20], labels=y)
    with pytest.raises(
        DatasetError, match=r"files of x have 7, 13, 40 rows, and those of y the sa"
    ):
        PrefetchSequence(given, "images", "labels")


@pytest.mark.parametrize("changed", ["x", "y"])
def test_a_saved_place_knows_the_files_of_all_parts(tmp_path: Path, changed: str) -> None:
    x, y = numbered()

    def train() -> PrefetchSequence:
        given = {"x": cut(tmp_path / "x", [9], a=x), "y": cut(tmp_path / "y", [], a=y)}
        return PrefetchSequence(given, "a", "a", **SMALL)

    with train() as first:
        batches = [batch[1].tolist() for batch, _ in zip(first, range(6), strict=False)]
        state = json.loads(json.dumps(first.state_dict(3)))
    with train() as second:
        second.load_state_dict(state)
        assert next(iter(second))[1].tolist() == batches[3]
    x, y = (x + 1, y) if changed == "x" else (x, y + 1)
    with train() as other, pytest.raises(StateError, match="checksum of samples"):
        other.load_state_dict(state)


def test_rows_and_draws(file: dict[str, str]) -> None:
    given: dict[str, Any] = SMALL | {"x": "images", "y": "labels"}
    with PrefetchSequence(file, rows=slice(1, None, 3), **given) as train:
        assert sorted(values(train)) == list(range(1, N, 3))
    for name in ("classes", "y:classes"):
        with PrefetchSequence(file, balance=name, **given) as train:
            drawn = np.array(values(train))
            assert (drawn % 10 == 0).sum() == N / 2
    with PrefetchSequence(file, weights="classes", **given) as train:
        assert set(values(train)) == set(range(0, N, 10))


def test_split_and_folds(file: dict[str, str]) -> None:
    train, val = prefetcher.split(file, 0.5, stratify="classes")
    assert sorted([*train, *val]) == list(range(N))
    assert (val % 10 == 0).sum() == 3
    assert len(prefetcher.folds(file, 3, x="images", stratify="y:classes")) == 3
    only_y = {"y": file["y"]}
    assert sum(map(len, prefetcher.split(only_y, 0.2))) == N


def test_a_range_of_a_sorted_file_warns_with_a_line_that_works(tmp_path: Path) -> None:
    x, y = numbered(600)
    given = {
        "x": str(cut(tmp_path / "x", [], a=x)[0]),
        "y": str(cut(tmp_path / "y", [], a=(y // 100).astype("i4"))[0]),
    }
    with (
        pytest.warns(UserWarning, match="sorted by class") as told,
        PrefetchSequence(given, "a", "a", rows=(0, 400)),
    ):
        line = str(told[0].message)
    call = line[line.index("prefetcher.split(") : line.index(", and rows=train")]
    train, val = eval(call)
    assert len(train) + len(val) == 600


def test_a_group_of_each_file(tmp_path: Path) -> None:
    x, y = numbered()
    for name, rows in (("x", x), ("y", y)):
        with h5py.File(tmp_path / f"{name}.h5", "w") as file:
            file[f"train/{name}"] = rows
    given = {"x": tmp_path / "x.h5", "y": tmp_path / "y.h5"}
    with PrefetchSequence(given, split="train", **SMALL) as train:
        assert sorted(values(train)) == list(range(N))
    with h5py.File(tmp_path / "y.h5", "a") as file:
        file.move("train", "test")
    with pytest.raises(NoDatasetError, match=r"split='train': no group 'train' in y\.h5"):
        PrefetchSequence(given, split="train")


def test_names_that_the_files_know(tmp_path: Path) -> None:
    """Each file says what its own part is called."""
    x, y = numbered()
    for key, name, rows in (("x", "pictures", x), ("y", "angles", y)):
        with h5py.File(tmp_path / f"{key}.h5", "w") as file:
            file[name] = rows
            file.attrs.update(encode({key: name}))
    with PrefetchSequence({"x": tmp_path / "x.h5", "y": tmp_path / "y.h5"}) as train:
        assert sorted(values(train)) == list(range(N))


def demos(path: Path, names: list[int], kind: str) -> Path:
    with h5py.File(path, "w") as file:
        for number in names:
            rows = np.arange(5 + number) + 100 * number
            file[f"data/demo_{number}/{kind}"] = rows
        if kind == "obs":
            file["mask/train"] = np.array([b"demo_10", b"demo_2"])
    return path


@pytest.mark.parametrize("groups", [None, "mask/train", "x:mask/train", ["demo_10", "demo_2"]])
def test_patterns_stand_for_the_same_groups(tmp_path: Path, groups: Any) -> None:
    given = {
        "x": demos(tmp_path / "x.h5", [2, 10, 1], "obs"),
        "y": demos(tmp_path / "y.h5", [1, 2, 10], "actions"),
    }
    x, y = Window("data/demo_*/obs", 3), "data/demo_*/actions"
    with PrefetchSequence(given, x, y, groups=groups, shuffle=False) as train:
        ((windows, first),) = train
    assert (windows == first[:, None] + np.arange(3)).all()
    used = (1, 2, 10) if groups is None else (2, 10)
    assert first.tolist() == [100 * demo + row for demo in used for row in range(3 + demo)]


def test_patterns_of_other_groups_are_refused(tmp_path: Path) -> None:
    """As many rows, so that they would go together unseen."""
    given = {
        "x": demos(tmp_path / "x.h5", [1, 2], "obs"),
        "y": demos(tmp_path / "y.h5", [1, 3], "actions"),
    }
    with h5py.File(given["y"], "a") as file:
        del file["data/demo_3/actions"]
        file["data/demo_3/actions"] = np.arange(7)
    with pytest.raises(
        DatasetError, match=r"x stand for 2 groups \(1, 2\) in x\.h5.*y for 2 group"
    ):
        PrefetchSequence(given, "data/demo_*/obs", "data/demo_*/actions")


def sparse(path: Path) -> None:
    with h5py.File(path, "w") as file:
        x = file.create_group("X")
        x.attrs["encoding-type"], x.attrs["shape"] = "csr_matrix", (N, 5)
        x["data"] = np.arange(N, dtype="f4")
        x["indices"], x["indptr"] = np.arange(N) % 5, np.arange(N + 1)


def words(path: Path) -> None:
    with h5py.File(path, "w") as file:
        rows = file.create_dataset("X", (N,), h5py.vlen_dtype("f4"))
        for number in range(N):
            rows[number] = np.full(1 + number % 3, number, "f4")


def records(path: Path) -> None:
    with h5py.File(path, "w") as file:
        file["X"] = np.array([(number, 0) for number in range(N)], [("e", "f4"), ("p", "i4")])


@pytest.mark.parametrize(("make", "x"), [(sparse, "X"), (words, Padded("X", 3)), (records, "X[e]")])
def test_every_kind_of_column(
    folder: Path, tmp_path: Path, make: Callable[[Path], None], x: Any
) -> None:
    make(tmp_path / "x.h5")
    given = {"x": tmp_path / "x.h5", "y": f"{folder}/y/part-*.h5"}
    with PrefetchSequence(given, x, "labels", **SMALL) as train:
        seen = []
        for inputs, labels in train:
            assert (inputs.reshape(len(inputs), -1).max(axis=1) == labels).all()
            seen += labels.tolist()
        assert train.stats().buffer_peak_bytes <= train.memory_bytes
        assert train.state_dict()["file"]["files"] == 3
    assert sorted(seen) == list(range(N))


def test_an_error_names_the_file_of_its_part(tmp_path: Path) -> None:
    x, y = numbered()
    given = {"x": cut(tmp_path / "x", [], a=x), "y": cut(tmp_path / "y", [33], a=y)}
    path = given["y"][1]
    with h5py.File(path) as file:
        at = file["a"].id.get_chunk_info(2).byte_offset
    damaged = bytearray(path.read_bytes())
    damaged[at] ^= 1
    with PrefetchSequence(given, "a", "a", shuffle=False, **SMALL) as train:
        path.write_bytes(damaged)
        with pytest.raises(FileChangedError, match=r"part-1\.h5"):
            list(train)
    with (
        PrefetchSequence(given, "a", "a", shuffle=False, **SMALL) as train,
        pytest.raises(CorruptError, match=r"rows [67] to \d+ of a in part-1\.h5 are damaged"),
    ):
        list(train)


def test_few_files_are_open_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    x, y = numbered()
    given = {"x": cut(tmp_path / "x", list(range(2, N, 2)), a=x), "y": cut(tmp_path / "y", [], a=y)}
    monkeypatch.setattr(OPEN_FILES, "_most_descriptors", lambda: 4)
    with PrefetchSequence(given, "a", "a", readers=2, **SMALL) as train:
        assert sorted(values(train)) == list(range(N))


def test_a_manifest_of_one_part(folder: Path, file: dict[str, str]) -> None:
    manifest = folder / "x" / "x.json"
    assert main(["manifest", file["x"], "-o", str(manifest)]) == 0
    with PrefetchSequence(file | {"x": manifest}, "images", "labels", **SMALL) as train:
        assert sorted(values(train)) == list(range(N))


@pytest.fixture
def growing(tmp_path: Path) -> Iterator[dict[str, Path]]:
    """Two files under a writer, which has flushed 60 rows of x and 58 of y."""
    x, y = numbered()
    with (
        h5py.File(tmp_path / "x.h5", "w", libver="latest") as inputs,
        h5py.File(tmp_path / "y.h5", "w", libver="latest") as labels,
    ):
        for file, rows in ((inputs, x), (labels, y[:-2])):
            file.create_dataset("a", data=rows, maxshape=(None, *rows.shape[1:]), chunks=True)
            file.swmr_mode = True
        yield {"x": tmp_path / "x.h5", "y": tmp_path / "y.h5"}


def test_files_that_are_written(growing: dict[str, Path], folder: Path) -> None:
    with PrefetchSequence(growing, "a", "a", swmr=True, **SMALL) as train:
        assert sorted(values(train)) == list(range(N - 2))
    given = growing | {"y": f"{folder}/y/part-*.h5"}
    with pytest.raises(SettingsError, match="swmr=True: x, y have different numbers of files"):
        PrefetchSequence(given, "a", "data", swmr=True)


def test_keras_trains_and_the_log_names_the_files(file: dict[str, str], tmp_path: Path) -> None:
    model = keras.Sequential([keras.layers.Dense(1)])
    model.compile("sgd", "mse")
    log = tmp_path / "run.jsonl"
    with PrefetchSequence(
        file, "images", "labels", transform=lambda x, y: (x / N, y / N), monitor=log, **SMALL
    ) as train:
        model.fit(train, epochs=2, verbose=0)
        assert "part-0.h5 and 3 more, part-0.h5 and 1 more" in repr(train)
    with PrefetchSequence(file, "images", "labels", shuffle=False) as test:
        assert model.predict(test, verbose=0).shape == (N, 1)
    (run, *_) = prefetcher.read_log(log)
    assert run["file"]["name"] == "part-0.h5 and 3 more, part-0.h5 and 1 more"
    assert [each.split()[0] for each in run["file"]["datasets"]] == ["x:images", "y:labels"]
