"""Real photographs: those that come with scikit-image, whole and cut into tiles."""

from __future__ import annotations

from pathlib import Path

import skimage
from PIL import Image

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
