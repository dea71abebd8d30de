"""Rows of variable length in sequences: what h5py and numpy give, each sample exactly once."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import h5py
import keras
import numpy as np
import pytest
from helpers.ragged import picture_of, same, tokens_of, write_ragged
from hypothesis import given, settings
from hypothesis import strategies as st

import prefetcher
from prefetcher import Padded, Picture, PrefetchSequence, Row, Window
from prefetcher.columns.column import Column
from prefetcher.errors import CorruptError, DatasetError, ReadError

N = 40
LENGTH = 6


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_ragged(tmp_path_factory.mktemp("ragged") / "a.h5", N)


def padded(row: Any, length: int = LENGTH, fill: int = -1) -> Any:
    return np.concatenate([row[:length], np.full(max(0, length - len(row)), fill)])


def masked(row: Any, length: int = LENGTH) -> Any:
    return np.arange(length) < len(row)


def decoded(row: Any) -> Any:
    """A picture whose pixels are all the same stays so, whatever its size."""
    return np.full((3, 4, 3), number_in(row), np.uint8)


def number_in(row: Any) -> int:
    return next(n for n in range(256) if picture_of(n) == row.tobytes())


Each = Callable[[Any], Any]
COLUMNS: list[tuple[Column, str, Each]] = [
    (Padded("tokens", LENGTH, -1), "tokens", padded),
    (Padded("chunked", LENGTH, -1), "chunked", padded),
    (Padded("big", LENGTH, -1), "big", padded),
    (Padded("tokens", LENGTH, mask=True), "tokens", masked),
    (Padded("tokens", 20, -1), "tokens", lambda row: padded(row, 20)),
    (Picture("bytes", (3, 4)), "bytes", decoded),
]
"""Columns of one row, their dataset, and what they make of a row."""


def taken(rows: Sequence[Any], each: Each, sample: int, span: Any) -> Any:
    """A sample's value by the rules of windows, written out."""
    first = sample * span.stride + span.ahead
    wanted = range(first, first + span.rows)
    values = [each(rows[min(max(row, 0), len(rows) - 1)]) for row in wanted]
    return values[0] if span.length is None else np.stack(values)


@st.composite
def spans(draw: st.DrawFn, column: Column) -> Column:
    """The column itself, or windows of it, or a row ahead."""
    kind = draw(st.sampled_from(["itself", "row", "window", "padded window"]))
    ahead = draw(st.integers(-3, 3))
    stride = draw(st.integers(1, 3))
    if kind == "itself":
        return column
    if kind == "row":
        return Row(column, ahead, stride)
    pad: Any = "edge" if kind == "padded window" else None
    return Window(column, draw(st.integers(1, 5)), stride, ahead, pad)


