"""Fashion-MNIST, sorted by class: what a file written class by class looks like to a loader."""

from __future__ import annotations

import gzip
from collections.abc import Iterator
from pathlib import Path

import h5py
import numpy as np
from numpy.typing import NDArray

from bench.child import ROOT

NAME = "fashion-mnist"
PLACES = (ROOT.parent / "shared" / "data" / NAME, Path("/usr/share/datasets") / NAME)
"""Where it may lie besides the bench's own folder; the second is Debian's dataset-fashion-mnist."""
_SAMPLES = {"train": "", "t10k": "test_"}


def sorted_by_class(folder: Path) -> Path | None:
    """The file with ``x`` (60000, 28, 28) uint8 and ``y`` (60000,) uint8, in the order of ``y``.

    The 10,000 samples for testing are ``test_x`` and ``test_y``, in their own order.

    Args:
        folder: For the file, kept for the next time; the four idx files may lie in its
            ``fashion-mnist``.

    Returns:
        Its path; None where the idx files are not to be found.
    """
    path = folder / f"{NAME}-sorted.h5"
    places = (place for place in (folder / NAME, *PLACES) if place.is_dir())
    if not path.exists():
        if (place := next(places, None)) is None:
            return None
        partial = path.with_suffix(".partial")
        with h5py.File(partial, "w") as file:
            for name, values in _datasets(place):
                file[name] = values
        partial.replace(path)
    return path


def _datasets(place: Path) -> Iterator[tuple[str, NDArray[np.uint8]]]:
    for samples, prefix in _SAMPLES.items():
        x = _idx(place / f"{samples}-images-idx3-ubyte.gz")
        y = _idx(place / f"{samples}-labels-idx1-ubyte.gz")
        order = np.arange(len(y)) if prefix else np.argsort(y, kind="stable")
        yield f"{prefix}x", x[order]
        yield f"{prefix}y", y[order]


def _idx(path: Path) -> NDArray[np.uint8]:
    """An idx file of bytes: the number of dimensions, each dimension's size, the values."""
    held = gzip.decompress(path.read_bytes())
    shape = np.frombuffer(held, ">u4", count=held[3], offset=4)
    return np.frombuffer(held, np.uint8, offset=4 + shape.nbytes).reshape(shape)
