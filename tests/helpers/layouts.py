"""Small files with all that files of a layout usually hold beside what is trained on."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
from scipy import sparse

from helpers.recipes import DICE, floats


def robomimic(folder: Path) -> None:
    """Eleven demonstrations with states, rewards and what comes next; two lists of them."""
    with h5py.File(folder / "demos.hdf5", "w") as file:
        for number in range(11):
            group, length = file.create_group(f"data/demo_{number}"), 5 + number
            for seen in ("obs", "next_obs"):
                group[f"{seen}/agentview_image"] = np.zeros((length, 8, 8, 3), "u1")
                group[f"{seen}/object"] = np.zeros((length, 10))
            group["actions"], group["states"] = np.zeros((length, 7)), np.zeros((length, 99))
            group["rewards"], group["dones"] = np.zeros(length), np.zeros(length, "i8")
        file["mask/train"], file["mask/valid"] = np.array([b"demo_0"]), np.array([b"demo_1"])


def uneven(folder: Path) -> None:
    """Two files of demonstrations, the first with fewer groups, each with something of its own."""
    for number, demos in enumerate(((0,), (0, 1, 2))):
        with h5py.File(folder / f"task_{number}.h5", "w") as file:
            for demo in demos:
                file[f"data/demo_{demo}/obs/state"] = np.zeros((9, 50))
                file[f"data/demo_{demo}/actions"] = np.zeros((9, 7))
            file[f"{'head' if number else 'tail'}/x"] = np.zeros((9, 500))


def aloha(folder: Path) -> None:
    """Two cameras, two kinds of state, and the actions of the base beside those of the arms."""
    for number in range(2):
        with h5py.File(folder / f"episode_{number}.hdf5", "w") as file:
            for camera in ("cam_high", "cam_low"):
                file[f"observations/images/{camera}"] = np.zeros((20, 8, 8, 3), "u1")
            file["observations/qpos"] = file["observations/qvel"] = floats(20, 14)
            file["action"], file["base_action"] = floats(20, 14), floats(20, 2)


def fastmri(folder: Path) -> None:
    """With a header of text and a mask of columns, as the files of the challenge have them."""
    for number in range(2):
        with h5py.File(folder / f"file{number}.h5", "w") as file:
            file["ismrmrd_header"] = "<xml/>"
            file["kspace"] = (floats(6, 2, 16, 8) + 1j * floats(6, 2, 16, 8)).astype("c8")
            file["reconstruction_rss"], file["mask"] = floats(6, 8, 8), np.ones(8, "f4")


def h5ad(folder: Path) -> None:
    """Counts three times, columns of numbers and classes, embeddings, distances between cells."""
    cells, genes = 90, 40
    with h5py.File(folder / "cells.h5ad", "w") as file:
        file.attrs["encoding-type"] = "anndata"
        for name, shape in {
            "X": (cells, genes), "layers/counts": (cells, genes), "raw/X": (cells, genes),
            "obsp/distances": (cells, cells),
        }.items():  # fmt: skip
            matrix = sparse.random(*shape, 0.1, "csr", np.float32, random_state=1)
            group = file.create_group(name)
            group.attrs["encoding-type"], group.attrs["shape"] = "csr_matrix", shape
            group["data"], group["indices"] = matrix.data, matrix.indices
            group["indptr"] = matrix.indptr
        file["obs/_index"] = np.array([f"cell {n}" for n in range(cells)], h5py.string_dtype())
        file["obs/n_genes"], file["obs/percent_mito"] = np.zeros(cells, "i4"), floats(cells)
        for column, kinds in {"batch": 2, "leiden": 7, "cell_type": 5}.items():
            file[f"obs/{column}/codes"] = DICE.integers(0, kinds, cells, "i1")
            names = np.array([f"{column} {n}" for n in range(kinds)], h5py.string_dtype())
            file[f"obs/{column}/categories"] = names
        file["obsm/X_pca"], file["var/highly_variable"] = floats(cells, 50), np.ones(genes, bool)


def tenx(folder: Path) -> None:
    """Genes by cells, by columns."""
    with h5py.File(folder / "tenx.h5", "w") as file:
        matrix = sparse.random(50, 30, 0.2, "csc", np.float32, random_state=1)
        group = file.create_group("matrix")
        group["data"], group["indices"] = np.ceil(matrix.data).astype("i4"), matrix.indices
        group["indptr"], group["shape"] = matrix.indptr, np.array(matrix.shape, "i4")
        group["barcodes"] = np.array([b"AAA%d" % cell for cell in range(30)])
        group["features/name"] = np.array([b"g%d" % gene for gene in range(50)])


def netcdf(folder: Path) -> None:
    """Packed numbers on axes of time and place, which are dimension scales."""
    with h5py.File(folder / "era5.nc", "w") as file:
        packed = file.create_dataset("t2m", data=DICE.integers(-9, 9, (120, 4, 5), "i2"))
        packed.attrs["scale_factor"], packed.attrs["add_offset"] = 0.01, 1.5
        for axis, (name, length) in enumerate({"hour": 120, "lat": 4, "lon": 5}.items()):
            file[name] = np.arange(length)
            file[name].make_scale(name)
            packed.dims[axis].attach_scale(file[name])


def records(folder: Path) -> None:
    """A table with a number and a time for each row, an array, text, and a label in its middle."""
    fields = [
        ("id", "i8"), ("time", "f8"), ("px", "f8"), ("label", "i8"), ("hit", "f4", (3,)),
        ("name", "S5"),
    ]  # fmt: skip
    with h5py.File(folder / "events.h5", "w") as file:
        file["events"] = np.zeros(60, np.dtype(fields, align=True))


FULL: dict[str, Callable[[Path], None]] = {
    "robomimic": robomimic, "uneven": uneven, "aloha": aloha, "fastmri": fastmri, "h5ad": h5ad,
    "10x": tenx, "netcdf": netcdf, "records": records,
}  # fmt: skip