@given(st.data())
@settings(max_examples=60)
def test_any_settings_give_each_sample_once(path: Path, data: st.DataObject) -> None:
    column, name, each = data.draw(st.sampled_from(COLUMNS))
    column = data.draw(spans(column))
    shuffle = data.draw(st.booleans())
    batch_size = data.draw(st.integers(1, 9))
    chunk_size = batch_size * data.draw(st.integers(1, 4))
    rows = data.draw(st.none() | st.sampled_from(["mask", "numbers"]))
    with h5py.File(path) as file:
        stored = list(file[name])
    span = column.span

    def exists(first: int) -> bool:
        inside = first + span.ahead >= 0 and first + span.stop <= N
        return first < N and (span.pad or inside)

    samples = [at for at in range(2 * N) if exists(at * span.stride)]
    chosen = np.arange(len(samples))
    if rows == "mask":
        chosen = np.flatnonzero(np.random.default_rng(0).random(len(samples)) < 0.6)
    elif rows == "numbers":
        chosen = np.random.default_rng(1).permutation(len(samples))[: 1 + len(samples) // 2]
    with PrefetchSequence(
        path,
        x=column,
        y=Row("id", span.ahead, span.stride) if span.pad is False else Window("id", *_same(column)),
        batch_size=batch_size,
        chunk_size=chunk_size,
        block_size=data.draw(st.integers(1, batch_size)),
        rows=None if rows is None else chosen,
        shuffle=shuffle,
        readers=data.draw(st.integers(1, 2)),
        batchers=data.draw(st.integers(1, 2)),
        transform=lambda x, y, rows: (x, y, rows),
    ) as sequence:
        for _ in range(2):
            seen: list[int] = []
            for x, _, numbers in sequence:
                for value, number in zip(x, numbers, strict=True):
                    expected = taken(stored, each, samples[number], span)
                    assert value.shape == np.shape(expected)
                    assert (value == expected).all()
                seen += numbers.tolist()
            assert sorted(seen) == sorted(chosen.tolist())
            if not shuffle:
                assert seen == chosen.tolist()


def _same(column: Column) -> tuple[int, int, int, Any]:
    span = column.span
    return span.rows, span.stride, span.ahead, "edge"


@given(
    st.lists(st.lists(st.integers(-9, 9), max_size=12), min_size=1, max_size=30),
    st.lists(st.integers(1, 29), max_size=2),
    st.integers(1, 8),
    st.booleans(),
)
@settings(max_examples=40)
def test_any_rows_in_any_files(
    rows: list[list[int]], cuts: list[int], length: int, shuffle: bool
) -> None:
    bounds = sorted({0, len(rows), *(cut for cut in cuts if cut < len(rows))})
    with TemporaryDirectory() as folder:
        paths = []
        for start, stop in pairwise(bounds):
            paths.append(Path(folder) / f"{start:02}.h5")
            with h5py.File(paths[-1], "w") as file:
                tokens = file.create_dataset("t", (stop - start,), h5py.vlen_dtype("i2"))
                for at, row in enumerate(rows[start:stop]):
                    tokens[at] = row
                file["id"] = np.arange(start, stop)
        x: Any = {"t": Padded("t", length), "mask": Padded("t", length, mask=True)}
        with PrefetchSequence(paths, x, "id", batch_size=4, chunk_size=8, shuffle=shuffle) as found:
            seen = []
            for values, numbers in found:
                for value, mask, number in zip(values["t"], values["mask"], numbers, strict=True):
                    assert (value == padded(rows[number], length, 0)).all()
                    assert (mask == masked(rows[number], length)).all()
                seen += numbers.tolist()
    assert sorted(seen) == list(range(len(rows)))


@pytest.mark.parametrize("name", ["tokens", "pairs", "text", "bytes", "empty"])
def test_a_transform_gets_what_h5py_gives(path: Path, name: str) -> None:
    got: list[Any] = []

    def transform(x: Any, y: Any) -> Any:
        got.append((x, y))
        return np.zeros(len(y)), y

    with PrefetchSequence(path, name, "id", batch_size=7, transform=transform) as sequence:
        for _ in sequence:
            pass
        del got[len(sequence) :]  # the pipeline is in its next pass already
    with h5py.File(path) as file:
        rows = file[name][()]
    numbers = np.concatenate([y for _, y in got])
    assert sorted(numbers.tolist()) == list(range(N))
    assert same(np.concatenate([x for x, _ in got]), rows[numbers])
    assert got[0][0].dtype == object
    assert got[0][0].shape[1:] == rows.shape[1:]


def test_windows_of_what_a_transform_gets(path: Path) -> None:
    def transform(x: Any, y: Any) -> Any:
        assert x.shape == (len(y), 3)
        return np.array([[len(row) for row in rows] for rows in x]), y

    with PrefetchSequence(path, Window("tokens", 3), "id", transform=transform) as sequence:
        for x, y in sequence:
            assert (x == [[len(tokens_of(n + at)) for at in range(3)] for n in y.tolist()]).all()


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("tokens", r"write prefetcher.Padded\('tokens', length\) for one length, or pass a trans"),
        ("bytes", r"Padded\('bytes', length\).*Picture\('bytes', size=\(height, width\)\)"),
        ("text", "Keras takes arrays: pass a transform"),
        (Window("tokens", 2), r"Padded\('tokens', length\)"),
    ],
)
def test_without_a_column_and_a_transform_they_are_refused_at_once(
    path: Path, name: Any, says: str
) -> None:
    with pytest.raises(DatasetError, match=says) as caught:
        PrefetchSequence(path, "id", name)
    assert str(caught.value).startswith("y=")


