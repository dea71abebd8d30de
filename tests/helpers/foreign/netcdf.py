"""Files of netCDF-C, the library behind most of climate science."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import netCDF4
import numpy as np

from helpers.foreign import write

ROWS = 60


def classic(path: Path) -> None:
    """The classic data model in an HDF5 file; x grows, as records do."""
    with netCDF4.Dataset(path, "w", format="NETCDF4_CLASSIC") as file:
        file.createDimension("time", None)
        file.createDimension("lat", 5)
        temperature = file.createVariable("temperature", "f4", ("time", "lat"))
        temperature.units = "K"
        temperature[:] = np.arange(ROWS * 5).reshape(ROWS, 5)
        file.createVariable("time", "f8", ("time",))[:] = np.arange(ROWS)
        file.createVariable("scalar", "i4", ())[...] = 3


def groups(path: Path) -> None:
    """Groups, compressed variables and a coordinate in the group above."""
    with netCDF4.Dataset(path, "w") as file:
        file.createDimension("sample", ROWS)
        file.createDimension("y", 6)
        train = file.createGroup("train")
        options: dict[str, Any] = {"zlib": True, "complevel": 4, "shuffle": True}
        images = train.createVariable(
            "images", "i2", ("sample", "y"), chunksizes=(7, 4), fletcher32=True, **options
        )
        images[:] = np.arange(ROWS * 6).reshape(ROWS, 6)
        file.createGroup("empty")
        labels = file.createVariable("labels", "i8", ("sample",), **options)
        labels[:] = np.arange(ROWS) % 3


def packed(path: Path) -> None:
    """Packed values: scale and offset are attributes, the bytes stay what they are."""
    with netCDF4.Dataset(path, "w") as file:
        file.createDimension("sample", ROWS)
        wind = file.createVariable("wind", "i2", ("sample",), fill_value=-999)
        wind.scale_factor, wind.add_offset = 0.01, 20.0
        wind[:] = np.linspace(15, 25, ROWS)
        big = file.createVariable("big", np.dtype(">f8"), ("sample",), endian="big")
        big[:] = np.arange(ROWS)


def unfilled(path: Path) -> None:
    """NOFILL: what was never written has no value."""
    with netCDF4.Dataset(path, "w") as file:
        file.set_fill_off()
        file.createDimension("sample", ROWS)
        file.createDimension("more", None)
        file.createVariable("whole", "f4", ("sample",))[:] = np.arange(ROWS)
        file.createVariable("half", "f4", ("sample",))[: ROWS // 2] = np.arange(ROWS // 2)
        file.createVariable("records", "i4", ("more",), chunksizes=(8,))[:] = np.arange(ROWS)


def filled(path: Path) -> None:
    """Parts that were never written, with the library's own fill values."""
    with netCDF4.Dataset(path, "w") as file:
        file.createDimension("sample", ROWS)
        file.createDimension("y", 4)
        for name in ("x", "contiguous"):
            chunks = {"chunksizes": (10, 2), "zlib": True} if name == "x" else {"contiguous": True}
            variable = file.createVariable(name, "f4", ("sample", "y"), **chunks)
            variable[20:30] = 1


def text(path: Path) -> None:
    """Strings of any length, an enum and a compound."""
    with netCDF4.Dataset(path, "w") as file:
        file.createDimension("sample", 10)
        names = file.createVariable("names", str, ("sample",))
        names[:] = np.array([f"name {i}" for i in range(10)], object)
        sky = file.createEnumType(np.uint8, "sky_t", {"clear": 0, "cloudy": 1})
        file.createVariable("sky", sky, ("sample",), fill_value=0)[:] = (
            np.arange(10, dtype="u1") % 2
        )
        pair = np.dtype([("a", "i1"), ("b", "f8")], align=True)
        kind = file.createCompoundType(pair, "pair")
        rows = np.zeros(10, pair)
        rows["a"] = np.arange(10)
        file.createVariable("pairs", kind, ("sample",))[:] = rows
        ragged = file.createVLType(np.int32, "ragged_t")
        variable = file.createVariable("ragged", ragged, ("sample",))
        for i in range(10):
            variable[i] = np.arange(i + 1, dtype=np.int32)


WRITERS = {
    "netcdf-classic": classic, "netcdf-groups": groups, "netcdf-packed": packed,
    "netcdf-unfilled": unfilled, "netcdf-filled": filled, "netcdf-text": text,
}  # fmt: skip

if __name__ == "__main__":
    write(WRITERS)
