"""Groups of sparse rows: which are found, what is known of them, and that they train."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import scipy.sparse as sp
from helpers.csr import COLUMNS, KINDS, N, check, matrix, write
from helpers.files import WIDTH
from helpers.models import assert_each
from helpers.sequences import small

import prefetcher
from prefetcher import (
    DatasetError,
    NoDatasetError,
    SettingsError,
    Sparse,
    StateError,
    UnsafeFileError,
)
from prefetcher.cli import main


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
