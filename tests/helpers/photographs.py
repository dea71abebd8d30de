"""Real photographs: those that come with scikit-image, whole and cut into tiles."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import h5py
import skimage
from PIL import Image

from prefetcher import convert

PHOTOGRAPHS = Path(skimage.__file__).parent / "data"
CLASSES = ("astronaut", "coffee", "grass", "retina")
TILE = 24


def photograph(name: str) -> Path:
    """The file of a photograph: PNG or JPEG."""
    return next(PHOTOGRAPHS.glob(f"{name}.*"))


def cut(name: str, folder: Path, count: int, side: int = TILE) -> None:
    """Cuts a photograph into tiles; every third one is saved as JPEG."""
    folder.mkdir(parents=True)
    with Image.open(photograph(name)) as image:
        whole = image.convert("RGB")
    across = whole.width // side
    for number in range(count):
        left, top = number % across * side, number // across * side
        tile = whole.crop((left, top, left + side, top + side))
        tile.save(folder / f"{number:04}.{'jpg' if number % 3 == 2 else 'png'}")


def names_in(folder: Path) -> list[str]:
    """What lies in a folder, sorted."""
    return [path.name for path in sorted(folder.iterdir())]


def pixels(tiles: Path, folder: Path) -> Any:
    """The rows that a conversion of all pictures gives."""
    convert(tiles, folder / "whole.h5")
    with h5py.File(folder / "whole.h5") as file:
        return file["images"][:]


def spoil(folder: Path, count: int) -> list[str]:
    """Damages so many pictures, each in another way; returns their names."""
    files = sorted(folder.rglob("*.png"))[1 : 4 * count : 4]
    for number, path in enumerate(files):
        content = path.read_bytes()
        path.write_bytes([b"", b"junk", content[: len(content) // 2]][number % 3])
    return [path.relative_to(folder).as_posix() for path in files]
