"""Rows along any axis, as numpy turns the dataset, in whatever way it is stored."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import h5py
import keras
import numpy as np
import pytest
from helpers.sequences import small
from hypothesis import given, settings
from hypothesis import strategies as st

from prefetcher import (
    Axis,
    CorruptError,
    DatasetError,
    Field,
    NoDatasetError,
    Padded,
    PrefetchSequence,
    SettingsError,
    Sparse,
    StateError,
    Unpacked,
    Window,
    split,
)
from prefetcher.cli import main
from prefetcher.filters.decode import Decoder
from prefetcher.hdf5 import turning
from prefetcher.hdf5.describe import describe
from prefetcher.hdf5.source import Source

N = 70
ROWS = np.arange(N * 4 * 3, dtype="i4").reshape(N, 4, 3)
EVENT = np.dtype([("id", "i4"), ("name", "S3"), ("energy", ">f4")])


def stored(axis: int, rows: Any = ROWS) -> Any:
    """The rows along an axis."""
    return np.ascontiguousarray(np.moveaxis(rows, 0, axis))


LAYOUTS: dict[str, dict[str, Any]] = {
    "contiguous": {},
    "whole rows": {"chunks": 16, "compression": "gzip"},
    "parts of rows": {"chunks": 16, "part": 2, "compression": "gzip", "shuffle": True},
    "not compressed": {"chunks": 16},
    "growing": {"chunks": 16, "grows": True, "compression": "gzip"},
    "checksums": {"chunks": 70, "part": 3, "fletcher32": True},
}


def write(path: Path, axis: int, layout: str, rows: Any = ROWS) -> Path:
    """`x` with its rows along an axis, and `id` (1, N), as MATLAB writes a vector."""
    options = dict(LAYOUTS[layout])
    if "chunks" in options:
        part = options.pop("part", None)
        inner = [min(each, part or each) for each in rows.shape[1:]]
        inner.insert(axis, min(options["chunks"], len(rows)))
        options["chunks"] = tuple(inner)
    data = stored(axis, rows)
    if options.pop("grows", False):
        options["maxshape"] = tuple(None if at == axis else n for at, n in enumerate(data.shape))
    with h5py.File(path, "w") as file:
        file.create_dataset("x", data=data, **options)
        file["id"] = np.arange(len(rows))[None]
    return path


def check(train: PrefetchSequence, rows: Any = ROWS) -> list[int]:
    """Each sample of a pass is the row that its number says; gives the numbers."""
    seen: list[int] = []
    for x, y in train:
        assert y.shape == (len(x), 1)
        assert (x == rows[y[:, 0]]).all()
        seen += y[:, 0].tolist()
    return seen


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("axis", [1, 2])
def test_rows_along_every_axis(tmp_path: Path, axis: int, layout: str) -> None:
    path = write(tmp_path / "a.mat", axis, layout)
    for number in (axis, axis - 3):
        with small(path, Axis("x", number), Axis("id"), readers=2) as train:
            assert sorted(check(train)) == list(range(N))
    with small(path, Axis("x", axis), Axis("id"), shuffle=False) as train:
        assert check(train) == list(range(N))
    name = Axis("x", axis).dataset
    source = Source(describe(path), [name])
    ways = {"contiguous": "contiguous", "growing": "general"}
    assert source.way_of(name) == ways.get(layout, "storage chunks")  # proved, not only chosen
    source.close()


def test_the_first_axis_is_the_dataset_itself(tmp_path: Path) -> None:
    path = write(tmp_path / "a.h5", 0, "contiguous")
    with small(path, Axis("x", 0), Axis("id")) as train:
        assert sorted(check(train)) == list(range(N))
        assert train.state_dict()  # nothing else is read
    assert Axis("x", 0).dataset == "x"


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.integers(1, 6), min_size=2, max_size=4),
    st.data(),
    st.sampled_from(["i1", "f8", "V3"]),
)
def test_every_shape_is_read_as_numpy_turns_it(shape: list[int], data: Any, dtype: str) -> None:
    import tempfile

    axis = data.draw(st.integers(0, len(shape) - 1))
    chunks = data.draw(st.none() | st.tuples(*(st.integers(1, n) for n in shape)))
    whole = np.random.default_rng(0).bytes(int(np.prod(shape)) * np.dtype(dtype).itemsize)
    array = np.frombuffer(whole, dtype).reshape(shape)
    turned = np.ascontiguousarray(np.moveaxis(array, axis, 0))
    runs = data.draw(st.lists(st.integers(0, shape[axis] - 1), min_size=1, max_size=6))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "a.h5"
        with h5py.File(path, "w") as file:
            file.create_dataset("x", data=array, chunks=chunks)
        name = Axis("x", axis).dataset
        source = Source(describe(path), [name])
        nbytes = turned[0].nbytes
        wanted = [(row, min(row + 2, shape[axis])) for row in runs]
        out = np.zeros((sum(stop - start for start, stop in wanted), nbytes), np.uint8)
        single = [out[at : at + 1] for at in range(len(out))]
        for places in ([out], single):
            out.fill(0)
            source.read(name, wanted, places)
            expected = b"".join(turned[start:stop].tobytes() for start, stop in wanted)
            assert out.tobytes() == expected
        source.close()


@pytest.mark.parametrize("layout", LAYOUTS)
def test_some_rows_alone_and_some_twice(tmp_path: Path, layout: str) -> None:
    path = write(tmp_path / "a.h5", 2, layout)
    chosen = np.random.default_rng(1).permutation(N)[:30]
    for rows in (chosen, np.concatenate([chosen, chosen[:9]]), slice(0, None, 3)):
        with small(path, Axis("x"), Axis("id"), rows=rows) as train:
            assert sorted(check(train)) == sorted(np.arange(N)[rows].tolist())


def test_other_columns_stand_around_it(tmp_path: Path) -> None:
    path = tmp_path / "a.h5"
    events = np.zeros((2, N), EVENT)
    events["id"], events["name"] = np.arange(N), b"a\0c"
    with h5py.File(path, "w") as file:
        file["events"] = events
        packed = file.create_dataset("t2m", data=np.arange(2 * N).reshape(2, N).astype("i2"))
        packed.attrs["scale_factor"] = 0.5
    x = (Field(Axis("events"), "id"), Window(Unpacked(Axis("t2m")), 3))
    with small(path, x, Field(Window(Axis("events"), 3), "energy"), shuffle=False) as train:
        ((ids, packed_windows), energy) = train[0]
        assert ids.tolist() == [[n, n] for n in range(len(ids))]
        assert packed_windows[1].tolist() == [[0.5 * n, 0.5 * (n + N)] for n in (1, 2, 3)]
        assert energy.shape == (len(ids), 3, 2)


def test_a_group_of_each_file_and_a_split(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "a.h5", "w") as file:
        for number in range(3):
            rows = np.arange(10 + number) + 100 * number
            file[f"demo_{number}/x"] = np.stack([rows, rows])
            file[f"demo_{number}/y"] = rows[None]
    with small(tmp_path / "a.h5", Axis("demo_*/x"), Axis("demo_*/y")) as train:
        seen = [(x.tolist(), y.tolist()) for batch in train for x, y in zip(*batch, strict=True)]
    assert len(seen) == 33
    assert all(x == y * 2 for x, y in seen)
    with small(tmp_path / "a.h5", Axis("x"), Axis("y"), split="demo_2") as train:
        assert train.plan.num_samples == 12


def test_x_and_y_lie_in_different_files(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "x.h5", "w") as file:
        file["a"] = np.stack([np.arange(N)] * 3)
    with h5py.File(tmp_path / "y.h5", "w") as file:
        file["b"] = np.arange(N)[None]
    files: Any = {"x": tmp_path / "x.h5", "y": tmp_path / "y.h5"}
    with small(files, Axis("a"), Axis("b")) as train:
        assert sum(len(y) for x, y in train if (x[:, :1] == y).all()) == N


def test_names_say_the_axis_where_only_a_name_is_taken(tmp_path: Path) -> None:
    path = tmp_path / "a.mat"
    labels = np.repeat([0, 1], [180, 20])
    with h5py.File(path, "w") as file:
        file["x"], file["labels"] = np.stack([labels, np.arange(200)]), labels[None]
    train, val = split(path, 0.2, stratify="labels[axis -1]")
    assert (len(train), len(val), labels[val].sum()) == (160, 40, 4)
    with PrefetchSequence(path, Axis("x"), None, balance="labels[axis -1]") as even:
        assert np.mean(np.concatenate([x[:, 0] for (x,) in even])) == pytest.approx(0.5, abs=0.01)


def test_a_manifest_tells_it_too(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    paths = [write(tmp_path / f"{n}.h5", 1, "whole rows") for n in range(2)]
    made = tmp_path / "train.json"
    assert main(["manifest", *map(str, paths), "-o", str(made)]) == 0
    capsys.readouterr()
    with small(made, Axis("x", 1), Axis("id")) as train:
        assert sorted(check(train)) == sorted([*range(N), *range(N)])


def test_each_storage_chunk_is_decoded_once_in_a_pass(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write(tmp_path / "a.h5", 2, "parts of rows", np.tile(ROWS, (10, 1, 1))[:640])
    decoded: list[int] = []
    decode = Decoder.decode
    with PrefetchSequence(path, Axis("x"), None, batch_size=8, chunk_size=128) as train:
        assert train.plan.align == 16
        assert train.plan.block_size % 16 == 0
        train[0]

        def note(self: Decoder, data: Any, mask: int) -> Any:
            decoded.append(len(data))
            return decode(self, data, mask)

        monkeypatch.setattr(Decoder, "decode", note)
        train.load_state_dict(train.state_dict(0))
        assert sum(len(x) for (x,) in train) == 640
    assert len(decoded) <= 1.1 * (640 // 16) * 2 * 2 * 2  # one pass, and what is read ahead of it


def test_neighbours_are_read_together(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A block of rows is one call for each element of a row, not one for each row of it."""
    path = write(tmp_path / "a.h5", 2, "contiguous")
    calls: list[int] = []
    put = turning._put

    def note(scratch: Any, turned: Any, *arguments: Any) -> None:
        calls.append(len(turned))
        put(scratch, turned, *arguments)

    monkeypatch.setattr(turning, "_put", note)
    name = Axis("x").dataset
    source = Source(describe(path), [name])
    calls.clear()
    out = np.empty((40, ROWS[0].nbytes), np.uint8)
    source.read(name, [(0, 10), (10, 20), (30, 50)], [out])
    source.close()
    assert calls == [50]
    assert out.tobytes() == np.concatenate([ROWS[:20], ROWS[30:50]]).tobytes()


