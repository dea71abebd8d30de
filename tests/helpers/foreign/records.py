"""Tables of records as PyTables and pandas write them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import tables

from helpers.foreign import Writers, write
from helpers.records import N, fill


class Event(tables.IsDescription):  # type: ignore[misc]
    """Text, a flag, an array, a nested record."""

    name = tables.StringCol(8, pos=0)
    id = tables.Int32Col(pos=1)
    hit = tables.BoolCol(pos=2)
    momentum = tables.Float32Col(shape=(3,), pos=3)

    class pos(tables.IsDescription):  # type: ignore[misc]  # noqa: N801
        x = tables.Float64Col(pos=0)
        y = tables.Float32Col(pos=1)


def of_pytables(library: str | None, **options: Any) -> Callable[[Path], None]:
    def write(path: Path) -> None:
        filters = tables.Filters(5, library, shuffle=True) if library else None
        with tables.open_file(path, "w") as file:
            table = file.create_table("/", "events", Event, filters=filters, **options)
            table.append(fill(np.zeros(N, table.dtype)))

    return write


def of_pandas(path: Path) -> None:
    frame = pd.DataFrame({"id": np.arange(N, dtype=np.int32), "energy": np.arange(N) / 4})
    frame["name"] = [f"r{row}" for row in range(N)]
    frame.to_hdf(path, key="frame", format="table", data_columns=["id", "name"], complevel=5)


WRITERS: Writers = {
    "pytables": of_pytables(None),
    "pytables-zlib": of_pytables("zlib", chunkshape=7),
    "pytables-blosc": of_pytables("blosc", chunkshape=16),
    "pandas": of_pandas,
}

if __name__ == "__main__":
    write(WRITERS)
