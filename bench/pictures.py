"""The article's workload: road pictures with a steering angle, as one HDF5 file and as JPEGs."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any

import h5py
from PIL import Image

from prefetcher.cli import roads
from prefetcher.cli.output import progress

ARTICLE_SAMPLES = 81_282
HELD_OUT = 4
"""One validation sample to so many training samples: 5 GB in all, as in the article."""
QUALITY = 90
"""Of the JPEG files: about 5 kB each, quicker to decode than PNG, which would flatter us."""
IN_A_FOLDER = 1000


@dataclass(frozen=True)
class Workload:
    """What is trained on: the first rows of a file; the others are for validation.

    Attributes:
        path: The file, with ``images`` and ``angles``.
        files: Folder of the same training pictures, a file each.
        scale: Share of the article's samples.
        samples: Training samples.
        validation: Samples for validation.
    """

    path: Path
    files: Path
    scale: float
    samples: int
    validation: int

    def told(self) -> dict[str, Any]:
        """For the result."""
        nbytes = (self.samples + self.validation) * roads.SIDE**2 * 3
        return {
            "scale": self.scale,
            "samples": self.samples,
            "validation": self.validation,
            "nbytes": nbytes,
        }

    def arguments(self) -> dict[str, Any]:
        """For a child."""
        return {
            "path": str(self.path),
            "files": str(self.files),
            "samples": self.samples,
            "validation": self.validation,
        }


def workload(folder: Path, scale: float, seed: int = 0) -> Workload:
    """Draws the pictures, unless an earlier run left them there."""
    samples = round(ARTICLE_SAMPLES * scale)
    validation = samples // HELD_OUT
    stem = folder / f"article-{samples}-{seed}"
    made = Workload(stem.with_suffix(".h5"), stem, scale, samples, validation)
    if not made.path.exists():
        _draw(made, seed)
    return made


def picture_path(folder: Path, row: int) -> Path:
    """Where the picture of a row lies: a thousand to a folder."""
    return folder / f"{row // IN_A_FOLDER:03}" / f"{row:06}.jpg"


def _draw(made: Workload, seed: int) -> None:
    """Both forms at once; the file gets its name last, so that what exists is whole."""
    total = made.samples + made.validation
    partial = made.path.with_suffix(".partial")
    rows = count()
    with h5py.File(partial, "w") as file, progress("Drawing the workload", total) as advance:
        images = file.create_dataset("images", (total, roads.SIDE, roads.SIDE, 3), "uint8")
        angles = file.create_dataset("angles", (total,), "float32")
        start = 0
        for drawn, steered in roads.draw_in_steps(total, seed):
            images[start : start + len(drawn)] = drawn
            angles[start : start + len(drawn)] = steered
            for picture in drawn[: max(0, made.samples - start)]:
                path = picture_path(made.files, next(rows))
                path.parent.mkdir(parents=True, exist_ok=True)
                Image.fromarray(picture).save(path, quality=QUALITY)
            start += len(drawn)
            advance(len(drawn))
    partial.replace(made.path)