def test_blocks_are_long_enough_that_their_pieces_pay(tmp_path: Path) -> None:
    """A piece of 1 KiB of each row's elements; where a chunk size is written, mixing goes first."""
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["x"] = np.zeros((784, 30_000), np.float32)
        file["narrow"] = np.zeros((4, 30_000), np.float32)
    for name, block in (("x", 256), ("narrow", 1024)):
        with PrefetchSequence(tmp_path / "a.h5", Axis(name), None) as train:
            assert (train.plan.block_size, train.plan.align) == (block, 1)
            assert train.plan.mixes_well
    with PrefetchSequence(tmp_path / "a.h5", Axis("x"), None, chunk_size=3200) as train:
        assert train.plan.block_size == 3200 // 64


def test_a_place_is_saved_and_found_again(tmp_path: Path) -> None:
    path = write(tmp_path / "a.h5", 2, "whole rows")
    with small(path, Axis("x"), Axis("id")) as train:
        batches = list(train)
        state = train.state_dict(3)
    with small(path, Axis("x"), Axis("id")) as train:
        train.load_state_dict(state)
        assert (next(iter(train))[1] == batches[3][1]).all()
    with small(path, Axis("x", 1), None) as other, pytest.raises(StateError):
        other.load_state_dict(state)


def test_keras_trains_on_it(tmp_path: Path) -> None:
    path = write(tmp_path / "a.mat", 2, "contiguous")
    model = keras.Sequential(
        [keras.layers.Rescaling(1 / ROWS.size), keras.layers.Flatten(), keras.layers.Dense(1)]
    )
    model.compile("sgd", "mse")
    with small(path, Axis("x"), Axis("id"), transform=lambda x, y: (x, y / N)) as train:
        history = model.fit(train, epochs=2, verbose=0)
    assert history.history["loss"][1] < history.history["loss"][0]


