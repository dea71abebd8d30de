"""`weights=` and `balance=`: what a pass draws, and what is refused with which words."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import h5py
import keras
import numpy as np
import pytest
from helpers.sequences import ids, small
from numpy.typing import NDArray

from prefetcher import Monitor, PrefetchSequence, Row, Window, read_log
from prefetcher.errors import DatasetError, NoDatasetError, SettingsError, StateError

N, RARE = 4000, 40
LABELS = (np.random.default_rng(0).permutation(N) < RARE).astype(np.int64)


@pytest.fixture(scope="module")
def imbalanced(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """1 % of class 1, which is separable by the first feature; ids in `y`."""
    path = tmp_path_factory.mktemp("weights") / "imbalanced.h5"
    rng = np.random.default_rng(1)
    x = rng.normal(size=(N, 4)).astype(np.float32)
    x[:, 0] += 4 * LABELS
    with h5py.File(path, "w") as file:
        for group in (file, file.create_group("train")):
            group.create_dataset("x", data=x, chunks=(50, 4), compression="gzip")
            group["y"] = np.arange(N)
            group["labels"] = LABELS
        file["column"] = LABELS[:, None].astype(np.uint8)
        file["names"] = np.array([b"common", b"rare"])[LABELS]
        file["onehot"] = np.eye(2, dtype=np.float32)[LABELS]
        file["weights"] = 1.0 + LABELS
        file["numbers"] = rng.normal(size=N)
        file["zeros"] = np.zeros(N)
        file["negative"] = np.where(np.arange(N) == 7, -1.0, 1.0)
        file["half"] = LABELS[: N // 2]
    return path


def drawn(sequence: PrefetchSequence) -> NDArray[np.int64]:
    with sequence:
        return np.concatenate([y for _, y in sequence])


def assert_counts(found: NDArray[np.int64], weights: NDArray[Any]) -> None:
    """As many draws as samples, each row fewer than two off its share."""
    shares = len(found) * weights / weights.sum()
    assert (abs(np.bincount(found, minlength=len(weights)) - shares) < 2).all()


@pytest.mark.parametrize("name", ["labels", "column", "names", "onehot"])
def test_balance_draws_each_class_as_often(imbalanced: Path, name: str) -> None:
    found = drawn(PrefetchSequence(imbalanced, balance=name))
    assert len(found) == N
    assert abs(LABELS[found].sum() - N / 2) < 60  # a standard deviation is at most 32
    assert_counts(found, np.where(LABELS, N / RARE, N / (N - RARE)))


def test_balance_within_rows_counts_the_classes_of_these(imbalanced: Path) -> None:
    rows = np.append(np.flatnonzero(LABELS)[:10], np.flatnonzero(LABELS == 0)[:290])
    found = drawn(PrefetchSequence(imbalanced, rows=rows, balance="labels"))
    assert len(found) == 300
    assert set(found) <= set(rows)
    assert abs(LABELS[found].sum() - 150) <= 20


def test_names_are_within_the_split(imbalanced: Path) -> None:
    sequence = PrefetchSequence(imbalanced, split="train", balance="labels")
    assert LABELS[drawn(sequence)].mean() == pytest.approx(0.5, abs=0.02)
    with pytest.raises(NoDatasetError, match="balance='column'"):
        PrefetchSequence(imbalanced, split="train", balance="column")


def test_weights_belong_to_samples_in_the_order_of_rows(imbalanced: Path) -> None:
    rows = np.random.default_rng(2).permutation(N)[:500]
    weights = np.where(rows % 10 == 3, 5.0, 1.0)
    found = drawn(PrefetchSequence(imbalanced, rows=rows, weights=weights))
    of_row = np.zeros(N)
    of_row[rows] = weights
    assert_counts(found, of_row)


def test_weights_out_of_the_file_are_those_of_the_samples(imbalanced: Path) -> None:
    found = drawn(PrefetchSequence(imbalanced, rows=(100, 3000), weights="weights"))
    weights = np.zeros(N)
    weights[100:3000] = 1.0 + LABELS[100:3000]
    assert_counts(found, weights)


def test_a_weight_of_zero_is_never_drawn(imbalanced: Path) -> None:
    found = drawn(PrefetchSequence(imbalanced, weights=LABELS.tolist()))
    assert LABELS[found].all()
    assert (np.bincount(found)[LABELS[: found.max() + 1] == 1] == N / RARE).all()


def test_passes_draw_anew_and_seeds_alike(imbalanced: Path) -> None:
    def passes(seed: int, **settings: Any) -> list[list[int]]:
        with PrefetchSequence(imbalanced, balance="labels", seed=seed, **settings) as train:
            return [[row for _, y in train for row in y.tolist()] for _ in range(2)]

    first = passes(0)
    assert first == passes(0, readers=2, batchers=2, batch_queue=3)
    assert sorted(first[0]) != sorted(first[1]), "other rows of the common class"
    assert first[0] != passes(1)[0]


def test_training_goes_on_in_mid_pass(imbalanced: Path) -> None:
    """And a batch asked for again, or out of order, is the same batch."""
    settings: dict[str, Any] = {"x": "y", "balance": "labels", "chunk_size": 640}
    with PrefetchSequence(imbalanced, **settings) as train:
        whole = [[y.tolist() for _, y in train] for _ in range(2)]
    with PrefetchSequence(imbalanced, **settings) as train:
        assert train[40][1].tolist() == whole[0][0], "an index is a ticket"
        begun = [train[index][1].tolist() for index in range(40)]
        assert begun[:39] == whole[0][1:40]
        state = train.state_dict()
    with PrefetchSequence(imbalanced, **settings) as train:
        train.load_state_dict(state)
        rest = [y.tolist() for _, y in train]
        assert rest == whole[0][41:]
        assert [y.tolist() for _, y in train] == whole[1]


@pytest.mark.parametrize(
    "other",
    [{}, {"weights": np.ones(N)}, {"weights": np.arange(N)}, {"weights": "weights"}],
    ids=["none", "ones", "others", "stored"],
)
def test_a_state_of_other_weights_is_refused(imbalanced: Path, other: dict[str, Any]) -> None:
    with PrefetchSequence(imbalanced, balance="labels") as train:
        state = train.state_dict()
    with (
        PrefetchSequence(imbalanced, **other) as train,
        pytest.raises(StateError, match="weights was '4000 weights"),
    ):
        train.load_state_dict(state)


def test_the_same_weights_from_elsewhere_fit(imbalanced: Path) -> None:
    with PrefetchSequence(imbalanced, weights="weights") as train:
        state = train.state_dict()
    with PrefetchSequence(imbalanced, weights=1.0 + LABELS) as train:
        train.load_state_dict(state)


@pytest.mark.parametrize(
    ("settings", "error", "said"),
    [
        ({"weights": np.ones(N - 1)}, SettingsError, "weights has 3999 numbers for 4000 samples"),
        ({"weights": np.ones(N), "rows": (0, 9)}, SettingsError, "for 9 samples: pass those of"),
        ({"weights": [-1.0] * N}, SettingsError, "weights: sample 0 has -1 .*write 0 for never"),
        ({"weights": [1.0, np.nan] * 2000}, SettingsError, "sample 1 has nan .2000 of 4000"),
        ({"weights": [np.inf] * N}, SettingsError, "sample 0 has inf"),
        ({"weights": np.zeros(N)}, SettingsError, "weights has zeros only"),
        ({"weights": "zeros"}, SettingsError, "weights='zeros' has zeros only"),
        ({"weights": "negative"}, SettingsError, "weights='negative': sample 7 has -1"),
        ({"weights": "x"}, SettingsError, "weights='x': .*no single number for each row"),
        ({"weights": "names"}, SettingsError, "weights='names': .*no single number"),
        ({"weights": "half"}, DatasetError, "weights='half': .*has 2000 rows"),
        ({"weights": "weigths"}, NoDatasetError, "weights='weigths': .*weights"),
        ({"balance": "label"}, NoDatasetError, "balance='label': .*labels"),
        ({"balance": "half"}, DatasetError, "balance='half': .*has 2000 rows"),
        ({"balance": "numbers"}, SettingsError, "balance='numbers': each of the 4000 samples"),
        ({"balance": "x"}, SettingsError, "balance='x': .*one-hot"),
    ],
)
def test_what_cannot_be_drawn_by_is_refused(
    imbalanced: Path, settings: dict[str, Any], error: type[Exception], said: str
) -> None:
    with pytest.raises(error, match=said):
        PrefetchSequence(imbalanced, **settings)


def test_the_log_has_no_weight_one_by_one(imbalanced: Path, tmp_path: Path) -> None:
    log = tmp_path / "run.jsonl"
    with PrefetchSequence(imbalanced, weights=np.ones(N), monitor=Monitor(log)) as train:
        for _ in train:
            pass
    settings = read_log(log)[0]["settings"]
    assert settings["weights"] == "4000 numbers"


def test_small_chunks_and_no_remainder(samples: Any) -> None:
    settings: list[tuple[dict[str, Any], int]] = [
        ({}, 90),
        ({"drop_remainder": True}, 88),
        ({"block_size": 1}, 90),
    ]
    for chosen, count in settings:
        with small(samples(90), weights=np.arange(90), **chosen) as train:
            found = [row for batch in train for row in ids(batch)]
        assert len(found) == count
        assert 0 not in found


def test_balance_lets_a_fit_learn_a_rare_class(imbalanced: Path) -> None:
    """Without it, a short training says that nothing is rare."""

    def recall(**settings: Any) -> float:
        keras.utils.set_random_seed(0)
        model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(1, activation="sigmoid")])
        model.compile(optimizer=keras.optimizers.SGD(0.1), loss="binary_crossentropy")
        with PrefetchSequence(imbalanced, y="labels", **settings) as train:
            model.fit(train, epochs=2, verbose=0)
        with h5py.File(imbalanced) as file:
            found = model.predict(file["x"][:][LABELS == 1], verbose=0)
        return float((found > 0.5).mean())

    assert recall() < 0.5
    assert recall(balance="labels") > 0.85


def test_classes_may_be_text_of_any_length(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "text.h5", "w") as file:
        file["x"] = np.arange(100)
        file["kind"] = ["rare" if row < 10 else "common" for row in range(100)]
    with PrefetchSequence(tmp_path / "text.h5", "x", None, balance="kind") as train:
        drawn = np.concatenate([x for (x,) in train])
    assert 45 <= np.count_nonzero(drawn < 10) <= 55


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two files of records with a class and a weight, rare ones in a run; and their rows' ids."""
    folder = tmp_path_factory.mktemp("table")
    for number in range(2):
        rows = np.zeros(300, [("id", "i4"), ("is", [("rare", "u1")]), ("weight", "f4")])
        rows["id"] = np.arange(300) + 300 * number
        rows["is"]["rare"] = rows["id"] % 50 < 2
        rows["weight"] = 1 + rows["is"]["rare"]
        with h5py.File(folder / f"part-{number}.h5", "w") as file:
            file["events"], file["x"] = rows, rows["id"]
            file["rare"] = rows["is"]["rare"]
            file["of_windows"] = rows["is"]["rare"][5:]
    return folder


