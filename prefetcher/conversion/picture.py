"""One picture file into one array: upright, in the colours and the size that were asked for."""

from __future__ import annotations

from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

from prefetcher.conversion.options import CHANNELS, Color, Resize

FORMATS = ("PNG", "JPEG", "BMP", "GIF", "WEBP", "TIFF", "PPM")
"""What is opened. Pillow knows more, some of which start other programs or read other files."""
_SUFFIXES = "png jpg jpeg jpe bmp gif webp tif tiff ppm pgm pbm pnm"
SUFFIXES = frozenset("." + suffix for suffix in _SUFFIXES.split())
_MODES: dict[Color, str] = {"rgb": "RGB", "grey": "L", "rgba": "RGBA"}
_WHITE = (255, 255, 255, 255)
_SMOOTH = Image.Resampling.BILINEAR
"""Pillow widens it when it makes pictures smaller, so nothing flickers; sharper ones cost more."""


@dataclass(frozen=True, slots=True)
class Look:
    """What pictures are turned into: uint8 arrays of shape (height, width, channels)."""

    height: int
    width: int
    color: Color
    resize: Resize | None
    """None refuses pictures of another size."""

    @property
    def shape(self) -> tuple[int, int, int]:
        """Of one picture."""
        return self.height, self.width, CHANNELS[self.color]


def decode(path: Path, look: Look) -> NDArray[np.uint8]:
    """Reads a picture file; of an animated one the first frame.

    Raises:
        ValueError: The picture cannot be turned into what was asked for.
        Exception: Whatever the decoder makes of damaged bytes.
    """
    # Read at once: decoders ask for a few bytes at a time, and each time take Python's lock again.
    with Image.open(BytesIO(path.read_bytes()), formats=FORMATS) as image:
        if look.resize:
            # A JPEG's own decoder halves much faster; twice the size loses nothing one could see.
            twice = 2 * max(look.height, look.width)
            image.draft(None, (twice, twice))
        upright = ImageOps.exif_transpose(image)
        picture = _resized(_coloured(_eight_bits(upright), look.color), look)
        return np.asarray(picture).reshape(look.shape)


def size_of(path: Path) -> tuple[int, int]:
    """Height and width of a picture, turned upright."""
    with Image.open(path, formats=FORMATS) as image:
        width, height = ImageOps.exif_transpose(image).size
    return height, width


def reason(error: Exception) -> str:
    """Why a picture could not be read, without the path that is told beside it."""
    if isinstance(error, UnidentifiedImageError):
        return "not a picture, or of a kind that is not read"
    if isinstance(error, FileNotFoundError):
        return "there is no such file"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return str(error) or type(error).__name__


def _eight_bits(image: Image.Image) -> Image.Image:
    """Grey pictures of 16 bits scaled to 8, so that white stays white."""
    if image.mode == "F":
        raise ValueError("its pixels are floats, whose white nobody knows")
    if not image.mode.startswith("I"):
        return image
    values: NDArray[Any] = np.asarray(image).astype(np.int64)
    if values.min() < 0 or values.max() > 65535:
        raise ValueError("its pixels have more than 16 bits")
    return Image.fromarray(((values * 255 + 32767) // 65535).astype(np.uint8))


def _coloured(image: Image.Image, color: Color) -> Image.Image:
    """The picture in these colours; what is transparent is laid on white, unless alpha is kept."""
    mode = _MODES[color]
    if image.mode == mode:
        return image
    if image.has_transparency_data and color != "rgba":
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, _WHITE), image)
    return image.convert(mode)


def _resized(image: Image.Image, look: Look) -> Image.Image:
    size = look.width, look.height
    if image.size == size:
        return image
    if look.resize == "stretch":
        return image.resize(size, _SMOOTH)
    if look.resize == "pad":
        return ImageOps.pad(image, size, _SMOOTH)
    if look.resize == "crop":
        return ImageOps.fit(image, size, _SMOOTH)
    width, height = image.size
    raise ValueError(
        f"it is {height} x {width}, the first one {look.height} x {look.width}: write a size"
    )