def test_who_does_not_turn_what_must_be_is_told(tmp_path: Path) -> None:
    path = write(tmp_path / "a.mat", 2, "contiguous")
    with h5py.File(path, "a") as file:
        file["first"] = ROWS
    for x, says in (
        ("x", rf"{N} lie along the last axis of x, id: .* Axis\('x', -1\), Axis\('id', -1\)"),
        ("first", rf"{N} lie along the last axis of id: if so, write Axis\('id', -1\)$"),
    ):
        with pytest.raises(DatasetError, match=says), PrefetchSequence(path, x, "id"):
            pass


def test_what_cannot_be_turned_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "a.h5", 2, "contiguous")
    with h5py.File(path, "a") as file:
        tokens = file.create_dataset("tokens", (2, N), h5py.vlen_dtype("i4"))
        tokens[0, 0] = [1]
        group = file.create_group("X")
        group.attrs["encoding-type"], group.attrs["shape"] = "csr_matrix", (N, 3)
        group["data"], group["indices"], group["indptr"] = [1.0], [0], [0, *[1] * N]
    for column, error, says in (
        (Axis("x", 3), DatasetError, r"no axis 3"),
        (Axis("x", -4), DatasetError, r"no axis -4"),
        (Axis("none"), NoDatasetError, "none"),
        (Padded(Axis("tokens"), 3), DatasetError, "variable length"),
        (Axis("X"), DatasetError, "sparse matrix"),
        (Axis("id", 0), DatasetError, "as many rows"),
    ):
        with pytest.raises(error, match=says), PrefetchSequence(path, column, Axis("id")):
            pass
    with (
        pytest.raises(DatasetError, match="first axis alone"),
        PrefetchSequence(path, Axis("x"), None, swmr=True),
    ):
        pass
    for of in (Window("x", 2), Sparse("X"), 3):
        with pytest.raises(SettingsError, match="name of a dataset"):
            Axis(of)  # type: ignore[arg-type]
    with pytest.raises(SettingsError, match="whole number"):
        Axis("x", 1.5)  # type: ignore[arg-type]


