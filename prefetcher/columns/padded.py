"""Columns of rows of variable length, cut and filled to one length."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import partial
from numbers import Real
from typing import Any

import numpy as np

from prefetcher.columns.column import Array, Column, Stored, Value, check_of, whole
from prefetcher.columns.ragged import TEXT, elements_of
from prefetcher.columns.rows import Row, Window
from prefetcher.errors import DatasetError, SettingsError


@dataclass(frozen=True)
class Padded(Column):
    """Rows of variable length, such as tokens or audio, cut and filled to one length.

    A value has the shape (length,). Rows are read once, however many columns are made of them:

        x={"tokens": Padded("tokens", 128), "mask": Padded("tokens", 128, mask=True)}
        x=Padded("audio", 16000), y="labels"

    What is longer is cut when it is read, so that memory is bounded by `length`.

    Attributes:
        of: The name of a dataset of variable length.
        length: Elements of a value, 1 or more.
        fill: What stands behind rows that are shorter; of the dataset's dtype.
        mask: True gives booleans instead of the values: True where there is an element, False
            where it is filled. As an input, or as `sample_weight` of a target of that length.

    Raises:
        SettingsError: A setting cannot be used.
    """

    length: int
    fill: float | bool = 0
    mask: bool = False

    def __post_init__(self) -> None:
        check_of(self)
        object.__setattr__(self, "length", whole(self, "length", 1))
        if not isinstance(self.mask, bool | np.bool_):
            raise SettingsError(f"{self}: write mask=True or mask=False")
        fill: object = self.fill
        if not isinstance(fill, Real | np.bool_):
            raise SettingsError(f"{self}: write a number for fill")
        if isinstance(self.of, Row | Window):
            kind = type(self.of).__name__
            raise SettingsError(
                f"{self}: each row is padded on its own, so write {kind}(Padded(...), ...)"
            )

    @property
    def most(self) -> int:
        """As many as a value has."""
        return self.length

    def value(self, stored: Stored) -> Value:
        """Of the elements' dtype in native byte order, or bool."""
        inner = self._inner(stored)
        elements = elements_of(inner.dtype)
        if elements is None:
            raise DatasetError(
                f"{self.of} holds {inner.dtype} {inner.shape}, which are of one length already: "
                "leave Padded out"
            )
        if elements == TEXT or elements.subdtype:
            what = "text" if elements == TEXT else f"arrays of {elements}"
            raise DatasetError(f"{self.of} holds {what}: pass a transform that makes numbers of it")
        if self.mask:
            dtype, make = np.dtype(bool), partial(_masks, inner, self.length)
        else:
            dtype = elements.newbyteorder("=")
            make = partial(_padded, inner, self.length, self._fill_of(dtype))
        return Value(dtype, (*inner.shape, self.length), make)

    def _fill_of(self, dtype: np.dtype[Any]) -> Array:
        """The element that is filled in."""
        if dtype.names and self.fill == 0:
            return np.zeros((), dtype)
        if dtype.kind in "biufc":
            with np.errstate(invalid="ignore", over="ignore"):
                filled = np.array(self.fill).astype(dtype)
            # A float that has no exact float16 or float32 is meant all the same: 0.1, or 1e-3.
            if filled == self.fill or dtype.kind in "fc":
                return filled
        raise DatasetError(
            f"{self.of} holds {dtype}, which has no {self.fill!r}: write another fill"
        )


def _rows(inner: Value, rows: Array) -> Array:
    return inner.make(rows).reshape(-1)


def _padded(inner: Value, length: int, fill: Array, rows: Array) -> Array:
    out = np.full((len(rows) * math.prod(inner.shape), length), fill, fill.dtype)
    for at, row in enumerate(_rows(inner, rows)):
        out[at, : len(row)] = row[:length]
    return out.reshape(len(rows), *inner.shape, length)


def _masks(inner: Value, length: int, rows: Array) -> Array:
    every = _rows(inner, rows)
    lengths = np.fromiter(map(len, every), np.int64, len(every))
    masks: Array = np.arange(length) < lengths[:, None]
    return masks.reshape(len(rows), *inner.shape, length)
