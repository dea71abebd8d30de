"""Inputs and targets: as the file says, else as its datasets look."""

from __future__ import annotations

from pathlib import Path

import h5py
import pytest

from prefetcher.cli.names import choose, guess
from prefetcher.hdf5.attributes import Attributes
from prefetcher.hdf5.describe import describe


@pytest.mark.parametrize(
    ("shapes", "x", "y"),
    [
        ({"x": (9, 4), "y": (9,)}, "x", "y"),
        ({"ids": (9,), "images": (9, 8, 8), "labels": (9, 10)}, "images", "labels"),
        ({"a": (9, 5), "b": (9, 2), "c": (9,)}, "a", "c"),
        ({"a/x": (9, 5), "a/y": (9,), "b/x": (9, 4), "b/y": (9,)}, "a/x", "a/y"),
        ({"x": (9, 5), "mean": (1, 4)}, "x", None),
        ({"number": ()}, None, None),
        ({"empty": (0, 5)}, None, None),
        ({}, None, None),
    ],
)  # fmt: skip
def test_the_guess(
    tmp_path: Path, shapes: dict[str, tuple[int, ...]], x: str | None, y: str | None
) -> None:
    with h5py.File(tmp_path / "guess.h5", "w", track_order=True) as made:
        for name, shape in shapes.items():
            made.create_dataset(name, shape, "f4", track_order=True)
    found = guess(describe(tmp_path / "guess.h5").datasets)
    assert (found and found.x) == x
    assert (found and found.y) == y


SAID = Attributes(x="images", y=("angles", "speeds"))


@pytest.mark.parametrize(
    ("names", "said", "x", "y", "known"),
    [
        (("images", "angles", "speeds"), [SAID], "images", ("angles", "speeds"), True),
        (("images", "angles", "speeds"), [Attributes(), SAID], "images", SAID.y, False),
        (("x", "images", "angles", "speeds"), [SAID], "images", SAID.y, False),
        (("x", "labels"), [Attributes(x="x", y="labels")], "x", "labels", True),
        (("images", "angles"), [Attributes(x="images")], "images", None, True),
        (("images", "angles"), [SAID], "images", "angles", False),
        (("images", "angles"), [Attributes()], "images", "angles", False),
    ],
    ids=["whole", "a split", "x is another", "x", "no y", "one taken out", "nothing"],
)
def test_what_the_file_says_comes_first(
    tmp_path: Path, names: tuple[str, ...], said: list[Attributes], x: str, y: object, known: bool
) -> None:
    with h5py.File(tmp_path / "said.h5", "w") as made:
        for name in names:
            made.create_dataset(name, (9, 4) if name == "images" else (9,), "f4")
    found = choose(describe(tmp_path / "said.h5"), said)
    assert found
    assert (found.x, found.y, found.known) == (x, y, known)
    assert {dataset.name for dataset in found.datasets} <= set(names)