def test_a_dataset_of_that_very_name_is_itself(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["x[axis -1]"] = np.arange(20)
        file["id"] = np.arange(20)[None]
    with small(tmp_path / "a.h5", "x[axis -1]", Axis("id")) as train:
        assert all((x == y[:, 0]).all() for x, y in train)


def test_damage_names_rows_and_storage_chunk(tmp_path: Path) -> None:
    path = write(tmp_path / "a.h5", 2, "checksums")
    with h5py.File(path) as file:
        place = file["x"].id.get_chunk_info(1)
        corner = file["x"].id.get_chunk_info(1).chunk_offset
    with path.open("r+b") as raw:
        raw.seek(place.byte_offset + 5)
        raw.write(b"\xff\xff")
    number = tuple(at // size for at, size in zip(corner, (3, 3, 70), strict=True))
    says = rf"rows \d+ to \d+ of x\[axis -1\] .*storage chunk {number}".replace("(", r"\(").replace(
        ")", r"\)"
    )
    with small(path, Axis("x"), None) as train, pytest.raises(CorruptError, match=says):
        list(train)


def test_many_elements_a_row_are_told_to_be_slow(tmp_path: Path) -> None:
    path = tmp_path / "wide.mat"
    with h5py.File(path, "w") as file:
        file["x"] = np.zeros((64, 64, 5, 96), np.uint8)
        file["y"] = np.arange(96)[None]
    says = (
        r"x in wide\.mat is slow to read: .* in 20,480 places .* pieces of 32 bytes.*"
        r"prefetcher convert .*wide\.mat .*wide-repacked\.h5 --x x --y y --axis -1`"
    )
    with pytest.warns(UserWarning, match=says), PrefetchSequence(path, Axis("x"), Axis("y")):
        pass
    path = write(tmp_path / "narrow.mat", 2, "contiguous")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with PrefetchSequence(path, Axis("x"), Axis("id")):
            pass
