"""Groups of sparse rows as each kind of file has them, and what a pass over one gives."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import h5py
import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from prefetcher import PrefetchSequence

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