@pytest.mark.parametrize(
    ("settings", "share"),
    [({"balance": "events[is][rare]"}, 1 / 2), ({"weights": "events[weight]"}, 4 / 52)],
)
def test_fields_of_records_draw_as_datasets_do(
    table: Path, settings: dict[str, Any], share: float
) -> None:
    with PrefetchSequence(table / "part-*.h5", "x", "events[is][rare]", **settings) as train:
        found = np.concatenate([y for _, y in train])
    assert abs(found.mean() - share) < 0.03


def test_a_field_that_is_missing_is_named(table: Path) -> None:
    with pytest.raises(DatasetError, match=r"no field 'rar' in events\[is\].*did you mean 'rare'"):
        PrefetchSequence(table / "part-*.h5", "x", None, balance="events[is][rar]")


@pytest.mark.parametrize(
    ("y", "balance", "ahead"),
    [
        (Row("x", ahead=5), "rare", 5),
        (Row("rare", ahead=5), "rare", 5),
        ("x", "events[is][rare]", 0),
        (Window("x", 2, ahead=-1), "rare", -1),
    ],
)
def test_the_class_of_a_window_is_that_of_the_row_where_its_target_begins(
    table: Path, y: Any, balance: str, ahead: int
) -> None:
    with PrefetchSequence(table / "part-*.h5", Window("x", 6), y, balance=balance) as train:
        stands = np.concatenate([x[:, 0] for x, _ in train])
    rare = (stands + ahead) % 50 < 2
    assert abs(rare.mean() - 0.5) < 0.03


def test_a_dataset_with_one_for_each_window_is_taken_as_it_is(table: Path) -> None:
    path = table / "part-0.h5"
    with PrefetchSequence(path, Window("x", 6), None, balance="of_windows") as train:
        stands = np.concatenate([x[:, 0] for (x,) in train])
    assert abs(((stands + 5) % 50 < 2).mean() - 0.5) < 0.03
    with pytest.raises(DatasetError, match="has 295 rows, neither as many as x and y, nor one for"):
        PrefetchSequence(path, Window("x", 9), None, balance="of_windows")


def test_windows_of_a_stride_and_a_padding(table: Path) -> None:
    """A row beyond the end is the last, as in the windows themselves."""
    x, y = Window("x", 6, stride=4, pad="edge"), Row("x", ahead=3, stride=4)
    with PrefetchSequence(table / "part-0.h5", x, y, balance="rare") as train:
        later = np.concatenate([y for _, y in train])
    assert abs((later % 50 < 2).mean() - 0.5) < 0.1
