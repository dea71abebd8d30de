"""Damage in groups of sparse rows is told, and is never written beyond a row."""

from __future__ import annotations

from pathlib import Path

import h5py
import pytest
from helpers.csr import COLUMNS, N, matrix, write
from helpers.sequences import small

from prefetcher import CorruptError, DatasetError


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
