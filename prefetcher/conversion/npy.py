"""Arrays in files of numpy's: where they lie, so that they are mapped and not read."""

from __future__ import annotations

import math
import os
from dataclasses import dataclass
from functools import lru_cache
from io import BytesIO
from pathlib import Path
from typing import IO, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from prefetcher.conversion.files import open_regular
from prefetcher.errors import FileError

_HEADER_BYTES = 1 << 16  # numpy itself takes headers of 10,000 bytes


@dataclass(frozen=True)
class Mapped:
    """An array in a file, at an offset; opened in each process that loads rows of it."""

    path: str
    offset: int
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    order: str

    def open(self) -> NDArray[Any]:
        """The array, mapped for reading."""
        return _mapped(self)


@lru_cache(maxsize=64)
def _mapped(array: Mapped) -> NDArray[Any]:
    order: Any = array.order
    return np.memmap(array.path, array.dtype, "r", array.offset, array.shape, order)


def unmap() -> None:
    """Lets go of all files that were mapped in this process."""
    _mapped.cache_clear()


class Header(NamedTuple):
    """What stands before an array in the .npy format."""

    nbytes: int
    """Of itself."""
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    order: str

    @property
    def end(self) -> int:
        """Bytes from the beginning of this to the end of the array."""
        return self.nbytes + self.dtype.itemsize * math.prod(self.shape)


def read_header(name: str, file: IO[bytes]) -> Header:
    """Reads the header of an array whose .npy form begins where `file` stands.

    Raises:
        FileError: There is none; it names `name`.
    """
    head = BytesIO(file.read(_HEADER_BYTES))  # it may announce any length
    try:
        version = np.lib.format.read_magic(head)
        read = {(1, 0): np.lib.format.read_array_header_1_0}.get(
            version, np.lib.format.read_array_header_2_0
        )
        shape, fortran, dtype = read(head)
    except Exception as error:  # numpy has Python's own parser read it, which may raise much
        raise FileError(f"{name} is not an array of numpy's: {error}") from error
    if any(extent < 0 for extent in shape):
        raise FileError(f"{name} is not an array of numpy's: its shape is {shape}")
    return Header(head.tell(), shape, dtype, "F" if fortran else "C")


def npy(path: Path) -> Mapped:
    """The array in a .npy file.

    Raises:
        FileError: The file is missing, no regular file, no array, or cut short.
    """
    with open_regular(path) as file:
        return mapped_at(path, file, 0, file.seek(0, os.SEEK_END))


def mapped_at(path: Path, file: IO[bytes], begin: int, end: int) -> Mapped:
    """The array whose .npy form lies between two offsets of an open file.

    Raises:
        FileError: It is no array, or cut short.
    """
    file.seek(begin)
    header = read_header(path.name, file)
    if not header.dtype.hasobject and begin + header.end > end:
        raise FileError(f"{path.name} was cut short: copy or write it again")
    return Mapped(
        str(path.resolve()), begin + header.nbytes, header.shape, header.dtype, header.order
    )
