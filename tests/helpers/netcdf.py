"""Packed numbers by NetCDF's own library. For a child: it brings a copy of HDF5 of its own."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray


def write(path: Path, packed: NDArray[Any], attributes: Mapping[str, Any]) -> None:
    """Writes `t` as it stands, with these attributes, and `id`, the number of each row."""
    from netCDF4 import Dataset

    others = dict(attributes)
    fill = others.pop("_FillValue", None)
    rows, width = packed.shape
    with Dataset(path, "w") as file:
        file.createDimension("time", rows)
        file.createDimension("place", width)
        t = file.createVariable("t", packed.dtype, ("time", "place"), fill_value=fill, zlib=True)
        t.set_auto_maskandscale(False)
        for name, value in others.items():
            t.setncattr(name, value)
        t[:] = packed
        file.createVariable("id", "i4", ("time",))[:] = np.arange(rows)


def unpacked(path: Path) -> NDArray[np.float32]:
    """The values of `t`, NaN where they are masked."""
    from netCDF4 import Dataset

    with Dataset(path) as file:
        file["t"].set_auto_mask(True)
        values = np.ma.asarray(file["t"][:])
    return np.asarray(np.ma.filled(values.astype(np.float64), np.nan).astype(np.float32))
