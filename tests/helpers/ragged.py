"""HDF5 files with rows of variable length and encoded pictures, each of which tells its number."""

from __future__ import annotations

from collections.abc import Sequence
from io import BytesIO
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray
from PIL import Image

Rows = NDArray[np.object_] | Sequence[Any]


def tokens_of(number: int) -> NDArray[np.int32]:
    """Row `number` of "tokens": 0 to 10 elements."""
    return np.arange(number * 7 % 11, dtype=np.int32) + number * 100


def picture_of(number: int, kind: str = "PNG", size: tuple[int, int] = (6, 9)) -> bytes:
    """An encoded picture of (height, width); every pixel is the number, from 0 to 255."""
    made = BytesIO()
    Image.fromarray(np.full((*size, 3), number, np.uint8)).save(made, kind)
    return made.getvalue()


def write_ragged(path: Path, n: int) -> Path:
    """Writes n rows. `id` tells the number, `short` (n, 2) too; the others are ragged:

    `tokens` int32, `chunked` the same in storage chunks, `big` big-endian, `pairs` (n, 2) uint8,
    `bytes` PNG files, `text`, and `empty` that was never written.
    """
    with h5py.File(path, "w") as file:
        file["id"] = np.arange(n)
        file["short"] = np.repeat(np.arange(n)[:, None], 2, axis=1)
        tokens = file.create_dataset("tokens", (n,), h5py.vlen_dtype("i4"))
        chunked = file.create_dataset(
            "chunked", (n,), h5py.vlen_dtype("i4"), chunks=(min(n, 8),), compression="gzip"
        )
        big = file.create_dataset("big", (n,), h5py.vlen_dtype(">i4"))
        pairs = file.create_dataset("pairs", (n, 2), h5py.vlen_dtype("u1"))
        pictures = file.create_dataset("bytes", (n,), h5py.vlen_dtype("u1"))
        text = file.create_dataset("text", (n,), h5py.string_dtype())
        file.create_dataset("empty", (n,), h5py.vlen_dtype("f4"))
        for number in range(n):
            tokens[number] = chunked[number] = big[number] = tokens_of(number)
            pairs[number, 0], pairs[number, 1] = [number] * (number % 3), [number]
            pictures[number] = np.frombuffer(picture_of(number), np.uint8)
            text[number] = "\N{SNOWMAN}" * (number % 4) + str(number)
    return path


def same(found: Rows, expected: Rows) -> bool:
    """Whether two arrays of rows hold the same: values, lengths and dtypes."""
    left, right = (
        list(rows.reshape(-1)) if isinstance(rows, np.ndarray) else list(rows)
        for rows in (found, expected)
    )
    return len(left) == len(right) and all(map(_same, left, right))


def _same(left: Any, right: Any) -> bool:
    if isinstance(left, bytes) or isinstance(right, bytes):
        return type(left) is type(right) and bool(left == right)
    return left.dtype == right.dtype and bool(np.array_equal(left, right))
