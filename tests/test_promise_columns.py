"""Exactly once, file order, replay, resuming and memory hold for every column."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import keras
import numpy as np
import pytest

from prefetcher import (
    Axis,
    Column,
    DatasetError,
    Field,
    PrefetchSequence,
    Row,
    SettingsError,
    StateError,
    Window,
)

N, FILES = 230, 3
EVENT = np.dtype([("id", "i4"), ("energy", ">f4"), ("place", [("x", "f8"), ("y", "f8")])])


@pytest.fixture(scope="module")
def paths(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Three files whose every number says which row of which file it is of."""
    folder = tmp_path_factory.mktemp("columns")
    paths = [folder / f"part-{number}.h5" for number in range(FILES)]
    for number, path in enumerate(paths):
        rows = np.arange(N) + 1000 * number
        events = np.zeros(N, EVENT)
        events["id"], events["energy"], events["place"]["x"] = rows, rows / 2, -rows
        wide = np.repeat(rows[:, None], 3, axis=1).astype("f4")
        with h5py.File(path, "w") as file:
            file["plain"] = wide
            file.create_dataset("gzip", data=wide, chunks=(20, 3), compression="gzip")
            file["events"] = events
            file["turned"] = wide.T
            file.create_dataset(
                "turned gzip", data=wide.T, chunks=(2, 20), compression="gzip", maxshape=(3, N)
            )
            file.create_dataset("turned growing", data=wide.T, chunks=(3, 16), maxshape=(3, None))
            file["vector"] = rows[None]
    return paths


def row_numbers() -> np.ndarray:
    return np.concatenate([np.arange(N) + 1000 * number for number in range(FILES)])


def starts(length: int, ahead: int = 0) -> list[int]:
    """The row numbers at which samples stand that need so many rows, from `ahead` on."""
    every = np.arange(N)
    stands = every[(every + ahead >= 0) & (every + ahead + length <= N)]
    return [int(row) + 1000 * number for number in range(FILES) for row in stands]


def first_rows(x: Any) -> Any:
    """The row at which each window begins."""
    return x.reshape(len(x), -1)[:, 0].astype(int)


