"""Small files of the layouts of docs/recipes.md, and a model for each."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import keras
import numpy as np
from PIL import Image

DICE = np.random.default_rng(0)


def floats(*shape: int) -> Any:
    return DICE.random(shape, dtype="f4")


def forecasting(folder: Path) -> None:
    with h5py.File(folder / "weather.h5", "w") as file:
        file.create_dataset("weather", data=floats(600, 5), chunks=(50, 5), compression="gzip")


def robomimic(folder: Path) -> None:
    with h5py.File(folder / "demos.hdf5", "w") as file:
        for number, length in enumerate((30, 12, 25, 9)):
            group = file.create_group(f"data/demo_{number}")
            group.attrs["num_samples"] = length
            group["obs/agentview_image"] = DICE.integers(0, 256, (length, 8, 8, 3), "u1")
            group["obs/robot0_eef_pos"] = floats(length, 3).astype("f8")
            group["actions"] = floats(length, 7).astype("f8")
        file["mask/train"] = np.array([b"demo_0", b"demo_2", b"demo_3"])


def aloha(folder: Path) -> None:
    for number in range(3):
        with h5py.File(folder / f"episode_{number}.hdf5", "w") as file:
            pictures = DICE.integers(0, 256, (20, 8, 8, 3), "u1")
            file.create_dataset("observations/images/top", data=pictures, chunks=(1, 8, 8, 3))
            file["observations/qpos"] = floats(20, 14)
            file["action"] = floats(20, 14)


def fastmri(folder: Path) -> None:
    for number in range(3):
        with h5py.File(folder / f"file{number}.h5", "w") as file:
            file["kspace"] = (floats(6, 1, 8, 8) + 1j * floats(6, 1, 8, 8)).astype("c8")
            file["reconstruction_rss"] = floats(6, 8, 8)


def h5ad(folder: Path) -> None:
    cells, genes = 90, 40
    dense = floats(cells, genes) * (floats(cells, genes) > 0.9)
    with h5py.File(folder / "cells.h5ad", "w") as file:
        x = file.create_group("X")
        x.attrs["encoding-type"], x.attrs["encoding-version"] = "csr_matrix", "0.1.0"
        x.attrs["shape"] = (cells, genes)
        rows, columns = np.nonzero(dense)
        x["data"], x["indices"] = dense[rows, columns], columns.astype("i4")
        x["indptr"] = np.searchsorted(rows, np.arange(cells + 1)).astype("i4")
        file["obs/cell_type/codes"] = DICE.integers(0, 4, cells, "i1")


def records(folder: Path) -> None:
    kind = [("px", "f8"), ("py", "f8"), ("energy", "f4"), ("signal", "u1")]
    events = np.zeros(200, np.dtype(kind, align=True))
    events["energy"], events["px"] = floats(200), floats(200)
    with h5py.File(folder / "events.h5", "w") as file:
        file["events"] = events


def netcdf(folder: Path) -> None:
    with h5py.File(folder / "era5.nc", "w") as file:
        packed = file.create_dataset("t2m", data=DICE.integers(-100, 100, (120, 4, 4), "i2"))
        packed.attrs["scale_factor"], packed.attrs["add_offset"] = 0.01, 1.5
        packed.attrs["_FillValue"] = np.int16(-32767)


def matlab(folder: Path) -> None:
    with h5py.File(folder / "data.mat", "w", userblock_size=512) as file:
        file["images"] = DICE.integers(0, 2, (400, 3, 10, 12), "u1")
        file["features"], file["labels"] = floats(20, 400).astype("f8"), floats(1, 400).astype("f8")
        for name in file:
            file[name].attrs["MATLAB_class"] = np.bytes_("double")


def jpeg(folder: Path) -> None:
    with h5py.File(folder / "photos.h5", "w") as file:
        rows = file.create_dataset("jpeg", (40,), h5py.vlen_dtype("u1"))
        for number in range(40):
            made = io.BytesIO()
            picture = Image.fromarray(DICE.integers(0, 256, (20 + number, 30, 3), "u1"))
            picture.save(made, "JPEG")
            rows[number] = np.frombuffer(made.getvalue(), "u1")
        file["label"] = DICE.integers(0, 3, 40)


def speech(folder: Path) -> None:
    with h5py.File(folder / "speech.h5", "w") as file:
        rows = file.create_dataset("waveform", (50,), h5py.vlen_dtype("f4"))
        for number in range(50):
            rows[number] = floats(100 + 13 * number)
        file["word"] = DICE.integers(0, 3, 50)


def scans(folder: Path) -> None:
    with h5py.File(folder / "scans.h5", "w") as file:
        file.create_dataset("scans", data=floats(120, 6), chunks=(10, 6), compression="gzip")
        file["diagnosis"] = (np.arange(120) % 10 == 0).astype("i4")
    with (folder / "labels.csv").open("w", newline="") as table:
        writer = csv.writer(table)
        writer.writerow(["name", "grade"])
        writer.writerows((f"scan {number}", number / 120) for number in range(120))


def camelyon(folder: Path) -> None:
    with h5py.File(folder / "camelyonpatch_x.h5", "w") as file:
        pictures = DICE.integers(0, 256, (80, 8, 8, 3), "u1")
        file.create_dataset("x", data=pictures, chunks=(16, 8, 8, 3), compression="gzip")
    with h5py.File(folder / "camelyonpatch_y.h5", "w") as file:
        file["y"] = DICE.integers(0, 2, (80, 1, 1, 1), "u1")


def model_of(inputs: Any, *shape: int) -> Any:
    """A model of one value, or of an array of that shape."""
    flat = [
        keras.layers.Flatten()(keras.ops.cast(each, "float32") if each.dtype != "float32" else each)
        for each in (inputs.values() if isinstance(inputs, dict) else inputs)
    ]
    joined = keras.layers.Concatenate()(flat) if len(flat) > 1 else flat[0]
    out = keras.layers.Reshape(shape)(keras.layers.Dense(int(np.prod(shape)))(joined))
    structure = inputs if isinstance(inputs, dict) or len(inputs) > 1 else inputs[0]
    model = keras.Model(structure, out)
    model.compile("sgd", "mse")
    return model


def given(*shape: int, name: str | None = None, dtype: str = "float32") -> Any:
    return keras.Input(shape, name=name, dtype=dtype)


RECIPES: dict[str, tuple[Callable[[Path], None], Callable[[], Any]]] = {
    "Forecasting: windows of a series": (forecasting, lambda: model_of([given(64, 5)], 5)),
    "Robotics: demonstrations in groups (robomimic)": (
        robomimic,
        lambda: model_of(
            {"image": given(2, 8, 8, 3, name="image"), "state": given(2, 3, name="state")}, 8, 7
        ),
    ),
    "Robotics: a file for each episode (ALOHA)": (
        aloha,
        lambda: model_of([given(8, 8, 3), given(14)], 10, 14),
    ),
    "Volumes as slices, a file each (fastMRI)": (fastmri, lambda: model_of([given(8, 8, 2)], 8, 8)),
    "Cells and genes (AnnData, h5ad)": (h5ad, lambda: model_of([given(40)], 1)),
    "Records (PyTables, h5py's compound types)": (
        records,
        lambda: model_of([given(), given(), given()], 1),
    ),
    "Packed numbers (NetCDF)": (netcdf, lambda: model_of([given(4, 4, 4)], 4, 4)),
    "MATLAB files: samples along the last axis": (
        matlab,
        lambda: model_of([given(3, 10, 12), given(20)], 1),
    ),
    "Pictures as JPEG bytes": (jpeg, lambda: model_of([given(32, 32, 3)], 1)),
    "Audio and tokens: rows of variable length": (
        speech,
        lambda: model_of(
            {"audio": given(400, name="audio"), "mask": given(400, name="mask", dtype="bool")}, 1
        ),
    ),
    "Labels from a CSV file": (scans, lambda: model_of([given(6)], 1)),
    "Labels in a file of their own (PatchCamelyon)": (
        camelyon,
        lambda: model_of([given(8, 8, 3)], 1),
    ),
    "Classes of unequal size": (scans, lambda: model_of([given(6)], 1)),
    "K-fold cross-validation": (scans, lambda: model_of([given(6)], 1)),
    "Autoencoders": (scans, lambda: model_of([given(6)], 6)),
    "Two views of each sample": (scans, lambda: model_of([given(6), given(6)], 6)),
    "A loop of your own (GAN)": (scans, lambda: model_of([given(6)], 6)),
}
"""What makes the files of a recipe, and its model, by the recipe's heading."""
