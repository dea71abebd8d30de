"""Picture files by path."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from prefetcher import picture
from prefetcher.conversion.files import open_regular
from prefetcher.picture import Look

_SUFFIXES = "png jpg jpeg jpe bmp gif webp tif tiff ppm pgm pbm pnm"
SUFFIXES = frozenset("." + suffix for suffix in _SUFFIXES.split())


def decode(path: Path, look: Look) -> NDArray[np.uint8]:
    """The picture in a file, as `prefetcher.picture.decode` gives it, and raising the same."""
    with open_regular(path) as file:
        return picture.decode(file, look)


def size_of(path: Path) -> tuple[int, int]:
    """Height and width of the picture in a file, turned upright."""
    with open_regular(path) as file:
        return picture.size_of(file)
