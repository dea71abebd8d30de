"""Records of PyTables and pandas, whose field `id` is the number of the row."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import tables

from helpers.foreign import write

ROWS = 60


class Event(tables.IsDescription):  # type: ignore[misc]
    """Text, a flag, an array, a nested record."""

    name = tables.StringCol(8, pos=0)
    id = tables.Int32Col(pos=1)
    hit = tables.BoolCol(pos=2)
    momentum = tables.Float32Col(shape=(3,), pos=3)

    class pos(tables.IsDescription):  # type: ignore[misc]  # noqa: N801
        """A record in the record."""

        x = tables.Float64Col(pos=0)
        y = tables.Float32Col(pos=1)


def of_pytables(path: Path, library: str | None = None, **options: Any) -> None:
    """A table, compressed or not."""
    filters = tables.Filters(5, library, shuffle=True) if library else None
    count = np.arange(ROWS)
    with tables.open_file(path, "w") as file:
        table = file.create_table("/", "events", Event, filters=filters, **options)
        rows = np.zeros(ROWS, table.dtype)
        rows["id"], rows["hit"] = count, count % 3 == 0
        rows["name"] = [f"r{row}".encode() for row in count]
        rows["momentum"] = count[:, None] + [0.5, 1.5, 2.5]
        rows["pos"]["x"], rows["pos"]["y"] = count / 4, -count
        table.append(rows)


def of_pandas(path: Path) -> None:
    """The form that can be searched, whose columns of one type are an array in each record."""
    frame = pd.DataFrame({"id": np.arange(ROWS, dtype=np.int32), "energy": np.arange(ROWS) / 4})
    frame["momentum"] = np.arange(ROWS) / 8
    frame["name"] = [f"r{row}" for row in range(ROWS)]
    frame.to_hdf(path, key="frame", format="table", data_columns=["id", "name"], complevel=5)


def of_pandas_fixed(path: Path) -> None:
    """The default form, which has an array for each type of column."""
    frame = pd.DataFrame({"a": np.arange(ROWS) / 4, "b": np.arange(ROWS) / 8})
    frame.to_hdf(path, key="frame", format="fixed")


WRITERS: dict[str, Callable[[Path], None]] = {
    "pytables": of_pytables,
    "pytables-zlib": partial(of_pytables, library="zlib", chunkshape=7),
    "pytables-blosc": partial(of_pytables, library="blosc", chunkshape=16),
    "pandas": of_pandas,
    "pandas-fixed": of_pandas_fixed,
}

if __name__ == "__main__":
    write(WRITERS)
