"""Sparse rows: dense in batches as scipy has them, in any order, from any file; damage is told."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import scipy.sparse as sp
from helpers.files import WIDTH
from helpers.models import assert_each
from helpers.sequences import small
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

import prefetcher
from prefetcher import (
    CorruptError,
    DatasetError,
    NoDatasetError,
    PrefetchSequence,
    SettingsError,
    Sparse,
    StateError,
    UnsafeFileError,
    Window,
)
from prefetcher.cli import main
from prefetcher.pipeline.buffers import Meter
from prefetcher.pipeline.sparse import SparseLane

N, COLUMNS = 90, 40
KINDS = ("anndata", "10x", "old anndata", "scipy")


def matrix(rows: int = N, columns: int = COLUMNS, seed: int = 0, full: float = 0.2) -> Any:
    found = sp.random(rows, columns, full, "csr", np.float32, random_state=seed)
    found.data += 1
    return found


def write(
    path: Path, csr: Any, name: str = "X", kind: str = "anndata", mode: str = "w", **options: Any
) -> Path:
    """A CSR matrix as each kind of file has it, and the number of each row beside it."""
    with h5py.File(path, mode) as file:
        group = file.create_group(name)
        for part in ("data", "indices", "indptr"):
            whole = part == "indptr" or len(csr.data) < 16  # h5py wants no longer storage chunks
            group.create_dataset(part, data=getattr(csr, part), **({} if whole else options))
        if kind == "anndata":
            group.attrs["encoding-type"] = "csr_matrix"
            group.attrs["shape"] = csr.shape
        elif kind == "old anndata":
            group.attrs["h5sparse_format"] = b"csr"
            group.attrs["h5sparse_shape"] = csr.shape
        elif kind == "10x":
            group["shape"] = np.array(csr.shape[::-1], np.int32)
            group["barcodes"] = np.arange(csr.shape[0])
        else:
            group["shape"] = csr.shape
            group["format"] = b"csr"
        file.require_group("obs")
        file["obs"].require_dataset("id", (csr.shape[0],), "i8")[:] = np.arange(csr.shape[0])
    return path


def check(sequence: PrefetchSequence, dense: NDArray[Any]) -> None:
    """A pass has each row once, as it is."""
    seen = []
    for x, y in sequence:
        assert x.dtype == np.float32
        assert (x == dense[y]).all()
        seen += y.tolist()
    assert sorted(seen) == list(range(len(dense)))


# which groups are found


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", ["X", "layers/counts"])
def test_a_group_that_says_what_it_is_is_found_by_its_name(
    tmp_path: Path, kind: str, name: str
) -> None:
    csr = matrix()
    path = write(tmp_path / "a.h5ad", csr, name, kind)
    with small(path, name, "obs/id") as train:
        check(train, csr.toarray())


def test_a_group_that_does_not_say_it_needs_the_column(tmp_path: Path) -> None:
    csr = matrix()
    path = write(tmp_path / "a.h5", csr, "m", "scipy")
    with h5py.File(path, "r+") as file:
        del file["m/format"]
    with pytest.raises(DatasetError, match=r"x='m': .*does not say .*write Sparse\('m'\)"):
        small(path, "m", "obs/id")
    with small(path, Sparse("m"), "obs/id", readers=2) as train:
        check(train, csr.toarray())


@pytest.mark.parametrize("said", [True, False])
def test_columns_that_are_compressed_are_refused(tmp_path: Path, said: bool) -> None:
    path = write(tmp_path / "a.h5ad", matrix().tocsc())
    with h5py.File(path, "r+") as file:
        file["X"].attrs["encoding-type"] = "csc_matrix"
        if not said:
            del file["X"].attrs["encoding-type"]
    with pytest.raises(DatasetError, match=r"by columns \(CSC\).*adata.X = adata.X.tocsr\(\)"):
        small(path, "X" if said else Sparse("X"), "obs/id")


def test_what_is_no_sparse_group_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "a.h5ad", matrix())
    with h5py.File(path, "r+") as file:
        file["plain"] = np.zeros((N, 3))
        file["no_shape/data"] = file["no_shape/indices"] = file["no_shape/indptr"] = np.zeros(N + 1)
        file.copy("X", "short")
        file["short"].attrs["shape"] = N + 1, COLUMNS
        file.copy("X", "cut")
        del file["cut/data"]
        file["cut/data"] = np.zeros(3)
        file.copy("X", "gone")
        del file["gone/indptr"]
    for name, message in {
        "plain": "it holds whole rows, none that are sparse: write 'plain'",
        "no_shape": r"it has no shape: write .*group.attrs\[.shape.\]",
        "short": "it says that it has 91 rows, and indptr has 90",
        "cut": "data has 3 elements and indices",
        "gone": "needs the datasets data, indices and indptr",
    }.items():
        with pytest.raises(DatasetError, match=message):
            small(path, Sparse(name), "obs/id")
    with pytest.raises(NoDatasetError, match="a group"):
        small(path, "obs", "obs/id")


def test_elements_that_lie_in_another_file_are_followed_where_that_is_allowed(
    tmp_path: Path,
) -> None:
    csr = matrix()
    path = write(tmp_path / "a.h5ad", csr)
    with h5py.File(path, "r+") as file, h5py.File(tmp_path / "b.h5", "w") as other:
        file.copy("X/data", other, "data")
        del file["X/data"]
        file["X/data"] = h5py.ExternalLink("b.h5", "data")
    with pytest.raises(UnsafeFileError, match=r"points outside itself.*X/data"):
        small(path, "X", "obs/id")
    with small(path, "X", "obs/id", allow_external=True) as train:
        check(train, csr.toarray())


def test_settings_that_cannot_work_are_refused(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="write the name of a group"):
        Sparse(Sparse("X"))
    with pytest.raises(SettingsError, match="write a type of numbers"):
        Sparse("X", dtype="text")
    with pytest.raises(DatasetError, match="int32 would cut off: write another dtype"):
        small(write(tmp_path / "a.h5ad", matrix()), Sparse("X", dtype="int32"), "obs/id")


def test_a_dtype_may_be_chosen(tmp_path: Path) -> None:
    csr = matrix().astype(np.float64)
    path = write(tmp_path / "a.h5ad", csr)
    with small(path, (Sparse("X"), Sparse("X", dtype="float64")), "obs/id") as train:
        (single, double), y = train[0]
    assert (single.dtype, double.dtype) == (np.float32, np.float64)
    assert (double == csr.toarray()[y]).all()
    assert (single == csr.toarray()[y].astype(np.float32)).all()


# any matrix, any settings


@st.composite
def matrices(draw: st.DrawFn) -> Any:
    """Sparse matrices: empty rows, unsorted ones, columns that come twice."""
    rows, columns = draw(st.integers(1, 60)), draw(st.integers(1, 12))
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    counts = rng.integers(0, draw(st.integers(1, 15)), rows)
    indptr = np.concatenate([[0], np.cumsum(counts)])
    twice = draw(st.booleans())
    indices = np.concatenate(
        [
            rng.integers(0, columns, n) if twice else rng.permutation(columns)[:n]
            for n in np.minimum(counts, columns)
        ]
    )
    indptr = np.concatenate([[0], np.cumsum(np.minimum(counts, columns))])
    kind = draw(st.sampled_from(["<f4", ">f4", "f8", "i2", "u1", "?", "i8"]))
    data = rng.integers(0, 9, len(indices)).astype(kind)
    order = draw(st.sampled_from(["<i4", "<i8", ">i4", "u2"]))
    found = sp.csr_matrix((rows, columns), dtype=data.dtype.newbyteorder("="))
    found.data, found.indices, found.indptr = data, indices.astype(order), indptr
    return found


@settings(max_examples=40)
@given(
    matrices(),
    st.integers(1, 9),
    st.integers(1, 5),
    st.booleans(),
    st.integers(1, 3),
    st.sampled_from([{}, {"chunks": (7,)}, {"chunks": (16,), "compression": "gzip"}]),
    st.data(),
)
def test_any_matrix_comes_whole_in_any_order(
    tmp_path_factory: pytest.TempPathFactory,
    csr: Any,
    batch_size: int,
    batches: int,
    shuffle: bool,
    readers: int,
    options: dict[str, Any],
    data: st.DataObject,
) -> None:
    path = write(tmp_path_factory.mktemp("any") / "a.h5", csr, **options)
    native = [np.asarray(part, part.dtype.newbyteorder("=")) for part in (csr.data, csr.indices)]
    dense = np.zeros(csr.shape, np.float32)
    row = np.repeat(np.arange(csr.shape[0]), np.diff(csr.indptr))
    np.add.at(dense, (row, native[1]), native[0].astype(np.float32))
    chunk_size = batch_size * batches
    block_size = data.draw(st.integers(1, chunk_size))
    with PrefetchSequence(
        path, "X", "obs/id", batch_size=batch_size, chunk_size=chunk_size, block_size=block_size,
        shuffle=shuffle, readers=readers,
    ) as train:  # fmt: skip
        for _ in range(2):
            check(train, dense)
        at = data.draw(st.integers(0, len(train) - 1))
        x, y = train[at]
        assert (x == dense[y]).all()
        assert train.stats().buffer_peak_bytes <= train.memory_bytes


@pytest.mark.parametrize("per_row", [3, 300])
def test_short_and_long_rows_go_two_ways_that_agree(tmp_path: Path, per_row: int) -> None:
    csr = matrix(60, 1000, full=per_row / 1000)
    with small(write(tmp_path / "a.h5ad", csr), "X", "obs/id") as train:
        check(train, csr.toarray())


def test_rows_may_be_chosen_and_repeated(tmp_path: Path) -> None:
    csr = matrix()
    path = write(tmp_path / "a.h5ad", csr)
    wanted = np.array([5, 5, 80, 2, 5, 41])
    with small(path, "X", "obs/id", rows=wanted, shuffle=False, batch_size=6) as train:
        x, y = train[0]
    assert y.tolist() == wanted.tolist()
    assert (x == csr.toarray()[wanted]).all()


def test_windows_of_sparse_rows(tmp_path: Path) -> None:
    csr = matrix()
    dense = csr.toarray()
    path = write(tmp_path / "a.h5ad", csr, chunks=(16,), compression="gzip")
    x, y = (Window(name, 3, stride=2, pad="edge") for name in ("X", "obs/id"))
    with small(path, x, y) as train:
        seen = []
        for rows, numbers in train:
            assert (rows == dense[numbers]).all()
            seen += numbers[:, 0].tolist()
        assert sorted(seen) == list(range(0, N, 2))


# several files


def test_files_follow_each_other(tmp_path: Path) -> None:
    parts = [matrix(rows, seed=rows) for rows in (30, 1, 50)]
    for number, part in enumerate(parts):
        path = write(tmp_path / f"{number}.h5", part)
        with h5py.File(path, "r+") as file:
            ids = file["obs/id"]
            ids[:] = ids[:] + sum(each.shape[0] for each in parts[:number])
    with h5py.File(tmp_path / "1.h5", "r+") as file:  # elements that no row has
        for name in ("X/data", "X/indices"):
            more = np.append(file[name][:], np.ones(7, file[name].dtype))
            del file[name]
            file[name] = more
    with small(tmp_path / "*.h5", "X", "obs/id", readers=2) as train:
        check(train, sp.vstack(parts).toarray())


def test_a_pattern_stands_for_groups_of_sparse_rows(tmp_path: Path) -> None:
    parts = [matrix(5 + number, 40, number) for number in range(4)]
    for number, part in enumerate(parts):
        path = write(
            tmp_path / f"{number // 3}.h5", part, f"d_{number}/X", mode="wa"[number in (1, 2)]
        )
        with h5py.File(path, "a") as file:
            del file["obs"]
            file[f"d_{number}/id"] = np.arange(part.shape[0]) + sum(
                each.shape[0] for each in parts[:number]
            )
    with small(tmp_path / "?.h5", "d_*/X", "d_*/id", readers=2) as train:
        check(train, sp.vstack(parts).toarray())
        assert train.stats().buffer_peak_bytes <= train.memory_bytes
        assert train.state_dict()["file"]["files"] == 2
    with h5py.File(tmp_path / "1.h5", "a") as file:
        file["d_3/X/indices"][0] = 40
    with (
        small(tmp_path / "?.h5", "d_*/X", "d_*/id") as train,
        pytest.raises(CorruptError, match=r"rows 0 to 1 of d_3/X in 1\.h5 are damaged"),
    ):
        list(train)


@pytest.mark.parametrize("orders", [("i4", "i8", ">u2"), ("i8", "i4", "i4"), ("u4", "i4", "i4")])
def test_files_with_indices_of_several_widths(tmp_path: Path, orders: Any) -> None:
    """scipy writes the narrowest that there is room in, so it depends on the file."""
    parts = [matrix(rows, seed=rows) for rows in (30, 10, 50)]
    for number, (part, order) in enumerate(zip(parts, orders, strict=True)):
        part.indices, part.indptr = part.indices.astype(order), part.indptr.astype(order)
        path = write(tmp_path / f"{number}.h5", part, chunks=(16,))
        with h5py.File(path, "a") as file:
            file["obs/id"][:] += sum(each.shape[0] for each in parts[:number])
    with small(tmp_path / "*.h5", "X", "obs/id", readers=2) as train:
        check(train, sp.vstack(parts).toarray())
        assert train.state_dict()["file"]["files"] == 3
    with h5py.File(tmp_path / "1.h5", "a") as file:
        del file["X"]
        file["X"] = np.zeros((10, COLUMNS), "f4")
    with pytest.raises(
        DatasetError,
        match=r"X has rows of float32 \(40,\) in 1.h5, but of float32 \(40,\) \(sparse\) in",
    ):
        small(tmp_path / "*.h5", "X", "obs/id")


@settings(max_examples=20)
@given(
    st.lists(st.tuples(st.integers(1, 20), st.floats(0, 0.6)), min_size=1, max_size=4),
    st.integers(1, 3),
    st.integers(-2, 2),
    st.sampled_from([None, "edge"]),
    st.booleans(),
)
def test_windows_over_any_files_reach_into_no_other(
    tmp_path_factory: pytest.TempPathFactory,
    files: list[tuple[int, float]],
    length: int,
    ahead: int,
    pad: Any,
    shuffle: bool,
) -> None:
    folder = tmp_path_factory.mktemp("files")
    files = [*files, (8, 0.5)]  # one at least has a whole window
    parts = [matrix(rows, 9, number, full) for number, (rows, full) in enumerate(files)]
    expected = []
    for number, part in enumerate(parts):
        write(folder / f"{number}.h5", part)
        rows = part.shape[0]
        for at in range(rows):
            wanted = at + ahead + np.arange(length)
            if pad or (wanted[0] >= 0 and wanted[-1] < rows):
                expected.append(part.toarray()[np.clip(wanted, 0, rows - 1)])
    x = Window("X", length, ahead=ahead, pad=pad)
    with small(folder / "*.h5", x, None, shuffle=shuffle, readers=2) as train:
        found = [each for (batch,) in train for each in batch.copy()]
        assert train.stats().buffer_peak_bytes <= train.memory_bytes
    same = [sorted(each.tobytes() for each in rows) for rows in (expected, found)]
    assert same[0] == same[1]
    if not shuffle:
        np.testing.assert_array_equal(found, expected)


def test_columns_must_agree(tmp_path: Path) -> None:
    for columns in (40, 41):
        write(tmp_path / f"{columns}.h5", matrix(columns=columns))
    with pytest.raises(DatasetError, match=r"X has rows of float32 \(41,\) in 41.h5, but of .*40"):
        small(tmp_path / "*.h5", "X", "obs/id")


# memory, states


def test_memory_is_that_of_the_largest_rows(tmp_path: Path) -> None:
    lil = sp.lil_matrix((N, 1000), dtype=np.float32)
    lil[7], lil[60], lil[:, 3] = 1, 2, 5
    csr = lil.tocsr()
    path = write(tmp_path / "a.h5ad", csr)
    with small(path, "X", "obs/id", chunk_size=16) as train:
        most = np.sort(np.diff(csr.indptr))[-16:].sum() * 8
        lanes = train._feed.lanes(Meter())
        (lane,) = (each for each in lanes if isinstance(each, SparseLane))
        assert lane._most * 8 == most
        check(train, csr.toarray())
        assert train.stats().buffer_peak_bytes <= train.memory_bytes


def test_a_training_goes_on_where_it_stopped(tmp_path: Path) -> None:
    csr = matrix()
    path = write(tmp_path / "a.h5ad", csr)
    with small(path, "X", "obs/id") as train:
        whole = [y.tolist() for _, y in train]
    with small(path, "X", "obs/id") as train:
        state = train.state_dict()
        first = train[0][1].tolist()
        assert first == whole[0]
        state = train.state_dict()
    with small(path, "X", "obs/id") as train:
        train.load_state_dict(state)
        assert [y.tolist() for _, y in train] in (whole, whole[1:])


@pytest.mark.parametrize("part", ["data", "indices", "indptr"])
def test_a_state_knows_the_values_their_columns_and_rows(tmp_path: Path, part: str) -> None:
    path = write(tmp_path / "a.h5ad", matrix())
    with small(path, "X", "obs/id") as train:
        state = train.state_dict()
    with h5py.File(path, "r+") as file:
        at, limit = (41, 1 << 30) if part == "indptr" else (100, COLUMNS)
        file["X"][part][at] = (file["X"][part][at] + 1) % limit
    with small(path, "X", "obs/id") as train, pytest.raises(StateError, match="checksum"):
        train.load_state_dict(state)


def test_inspect_proposes_the_group(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = write(tmp_path / "a.h5ad", matrix(full=0.5), chunks=(16,), compression="lzf")
    main(["inspect", str(path)])
    python = capsys.readouterr().out.strip().splitlines()[-1]
    assert python == f"prefetcher.PrefetchSequence({str(path)!r}, x='X', y=None)"
    with eval(python, {"prefetcher": prefetcher}) as train:
        assert train[0][0].shape == (32, COLUMNS)


def test_rows_are_split_by_a_label_of_theirs(tmp_path: Path) -> None:
    csr = matrix()
    path = write(tmp_path / "a.h5ad", csr)
    train, val = prefetcher.split(path, val_size=0.2, x="X")
    assert sorted([*train, *val]) == list(range(N))
    with small(path, "X", "obs/id", rows=val) as sequence:
        for x, y in sequence:
            assert set(y.tolist()) <= set(val.tolist())
            assert (x == csr.toarray()[y]).all()


# damage


def test_rows_that_do_not_ascend_are_told(tmp_path: Path) -> None:
    path = write(tmp_path / "a.h5ad", matrix())
    with h5py.File(path, "r+") as file:
        file["X/indptr"][18] = 1
    with pytest.raises(CorruptError, match=r"rows 17 to 18 of X in a.h5ad .*X/indptr falls from"):
        small(path, "X", "obs/id")


@pytest.mark.parametrize(("at", "value"), [(N, 10_000), (0, -1)])
def test_rows_beyond_the_elements_are_told(tmp_path: Path, at: int, value: int) -> None:
    path = write(tmp_path / "a.h5ad", matrix())
    with h5py.File(path, "r+") as file:
        file["X/indptr"][at] = value
    with pytest.raises(CorruptError, match=rf"of X in a.h5ad .*holds {value}, and there are elem"):
        small(path, "X", "obs/id")


def test_more_rows_than_memory_can_know_are_refused_before_it_is_taken(tmp_path: Path) -> None:
    """A file of some kilobytes may say that it has any number of rows."""
    path = write(tmp_path / "a.h5ad", matrix())
    rows = 1 << 44
    with h5py.File(path, "r+") as file:
        del file["X/indptr"]
        file["X"].create_dataset("indptr", (rows + 1,), "i8", chunks=(1 << 20,))
        file["X"].attrs["shape"] = rows, COLUMNS
    with pytest.raises(DatasetError, match=r"X in a.h5ad says that it has .* rows: where they"):
        small(path, "X", None)


@pytest.mark.parametrize("value", [-1, COLUMNS, 2**31 - 1, -(2**31)])
@pytest.mark.parametrize("twice", [False, True])
def test_columns_that_are_not_there_are_told_and_written_nowhere(
    tmp_path: Path, value: int, twice: bool
) -> None:
    csr = matrix()
    path = write(tmp_path / "a.h5ad", csr)
    bad = int(csr.indptr[40])
    with h5py.File(path, "r+") as file:
        file["X/indices"][bad] = value
        if twice:
            file["X/indices"][bad + 1] = value
    where = rf"rows 40 to 41 of X in a.h5ad .*X/indices holds {value}, and there are columns 0 to"
    with small(path, "X", "obs/id", shuffle=False, chunk_size=4) as train:
        for index in range(10):
            x, y = train[index]
            assert (x == csr.toarray()[y]).all()
        with pytest.raises(CorruptError, match=where):
            train[10]
        x, y = train[11]
        assert (x == csr.toarray()[y]).all()


def test_the_file_of_a_damaged_row_is_named(tmp_path: Path) -> None:
    for name in ("a.h5", "b.h5"):
        write(tmp_path / name, matrix())
    with h5py.File(tmp_path / "b.h5", "r+") as file:
        file["X/indices"][0] = COLUMNS
    with (
        small(tmp_path / "*.h5", "X", None, shuffle=False) as train,
        pytest.raises(CorruptError, match=r"rows 0 to 1 of X in b.h5"),
    ):
        list(train)


# training


@pytest.mark.parametrize("readers", [1, 2])
def test_a_model_is_trained_on_each_row_once(tmp_path: Path, model: Any, readers: int) -> None:
    ids = np.repeat(np.arange(N, dtype=np.float32)[:, None], WIDTH, axis=1)
    path = write(tmp_path / "a.h5ad", sp.csr_matrix(ids), chunks=(32,), compression="gzip")
    with h5py.File(path, "r+") as file:
        file["obs/y"] = ids[:, :1]
    with small(path, "X", "obs/y", readers=readers) as train:
        history = model.fit(train, epochs=2, verbose=0)
    assert history.history["loss"] == [0.0] * 2
    assert_each(model, N, times=2)
