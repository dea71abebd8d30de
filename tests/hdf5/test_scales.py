"""Datasets that only say which row or column of others is which."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np

from prefetcher.hdf5.describe import describe
from prefetcher.hdf5.scales import scales_of


def test_dimension_scales_and_indices_of_pytables(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["t2m"], file["hour"], file["group/lat"] = np.zeros((9, 5)), np.zeros(9), np.zeros(5)
        for name in ("hour", "group/lat"):
            file[name].make_scale(name)
        file["_i_events/energy/sortedLR"], file["i_events"] = np.zeros(9), np.zeros(9)
        file["soft"] = h5py.SoftLink("/hour")
        file["out"] = h5py.ExternalLink("b.h5", "/x")
        file["scalar"] = 1.0
    found = scales_of(describe(tmp_path / "a.h5"))
    assert found == {"hour", "soft", "group/lat", "_i_events/energy/sortedLR"}


def test_a_file_without_any(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["x"] = np.zeros(9)
    assert scales_of(describe(tmp_path / "a.h5")) == frozenset()
