"""Sparse rows are dense in batches as scipy has them: any matrix, in any order, of any files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import scipy.sparse as sp
from helpers.csr import N, check, matrix, write
from helpers.sequences import small
from hypothesis import given, settings
from hypothesis import strategies as st

from prefetcher import CorruptError, DatasetError, PrefetchSequence, Window
from prefetcher.pipeline.buffers import Meter
from prefetcher.pipeline.sparse import SparseLane


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
