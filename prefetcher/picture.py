"""One encoded picture into one array: upright, in the colours and the size that were asked for."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from io import BytesIO
from typing import Any, BinaryIO, Literal

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image, ImageOps, UnidentifiedImageError

from prefetcher.errors import FileMissingError
from prefetcher.machine.limits import cpus_allowed

Resize = Literal["stretch", "pad", "crop"]
Color = Literal["rgb", "grey", "rgba"]
RESIZES: tuple[Resize, ...] = ("stretch", "pad", "crop")
CHANNELS: Mapping[Color, int] = {"rgb": 3, "grey": 1, "rgba": 4}

FORMATS = ("PNG", "JPEG", "BMP", "GIF", "WEBP", "TIFF", "PPM")
"""What is opened. Pillow knows more, some of which start other programs or read other files."""
_MODES: dict[Color, str] = {"rgb": "RGB", "grey": "L", "rgba": "RGBA"}
_WHITE = (255, 255, 255, 255)
_SMOOTH = Image.Resampling.BILINEAR
"""Pillow widens it when it makes pictures smaller, so nothing flickers; sharper ones cost more."""
_READ_AT_ONCE = 64 << 20
"""Bytes of a picture's file that are read before it is decoded; a larger one bit by bit."""
_SIDEWAYS = range(5, 9)
"""EXIF orientations that swap height and width."""

PIXELS_AT_ONCE = max(64_000_000, 12_000_000 * cpus_allowed())
"""That are decoded at once by all workers of a process. A pixel takes some 10 bytes then, so these
are 640 MB, or a telephone's photograph for each CPU. A larger picture is decoded alone."""


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


def decode(file: BinaryIO, look: Look) -> NDArray[np.uint8]:
    """Decodes a picture file; of an animated one the first frame.

    Args:
        file: Open at its beginning. What follows the picture is ignored.
        look: What it is turned into.

    Raises:
        ValueError: The picture cannot be turned into what was asked for.
        Exception: Whatever the decoder makes of damaged bytes.
    """
    with _opened(file) as image:
        if look.resize:
            # A JPEG's own decoder halves much faster; twice the size loses nothing one could see.
            twice = 2 * max(look.height, look.width)
            image.draft(None, (twice, twice))
        with _gate.through(image.width * image.height):
            ImageOps.exif_transpose(image, in_place=True)
            picture = _resized(_coloured(_eight_bits(image), look.color), look)
            return np.asarray(picture).reshape(look.shape)


def size_of(file: BinaryIO) -> tuple[int, int]:
    """Height and width of a picture, turned upright; of PNG only what stands before its pixels."""
    with Image.open(file, formats=FORMATS) as image:
        # Where a PNG says nothing before its pixels, asking would decode them.
        exif = image.getexif() if "exif" in image.info or image.format != "PNG" else {}
        size = image.height, image.width
        return size[::-1] if exif.get(ExifTags.Base.Orientation) in _SIDEWAYS else size


def _opened(file: BinaryIO) -> Image.Image:
    # Read at once: decoders ask for a few bytes at a time, and each time take Python's lock again.
    content = file.read(_READ_AT_ONCE + 1)
    if len(content) <= _READ_AT_ONCE:
        return Image.open(BytesIO(content), formats=FORMATS)
    file.seek(0)
    return Image.open(file, formats=FORMATS)


class _Gate:
    """Lets a number of pixels in at once; more wait, and what is larger until it is alone."""

    def __init__(self) -> None:
        self._inside = 0
        self._changed = threading.Condition()

    @contextmanager
    def through(self, pixels: int) -> Iterator[None]:
        """Waits for room, and takes it until the block ends."""
        with self._changed:
            self._changed.wait_for(
                lambda: not self._inside or self._inside + pixels <= PIXELS_AT_ONCE
            )
            self._inside += pixels
        try:
            yield
        finally:
            with self._changed:
                self._inside -= pixels
                self._changed.notify_all()


_gate = _Gate()


def reason(error: Exception) -> str:
    """Why a picture could not be read, without the path that is told beside it."""
    if isinstance(error, UnidentifiedImageError):
        return "not a picture, or of a kind that is not read"
    if isinstance(error, FileNotFoundError | FileMissingError):
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
    values: NDArray[Any] = np.asarray(image)
    if values.min() < 0 or values.max() > 65535:
        raise ValueError("its pixels have more than 16 bits")
    return Image.fromarray(np.take(_SCALED, values))


_SCALED = ((np.arange(65536) * 255 + 32767) // 65535).astype(np.uint8)
"""Of each value of 16 bits the nearest of 8."""


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
