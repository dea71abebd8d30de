"""Files of pandas' HDFStore."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from helpers.foreign import write


def frame() -> pd.DataFrame:
    """Numbers, times and a class for each of 40 rows."""
    count = np.arange(40)
    return pd.DataFrame(
        {
            "x": count / 4,
            "y": count,
            "when": pd.date_range("2020-01-01", periods=40),
            "sure": count % 2 == 0,
        }
    )


def fixed(path: Path) -> None:
    """The default form: one array for each type of column."""
    frame().to_hdf(path, key="frame", format="fixed")
    frame()["x"].to_hdf(path, key="series")


def table(path: Path) -> None:
    """The form that can be searched: records, compressed."""
    rows = frame()
    rows["name"] = [f"row {i}" for i in range(len(rows))]
    rows.to_hdf(path, key="frame", format="table", data_columns=["y"], complib="blosc", complevel=5)


WRITERS = {"pandas-fixed": fixed, "pandas-table": table}

if __name__ == "__main__":
    write(WRITERS)