def test_rows_of_several_columns_are_read_once(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    reads: list[tuple[str, Any, Any]] = []
    real = prefetcher.hdf5.source.Source.objects

    def objects(self: Any, name: str, runs: Any, out: Any, most: Any = None) -> None:
        reads.append((name, list(runs), most))
        real(self, name, runs, out, most)

    monkeypatch.setattr("prefetcher.hdf5.source.Source.objects", objects)
    x: Any = {
        "t": Padded("tokens", 4),
        "long": Padded("tokens", 9),
        "m": Padded("tokens", 4, mask=True),
    }
    with PrefetchSequence(path, x, "id", shuffle=False, batch_size=10) as sequence:
        for index in range(len(sequence)):
            sequence[index]
    rows = [row for _, runs, _ in reads for run in runs for row in range(*run)]
    assert sorted(rows[:N]) == list(range(N))  # then come those of the next pass
    assert {(name, most) for name, _, most in reads} == {("tokens", 9)}


def test_a_picture_that_cannot_be_decoded_names_its_row_and_file(tmp_path: Path) -> None:
    paths = [write_ragged(tmp_path / f"{n}.h5", 10) for n in range(2)]
    with h5py.File(paths[1], "a") as file:
        file["bytes"][3] = file["bytes"][3][:40]
    with PrefetchSequence(paths, Picture("bytes", (2, 2)), "id", shuffle=False, batch_size=5) as it:
        it[0], it[1]
        with pytest.raises(CorruptError, match=r"^row 3 of bytes in 1.h5 is no picture"):
            it[2]
        it[3]
    windows = Window(Picture("bytes", (2, 2)), 3, ahead=-1, pad="edge")
    with PrefetchSequence(paths, windows, "id", shuffle=False, batch_size=1) as it:
        it[11]
        for index in (12, 13, 14):
            with pytest.raises(CorruptError, match=r"^row 3 of bytes in 1.h5 is no picture"):
                it[index]
        it[15]


def test_a_heap_that_is_damaged_names_its_rows(tmp_path: Path) -> None:
    path = write_ragged(tmp_path / "a.h5", 10)
    path.write_bytes(path.read_bytes().replace(b"GCOL", b"XXXX"))
    with (
        PrefetchSequence(path, Padded("tokens", 3), "id") as sequence,
        pytest.raises(ReadError, match=r"of tokens in a.h5 are damaged"),
    ):
        sequence[0]


def test_memory_is_that_of_padded_rows_or_of_the_files(path: Path) -> None:
    def needed(x: Any, **how: Any) -> int:
        with PrefetchSequence(path, x, "id", **how) as sequence:
            return sequence.memory_bytes

    short, long = needed(Padded("tokens", 10)), needed(Padded("tokens", 1000))
    assert long - short >= 2 * N * 990 * 4  # the rows of the chunks, of which one has all
    pictures = needed(Picture("bytes", (100, 100))) - needed(Picture("bytes", (10, 10)))
    assert pictures >= 16 * 32 * (100 * 100 - 10 * 10) * 3  # the queue of batches
    whole = needed("tokens", transform=lambda x, y: (np.zeros(len(y)), y))
    assert whole >= path.stat().st_size


def test_storage_chunks_of_references_keep_no_rows_together(tmp_path: Path) -> None:
    """They cost next to nothing to decode, so they are no reason to mix less."""
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file.create_dataset("t", (9000,), h5py.vlen_dtype("i2"), chunks=(4000,))
        file["id"] = np.arange(9000)
    with PrefetchSequence(tmp_path / "a.h5", Padded("t", 5), "id") as sequence:
        assert sequence.plan.align == 1
        assert sequence.plan.mixes_well


def test_a_place_is_saved_and_found_again(path: Path) -> None:
    with PrefetchSequence(path, Padded("tokens", 5), "id", batch_size=6) as sequence:
        first = [sequence[index] for index in range(3)]
        state = sequence.state_dict()
        rest = [sequence[index][1].tolist() for index in range(3, len(sequence))]
    with PrefetchSequence(path, Padded("tokens", 5), "id", batch_size=6) as again:
        again.load_state_dict(state)
        assert [batch[1].tolist() for batch in again] == rest
    assert len(first) == 3


def test_classes_that_are_text_are_split(path: Path, tmp_path: Path) -> None:
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file.create_dataset("y", data=["cat", "dog"] * 20, dtype=h5py.string_dtype())
        file["x"] = np.arange(40)
    train, val = prefetcher.split(tmp_path / "a.h5", 0.25, stratify="y")
    assert sorted([*train, *val]) == list(range(40))
    assert np.bincount(np.asarray(val) % 2).tolist() == [5, 5]
    with pytest.raises(prefetcher.SettingsError, match="variable length"):
        prefetcher.split(path, 0.25, x="id", stratify="tokens")


def test_a_model_trains_on_tokens_masks_and_pictures(path: Path) -> None:
    """A sum over what is there, weighted by the mask: its loss is exactly 0."""
    tokens = keras.Input((LENGTH,), name="tokens", dtype="float32")
    mask = keras.Input((LENGTH,), name="mask", dtype="float32")
    picture = keras.Input((3, 4, 3), name="picture", dtype="float32")
    shown = keras.layers.Dense(1, kernel_initializer="zeros")(keras.layers.Flatten()(picture))
    out = tokens * mask + shown
    model = keras.Model([tokens, mask, picture], keras.layers.Identity()(out))
    # For each element, which "mse" would take the mean of before there are weights.
    model.compile(
        optimizer=keras.optimizers.SGD(0.0), loss=lambda y, found: keras.ops.square(y - found)
    )
    x: Any = {
        "tokens": Padded("tokens", LENGTH, 7),
        "mask": Padded("tokens", LENGTH, mask=True),
        "picture": Picture("bytes", (3, 4)),
    }
    with PrefetchSequence(
        path,
        x,
        y=Padded("tokens", LENGTH, -1000),
        sample_weight=Padded("tokens", LENGTH, mask=True),
        batch_size=8,
    ) as train:
        history = model.fit(train, epochs=2, verbose=0).history
    # Where the mask is False the target is -1000 and the output 0: it must not count.
    assert history["loss"] == [0.0, 0.0]
