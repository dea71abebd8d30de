"""Which leaves are inputs and targets: by names, weights and layouts."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from prefetcher.cli.leaves import leaves_of
from prefetcher.cli.roles import guessed
from prefetcher.hdf5.dataset import Dataset


def dataset(name: str, shape: tuple[int, ...], dtype: Any) -> Dataset:
    return Dataset(name, shape, np.dtype(dtype), "contiguous", None, (), 1, "contiguous", "")


def roles(
    datasets: dict[str, tuple[tuple[int, ...], Any]], axes: tuple[str, ...] = ()
) -> tuple[list[str], str | None] | None:
    described = [dataset(name, *kind) for name, kind in datasets.items()]
    found = guessed(list(leaves_of(described, {}, axes)))
    return found and ([leaf.name for leaf in found.x], found.y.name if found.y else None)


@pytest.mark.parametrize(
    ("datasets", "x", "y"),
    [
        ({"masks": ((9, 64), "f4"), "images": ((9, 32), "u1")}, ["images"], "masks"),
        ({"masked": ((9, 64), "f4"), "ages": ((9,), "u1")}, ["masked"], "ages"),
        ({"left": ((9, 8), "f4"), "right": ((9, 8), "f4")}, ["left"], None),
        ({"images": ((9, 8), "f4"), "ids": ((9,), "i8")}, ["images"], None),
        ({"images": ((9, 8), "f4"), "person_id": ((9,), "i8")}, ["images"], "person_id"),
        ({"labels": ((9,), "i8")}, ["labels"], None),
        ({"masks": ((9, 64), "u1"), "palette": ((99, 3), "u1")}, ["masks"], None),
        (
            {"observations": ((9, 5), "f4"), "next_observations": ((9, 5), "f4"),
             "actions": ((9, 2), "f4"), "rewards": ((9,), "f4")},
            ["observations"], "actions",
        ),
        ({"events": ((9,), [("px", "f4")])}, ["events[px]"], None),
        ({"events": ((9,), [("label", "i4")])}, ["events[label]"], None),
        ({"events": ((9,), [("a", "f4"), ("b", "f4")]), "y": ((9,), "f4")},
         ["events[a]", "events[b]"], "y"),
        ({"events": ((9,), [("p", [("x", "f4"), ("y", "f4")])])},
         ["events[p][x]", "events[p][y]"], None),
        ({"kspace": ((9, 8), "c8"), "label": ((9,), "c8")}, ["kspace"], None),
        ({"index": ((9,), "i8"), "time": ((9,), "f8")}, None, None),
    ],
)  # fmt: skip
def test_the_roles(
    datasets: dict[str, tuple[tuple[int, ...], Any]], x: list[str] | None, y: str | None
) -> None:
    assert roles(datasets) == ((x, y) if x else None)


def test_an_axis_is_nothing_whatever_its_name() -> None:
    datasets = {"level": ((9, 5), "f8"), "hour": ((9,), "i4"), "wind": ((9, 2), "f4")}
    assert roles(datasets, axes=("level", "hour")) == (["wind"], None)


@pytest.mark.parametrize(
    ("columns", "y"),
    [
        (["batch", "n", "leiden", "cell_type"], "obs/cell_type/codes"),
        (["donor_id", "celltypes"], "obs/celltypes/codes"),
        (["sample", "condition"], "obs/condition/codes"),
        (["batch"], "obs/batch/codes"),
        ([], None),
    ],
)
def test_the_class_of_cells(columns: list[str], y: str | None) -> None:
    cells = {"X": ((9, 5), "f4"), "obs/n_genes": ((9,), "i4"), "obsm/pca": ((9, 50), "f8")}
    codes = {f"obs/{column}/codes": ((9,), "i1") for column in columns}
    assert roles({**cells, **codes}) == (["X"], y)
