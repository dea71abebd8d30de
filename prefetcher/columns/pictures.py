"""Columns of encoded pictures."""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from io import BytesIO
from typing import Any

import numpy as np

from prefetcher.columns.column import Array, Column, RowValueError, Stored, Value, check_of
from prefetcher.columns.padded import Padded
from prefetcher.columns.ragged import elements_of, shown
from prefetcher.columns.rows import Row, Window
from prefetcher.errors import DatasetError, SettingsError
from prefetcher.messages.suggestions import did_you_mean
from prefetcher.picture import CHANNELS, RESIZES, Color, Look, Resize, decode, reason

Files = Callable[[Array], Iterator[Any]]
"""Gives the bytes of each picture in rows."""


@dataclass(frozen=True)
class Picture(Column):
    """Rows that are encoded pictures, such as JPEG or PNG files, decoded on the batchers by Pillow.

    A value is uint8 of shape (height, width, channels), made by the rules of `prefetcher.convert`:
    turned upright by EXIF, what is transparent laid on white, 16 bits scaled to 8.

        x=Picture("images", (224, 224)), y="labels"
        x=Window(Picture("frames", (64, 64)), 4)                     # four frames each

    The bytes of a picture are a row of variable length (vlen uint8), an opaque row, or a row of
    uint8 that is filled up behind the picture. Decoding takes most of the time, so `batchers=2` or
    "auto" uses more CPUs.

    Attributes:
        of: The dataset's name.
        size: (height, width) of the values.
        color: "rgb", "grey" (one channel) or "rgba".
        resize: How pictures of another shape get that size: "stretch", "pad" (black beside
            them) or "crop" (what is too much is cut off).

    Raises:
        SettingsError: A setting cannot be used.
    """

    size: tuple[int, int]
    color: Color = "rgb"
    resize: Resize = "stretch"

    def __post_init__(self) -> None:
        check_of(self)
        object.__setattr__(self, "size", self._checked_size())
        for name, allowed in (("color", CHANNELS), ("resize", RESIZES)):
            if getattr(self, name) not in allowed:
                written = str(getattr(self, name)).replace("gray", "grey")
                meant = did_you_mean(written, allowed)
                known = ", ".join(map(repr, allowed))
                raise SettingsError(f"{self}: {name} is one of {known}{meant}")
        if isinstance(self.of, Row | Window | Padded):
            kind = type(self.of).__name__
            raise SettingsError(
                f"{self}: pictures are rows as they are stored, so write Picture of the dataset"
                + ("" if isinstance(self.of, Padded) else f", and {kind} of that")
            )

    def _checked_size(self) -> tuple[int, int]:
        try:
            height, width = map(operator.index, self.size)
        except (TypeError, ValueError):
            height = width = 0
        if height < 1 or width < 1:
            raise SettingsError(f"{self}: write size=(height, width), both 1 or more")
        return height, width

    def value(self, stored: Stored) -> Value:
        """uint8 (height, width, channels)."""
        inner = self._inner(stored)
        look = Look(*self.size, self.color, self.resize)
        shape, files = self._files(inner)
        make = partial(_decoded, inner, files, look, shape)
        return Value(np.dtype(np.uint8), (*shape, *look.shape), make)

    def _files(self, inner: Value) -> tuple[tuple[int, ...], Files]:
        """The shape of a row as pictures, and how their bytes are had."""
        elements = elements_of(inner.dtype)
        if elements is not None and elements.itemsize == 1 and elements.kind in "iu":
            return inner.shape, _objects
        if inner.dtype.kind in "VS" and not inner.dtype.names:
            return inner.shape, partial(_fixed, inner.dtype.itemsize)
        if inner.dtype.itemsize == 1 and inner.dtype.kind in "iu" and inner.shape:
            return inner.shape[:-1], partial(_fixed, inner.shape[-1])
        raise DatasetError(
            f"{self.of} holds {shown(inner.dtype)} {inner.shape}: encoded pictures are rows of "
            "bytes, of variable length or filled up"
        )


def _objects(rows: Array) -> Iterator[Any]:
    """Rows of variable length."""
    return iter(rows.reshape(-1))


def _fixed(nbytes: int, rows: Array) -> Iterator[Any]:
    """Rows of one size."""
    flat = np.ascontiguousarray(rows).reshape(-1)
    return iter(flat.view(np.uint8).reshape(-1, nbytes))


def _decoded(inner: Value, files: Files, look: Look, shape: tuple[int, ...], rows: Array) -> Array:
    each = math.prod(shape)
    out = np.empty((len(rows) * each, *look.shape), np.uint8)
    for at, file in enumerate(files(inner.make(rows))):
        try:
            out[at] = decode(BytesIO(file), look)
        except Exception as error:
            why = f"is no picture that can be decoded: {reason(error)}"
            raise RowValueError(at // each, why) from error
    return out.reshape(len(rows), *shape, *look.shape)