CASES: dict[str, tuple[Column | str, Callable[[Any], Any], list[int]]] = {
    "window": (Window("plain", 7), first_rows, starts(7)),
    "decoded window": (Window("gzip", 7), first_rows, starts(7)),
    "row ahead": (Row("gzip", ahead=5), lambda x: first_rows(x) - 5, starts(1, 5)),
    "row behind": (Row("plain", ahead=-5), lambda x: first_rows(x) + 5, starts(1, -5)),
    "padded": (Window("gzip", 4, pad="edge"), first_rows, starts(1)),
    "field": ("events[energy]", lambda x: (2 * x).astype(int), starts(1)),
    "nested field": ("events[place][x]", lambda x: -x.astype(int), starts(1)),
    "axis": (Axis("turned"), first_rows, starts(1)),
    "decoded axis": (Axis("turned gzip", 1), first_rows, starts(1)),
    "axis by h5py": (Axis("turned growing"), first_rows, starts(1)),
    "vector of MATLAB": (Axis("vector"), lambda x: x[:, 0], starts(1)),
    "window of an axis": (Window(Axis("turned"), 7), first_rows, starts(7)),
    "field of a window": (
        Window(Field("events", "id"), 3), lambda x: x[:, 0], starts(3)
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("shuffle", [True, False])
def test_each_sample_comes_once_and_again_as_the_same(
    paths: list[Path], case: str, shuffle: bool
) -> None:
    column, number, expected = CASES[case]
    made = PrefetchSequence(
        paths, x=column, y=None, batch_size=8, chunk_size=64, block_size=8, shuffle=shuffle,
        readers=2, batchers=2,
    )  # fmt: skip
    with made as train:
        seen = [number(x).tolist() for (x,) in train]
        again = [number(train[index][0]).tolist() for index in (0, 1, 0, 5, 2)]
        peak = train.stats().buffer_peak_bytes
        assert 0 < peak <= train.memory_bytes
    flat = [row for batch in seen for row in batch]
    assert (sorted(flat) if shuffle else flat) == expected
    if not shuffle:
        assert again == [seen[index] for index in (0, 1, 0, 5, 2)]


def test_a_window_holds_the_rows_that_follow_and_no_other_file_s(paths: list[Path]) -> None:
    x, y = Window("plain", 6), (Row("plain", ahead=8), Window("gzip", 2, ahead=6))
    with PrefetchSequence(paths, x, y, batch_size=16) as train:
        for windows, (later, next_two) in train:
            first = windows[:, 0, 0]
            assert (windows == (first[:, None] + np.arange(6))[:, :, None]).all()
            assert (later == (first + 8)[:, None]).all()
            assert (next_two == (first[:, None] + [6, 7])[:, :, None]).all()


def test_rows_beyond_a_file_are_copies_of_its_ends(paths: list[Path]) -> None:
    column = Window("gzip", 5, ahead=-2, pad="edge")
    with PrefetchSequence(paths, x=column, y="events[id]", batch_size=16) as train:
        for x, stands in train:
            own = stands // 1000 * 1000
            wanted = np.clip(stands[:, None] + np.arange(-2, 3), own[:, None], own[:, None] + N - 1)
            assert (x[..., 0] == wanted).all()


def test_the_first_batch_may_be_any_where_windows_begin_before_the_file(paths: list[Path]) -> None:
    """What leads is read first, and then samples that stand before it: of fewer rows, at an end."""
    column = Window("plain", 8, ahead=-6, pad="edge")
    for first in range(3):
        with PrefetchSequence(
            paths[0], column, None, batch_size=2, shuffle=False, rows=(0, 6)
        ) as s:
            (x,) = s[first]
            stands = np.array([2 * first, 2 * first + 1])
            wanted = np.clip(stands[:, None] + np.arange(-6, 2), 0, N - 1)
            assert (x[..., 0] == wanted).all()


def test_arrays_lie_beside_their_samples(paths: list[Path]) -> None:
    """One value for each sample of the files, or for each that `rows` names."""
    every = row_numbers()
    chosen = np.random.default_rng(0).permutation(len(every))[:100]
    for y, rows in ((every, None), (every, chosen), (every[chosen], chosen)):
        with PrefetchSequence(paths, x="plain", y=y, rows=rows, batch_size=16) as train:
            seen = [(int(a), int(b)) for x, y in train for a, b in zip(x[:, 0], y, strict=True)]
        assert sorted(seen) == sorted((row, row) for row in every[rows].ravel().tolist())


def test_a_transform_may_ask_which_samples_it_has(paths: list[Path]) -> None:
    every = row_numbers()

    def labelled(x: Any, rows: Any) -> Any:
        return x, every[rows]

    with PrefetchSequence(paths, x="gzip", y=None, transform=labelled, rows=(5, 600)) as train:
        for x, y in train:
            assert (x[:, 0] == y).all()


def test_a_saved_place_knows_its_columns_and_arrays(paths: list[Path]) -> None:
    def train(length: int, y: Any) -> PrefetchSequence:
        return PrefetchSequence(paths, x=Window("plain", length), y=y, batch_size=16)

    y = np.arange(len(starts(3)))
    with train(3, y) as first:
        batches = [batch for batch, _ in zip(first, range(4), strict=False)]
        state = first.state_dict(3)
    with train(3, y.copy()) as second:
        second.load_state_dict(state)
        x, found = next(iter(second))
        assert (found == batches[3][1]).all()
        assert (x == batches[3][0]).all()
    with train(3, y + 1) as other, pytest.raises(StateError, match=r"y was .* and is"):
        other.load_state_dict(state)
    with train(4, y[: len(starts(4))]) as other, pytest.raises(StateError, match="x was"):
        other.load_state_dict(state)


def test_keras_trains_on_windows_of_a_group(paths: list[Path], tmp_path: Path) -> None:
    path = tmp_path / "split.h5"
    with h5py.File(path, "w") as file, h5py.File(paths[0]) as source:
        source.copy("plain", file.create_group("train"))
    model = keras.Sequential([keras.layers.Flatten(), keras.layers.Dense(3)])
    model.compile("sgd", "mse")
    x, y = Window("plain", 4), Row("plain", ahead=4)
    with PrefetchSequence(
        path, x, y, split="train", transform=lambda x, y: (x / N, y / N)
    ) as train:
        history = model.fit(train, epochs=2, verbose=0)
        assert train.plan.num_samples == N - 4
        assert model.evaluate(train, verbose=0) <= history.history["loss"][0]


@pytest.mark.parametrize("shuffle", [True, False])
def test_groups_are_one_data_set_and_no_window_crosses_them(tmp_path: Path, shuffle: bool) -> None:
    lengths = [7, 30, 2, 11]
    with h5py.File(tmp_path / "demos.h5", "w") as file:
        for number, length in enumerate(lengths):
            rows = np.arange(length) + 100 * number
            file[f"data/demo_{number}/obs/state"] = np.repeat(rows[:, None], 3, 1).astype("f4")
            file[f"data/demo_{number}/actions"] = rows
    x, y = Window("data/demo_*/obs/state", 3), Row("data/demo_*/actions", ahead=3)
    with PrefetchSequence(
        tmp_path / "demos.h5", x, y, batch_size=4, chunk_size=16, block_size=2, shuffle=shuffle
    ) as train:
        seen = []
        for windows, later in train:
            assert (windows[..., 0] == later[:, None] + [-3, -2, -1]).all()
            seen += later.tolist()
        state = train.state_dict()
        train.load_state_dict(state)
    expected = [
        100 * number + row for number, length in enumerate(lengths) for row in range(3, length)
    ]
    assert (sorted(seen) if shuffle else seen) == expected


def test_groups_are_chosen_by_name(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "demos.h5", "w") as file:
        for number in range(4):
            file[f"data/demo_{number}/x"] = np.full(3 + number, number)
    with PrefetchSequence(
        tmp_path / "demos.h5", "data/demo_*/x", None, groups=["demo_3", "demo_1"], shuffle=False
    ) as train:
        assert [x.tolist() for (x,) in train] == [[1] * 4 + [3] * 6]
        state = train.state_dict()
    with (
        PrefetchSequence(tmp_path / "demos.h5", "data/demo_*/x", None, shuffle=False) as other,
        pytest.raises(StateError),
    ):
        other.load_state_dict(state)
    with pytest.raises(SettingsError, match=r"groups=.* without a pattern"):
        PrefetchSequence(tmp_path / "demos.h5", "data/demo_1/x", None, groups=["demo_1"])
    with pytest.raises(SettingsError, match="groups=3: write the name of a dataset of names"):
        PrefetchSequence(tmp_path / "demos.h5", "data/demo_*/x", None, groups=any_type(3))


def test_the_warning_of_bad_mixing_is_for_columns_and_arrays_too(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "long.h5", "w") as file:
        rows = np.zeros((6400, 10))
        file.create_dataset("x", data=rows, chunks=(3200, 10), compression="gzip")
    for x, y in ((Row("x"), None), ("x", np.arange(6400))):
        with (
            pytest.warns(UserWarning, match="write it anew with shorter storage chunks"),
            PrefetchSequence(tmp_path / "long.h5", x, y, chunk_size=64),
        ):
            pass


def test_a_field_of_the_records_of_groups(tmp_path: Path) -> None:
    records = np.zeros(5, [("p", "f4"), ("q", "i4")])
    with h5py.File(tmp_path / "groups.h5", "w") as file:
        for number in range(3):
            records["q"] = np.arange(5) + 10 * number
            file[f"run_{number}/events"], file[f"run_{number}/x"] = records, records["q"]
    with PrefetchSequence(tmp_path / "groups.h5", "run_*/x", "run_*/events[q]") as train:
        ((x, y),) = train
        assert (x == y).all()
        assert sorted(x.tolist()) == sorted([*range(5), *range(10, 15), *range(20, 25)])
    with pytest.raises(DatasetError, match=r"y='run_\*/event': no dataset"):
        PrefetchSequence(tmp_path / "groups.h5", "run_*/x", "run_*/event")


@pytest.mark.parametrize(
    ("y", "message"),
    [
        (np.array(["a", "b"] * 345), "y is an array that holds text"),
        (np.zeros(690, "M8[s]"), "y is an array that holds times"),
        ([0, 1, 2], r"y is a list of 3 numbers: pass an array of them, y=np.array\(...\)"),
        (range(690), "y is a range of 690 numbers"),
    ],
)
def test_values_that_cannot_be_trained_on_are_refused(
    paths: list[Path], y: Any, message: str
) -> None:
    with pytest.raises(SettingsError, match=message):
        PrefetchSequence(paths, "plain", y)


def any_type(value: Any) -> Any:
    """What the types do not allow, and somebody may write."""
    return value


@pytest.mark.parametrize(
    ("x", "message"),
    [
        ("events", r"x='events': events .* holds records.*name a field, as in 'events\[id\]'"),
        ("events[enrgy]", r"x=events\[enrgy\]: no field 'enrgy' in events.*did you mean 'energy'"),
        ("plain[a]", r"x=plain\[a\]: plain holds float32, which has no fields"),
        ("plan[a]", r"x='plan\[a\]'|no dataset 'plan'"),
        (Window("plan", 3), r"x=Window.*no dataset 'plan' in part-0.h5.*did you mean 'plain'"),
        (Window("events", 3), r"x=Window.*holds records"),
    ],
)
def test_what_a_column_cannot_be_made_of_is_refused(
    paths: list[Path], x: Any, message: str
) -> None:
    with pytest.raises(DatasetError, match=message):
        PrefetchSequence(paths, x=x, y=None)


def test_windows_that_need_too_much_memory_say_what_to_make_shorter(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file.create_dataset("x", (1 << 20, 1 << 14), "f4", chunks=(16, 1 << 14))
    says = (
        "16 batches of 32 windows of 6553600000 bytes need .* GB, this machine has .*: write a "
        "smaller batch_size, chunk_queue or batch_queue, or a Window of x that is shorter than "
        "100000 rows"
    )
    with pytest.raises(SettingsError, match=says):
        PrefetchSequence(tmp_path / "a.h5", Window("x", 100_000), None)
