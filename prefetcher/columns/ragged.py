"""Rows of variable length: what they hold. h5py says so in the dtype of such a dataset."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

TEXT: np.dtype[Any] = np.dtype("S")
"""Stands for text as the elements of rows of variable length; h5py gives each row as bytes."""
OBJECT_BYTES = 144
"""What a row takes beside its elements: numpy's array over them, and malloc's rounding."""


def elements_of(dtype: np.dtype[Any]) -> np.dtype[Any] | None:
    """The dtype of the elements of rows of variable length.

    None for rows of one size, and for objects that are no rows of numbers or text: references, and
    rows of variable length within each other.
    """
    metadata: Mapping[str, Any] = dtype.metadata or {}
    inner = metadata.get("vlen") if dtype.kind == "O" else None
    if inner in (str, bytes):
        return TEXT
    is_rows = isinstance(inner, np.dtype) and not inner.hasobject
    return inner if is_rows else None


def shown(dtype: np.dtype[Any]) -> str:
    """A dtype as messages show it: "vlen uint8" or "vlen text" where numpy says "object"."""
    elements = elements_of(dtype)
    if elements is None:
        return str(dtype)
    return "vlen text" if elements == TEXT else f"vlen {elements}"
