"""Packed values of netCDF-C, each file with what that library makes of them beside it (.npy)."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import netCDF4
import numpy as np

from helpers.foreign import write

ROWS = 60
NUMBERS = np.arange(ROWS * 3).reshape(ROWS, 3) * 7 - 300
SCALE = {"scale_factor": 0.0123, "add_offset": 273.15}

CASES: dict[str, tuple[str, dict[str, Any]]] = {
    **{
        kind: (kind, {"_FillValue": np.dtype(kind).type(50), **SCALE})
        for kind in ("i1", "i2", "u2", "i4", "f4", "f8")
    },
    "scale": ("i2", {"scale_factor": 0.5}),
    "offset": ("i2", {"add_offset": np.float32(0.1)}),
    "fill": ("i2", {"_FillValue": np.int16(-300)}),
    "missing": ("i2", {"missing_value": np.int16(-293)}),
    "all": (
        "i2",
        {
            "_FillValue": np.int16(-300),
            "missing_value": np.array([-293, -286], np.int16),
            "scale_factor": 2,
        },
    ),
    "unsigned": ("i2", {"_Unsigned": "true", "scale_factor": 0.1, "_FillValue": np.int16(-300)}),
}
"""How `t` is stored, and its attributes."""


def packed(path: Path, kind: str, attributes: dict[str, Any]) -> None:
    """Writes `t` and `id`, and the values by NetCDF itself, NaN where it masks them."""
    others = dict(attributes)
    fill = others.pop("_FillValue", None)
    with netCDF4.Dataset(path, "w") as file:
        file.createDimension("time", ROWS)
        file.createDimension("place", 3)
        t = file.createVariable("t", kind, ("time", "place"), fill_value=fill, zlib=True)
        t.set_auto_maskandscale(False)
        for name, value in others.items():
            t.setncattr(name, value)
        t[:] = NUMBERS.astype(kind)
        file.createVariable("id", "i4", ("time",))[:] = np.arange(ROWS)
    with netCDF4.Dataset(path) as file:
        values = np.ma.asarray(file["t"][:]).astype(np.float64)
    np.save(path.with_suffix(".npy"), np.ma.filled(values, np.nan).astype(np.float32))


WRITERS: dict[str, Callable[[Path], None]] = {
    name: partial(packed, kind=kind, attributes=attributes)
    for name, (kind, attributes) in CASES.items()
}

if __name__ == "__main__":
    write(WRITERS)
