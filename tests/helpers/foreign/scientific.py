"""The layouts of MATLAB 7.3, AnnData and NeXus, made with h5py.

MATLAB is no Python package, anndata would bring zarr, pydantic and numcodecs, and NeXus is a
convention that h5py users write themselves.
"""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np

from helpers.foreign import write

ROWS = np.arange(50 * 6, dtype=np.float64).reshape(50, 6)


def matlab(path: Path) -> None:
    """A userblock of 512 bytes, column-major shapes, MATLAB_class, references for cells."""
    with h5py.File(path, "w", userblock_size=512) as file:
        for name, data, kind in (
            ("x", ROWS, "double"),
            ("flags", (ROWS > 9).astype("u1"), "logical"),
            ("title", np.frombuffer("a title".encode("utf-16-le"), "<u2")[:, None], "char"),
        ):
            made = file.create_dataset(
                name, data=data.T, chunks=True, compression="gzip", compression_opts=3
            )
            made.attrs["MATLAB_class"] = np.bytes_(kind)
        file["x"].attrs["H5PATH"] = np.bytes_("/")
        cells = file.create_dataset("cells", (2, 1), h5py.ref_dtype)
        hidden = file.create_group("#refs#")
        for at, data in enumerate((ROWS[:5], ROWS[5:9])):
            hidden[f"c{at}"] = data
            cells[at, 0] = hidden[f"c{at}"].ref
        cells.attrs["MATLAB_class"] = np.bytes_("cell")
        empty = file.create_dataset("empty", data=np.zeros(2, "u8"))
        empty.attrs["MATLAB_empty"] = np.uint8(1)
        file.create_dataset("waves", data=np.zeros(9, [("real", "f8"), ("imag", "f8")]))
    with path.open("r+b") as file_bytes:
        file_bytes.write(b"MATLAB 7.3 MAT-file".ljust(124) + b"\x00\x02IM")


def anndata_dense(path: Path) -> None:
    """Cells in rows, genes in columns; classes as codes beside their names."""
    with h5py.File(path, "w") as file:
        file.attrs.update({"encoding-type": "anndata", "encoding-version": "0.1.0"})
        options = {"chunks": (16, 6), "compression": "gzip"}
        made = file.create_dataset("X", data=ROWS.astype("f4"), **options)
        made.attrs.update({"encoding-type": "array", "encoding-version": "0.2.0"})
        _observations(file)
        file.create_group("uns")
        file.create_group("obsm")["X_pca"] = ROWS[:, :2]


def anndata_sparse(path: Path) -> None:
    """X in compressed rows: three vectors of different lengths in a group."""
    with h5py.File(path, "w") as file:
        matrix = file.create_group("X")
        matrix.attrs.update({"encoding-type": "csr_matrix", "shape": ROWS.shape})
        counts = np.arange(50) % 4
        matrix["indptr"] = np.concatenate([[0], np.cumsum(counts)]).astype("i4")
        matrix["indices"] = np.concatenate([np.arange(n) for n in counts]).astype("i4")
        growing = {"maxshape": (None,), "chunks": (32,), "compression": "lzf"}
        matrix.create_dataset("data", data=np.ones(counts.sum(), "f4"), **growing)
        _observations(file)


def _observations(file: h5py.File) -> None:
    table = file.create_group("obs")
    table.attrs["_index"] = "names"
    table["names"] = np.array([f"cell {i}" for i in range(50)], h5py.string_dtype())
    kinds = table.create_group("kind")
    kinds.attrs.update({"encoding-type": "categorical", "ordered": False})
    kinds["codes"] = (np.arange(50) % 3).astype("i1")
    kinds["categories"] = np.array(["a", "b", "c"], h5py.string_dtype())
    table["sure"] = np.arange(50) % 2 == 0


def nexus(path: Path) -> None:
    """NXentry with data under hard and soft links, and a link that leads out of the file."""
    with h5py.File(path, "w", libver="latest") as file:
        file.attrs["NX_class"], file.attrs["default"] = "NXroot", "entry"
        entry = file.create_group("entry")
        entry.attrs["NX_class"] = "NXentry"
        detector = entry.create_group("instrument/detector")
        detector.attrs["NX_class"] = "NXdetector"
        counts = {"chunks": (1, 6), "maxshape": (None, 6), "compression": "gzip", "shuffle": True}
        detector.create_dataset("data", data=ROWS.astype("u4"), **counts)
        entry["data"] = h5py.SoftLink("/entry/instrument/detector")
        entry["hard"] = detector["data"]
        entry["relative"] = h5py.SoftLink("instrument/detector/data")
        entry["dangling"] = h5py.SoftLink("/entry/nothing")
        entry["outside"] = h5py.ExternalLink("another-file.h5", "/entry/data")
        entry["title"] = "a scan"
        entry["end_time"] = np.array(["2020-01-01T00:00"], "S20")


WRITERS = {
    "matlab": matlab, "anndata-dense": anndata_dense, "anndata-sparse": anndata_sparse,
    "nexus": nexus,
}  # fmt: skip

if __name__ == "__main__":
    write(WRITERS)
