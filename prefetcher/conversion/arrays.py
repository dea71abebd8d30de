"""Arrays as a source: .npy and .npz files, mapped rather than read, and arrays in memory."""

from __future__ import annotations

import hashlib
import math
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from prefetcher.conversion.npy import Mapped, npy, unmap
from prefetcher.conversion.npz import Packed, check_room, npz, unpack, unpacked_bytes
from prefetcher.conversion.options import Options
from prefetcher.conversion.source import Failure, Field, Loaded, RowNumbers
from prefetcher.errors import DatasetError, NoDatasetError
from prefetcher.hdf5.attributes import Names
from prefetcher.messages.suggestions import missing
from prefetcher.messages.wording import written
from prefetcher.writing.growing import storable

Held = Mapped | Packed | NDArray[Any]
"""An array in a file, in a compressed one, or in memory."""


@dataclass(frozen=True)
class ArrayPart:
    """Some rows of arrays."""

    arrays: Mapping[str, Mapped]
    rows: RowNumbers

    def load(self) -> Loaded:
        """Reads the rows."""
        return Loaded(
            {name: _taken(array.open(), self.rows) for name, array in self.arrays.items()}
        )


@dataclass(frozen=True)
class ReadyPart:
    """Rows that are in memory already."""

    arrays: Mapping[str, NDArray[Any]]

    def load(self) -> Loaded:
        """Gives them."""
        return Loaded(self.arrays)


def _taken(array: NDArray[Any], rows: RowNumbers) -> NDArray[Any]:
    taken = array[rows]
    return taken.astype(taken.dtype.newbyteorder("="), copy=False)


@dataclass
class ArraySource:
    """Arrays with equally many rows."""

    name: str
    arrays: Mapping[str, Held]
    x: Names
    y: Names | None
    fingerprint: str
    about: tuple[str, ...]

    def __post_init__(self) -> None:
        self.unusable: Mapping[int, Failure] = {}
        self.class_names: Mapping[str, tuple[str, ...]] = {}
        self.strata: NDArray[Any] | None = None
        self.rows = next(iter(self.arrays.values())).shape[0]
        self._folder: tempfile.TemporaryDirectory[str] | None = None

    @property
    def fields(self) -> Mapping[str, Field]:
        """The arrays, in native byte order."""
        return {
            name: Field(array.shape[1:], array.dtype.newbyteorder("="))
            for name, array in self.arrays.items()
        }

    def part(self, rows: RowNumbers) -> ArrayPart | ReadyPart:
        """These rows; of arrays in memory they are taken at once, so that only they travel."""
        arrays = self._loadable
        mapped = {name: array for name, array in arrays.items() if isinstance(array, Mapped)}
        if len(mapped) == len(arrays):
            return ArrayPart(mapped, rows)
        opened = (
            (name, array.open() if isinstance(array, Mapped) else array)
            for name, array in arrays.items()
        )
        return ReadyPart({name: _taken(array, rows) for name, array in opened})

    @cached_property
    def _loadable(self) -> dict[str, Mapped | NDArray[Any]]:
        """The arrays; compressed ones are unpacked when rows are first asked for."""
        packed = _packed(self.arrays)
        unpacked: dict[str, Mapped] = {}
        if packed:
            self._folder = tempfile.TemporaryDirectory(prefix="prefetcher-")
            unpacked = unpack(packed, self._folder.name)
        return {
            name: unpacked[name] if isinstance(array, Packed) else array
            for name, array in self.arrays.items()
        }

    def close(self) -> None:
        """Unmaps the files, and removes what was unpacked."""
        unmap()
        if self._folder:
            self._folder.cleanup()


def _packed(arrays: Mapping[str, Held]) -> dict[str, Packed]:
    return {name: array for name, array in arrays.items() if isinstance(array, Packed)}


def array_source(source: Path | Mapping[str, Any], options: Options) -> ArraySource:
    """Opens a .npy file, a .npz file, or a mapping of names to arrays or .npy files.

    Raises:
        FileError: A file cannot be used.
        DatasetError: The arrays differ in length, or cannot be rows.
    """
    arrays: Mapping[str, Held]
    if isinstance(source, Mapping):
        name, arrays = "arrays", {key: _held(value) for key, value in source.items()}
    elif source.suffix == ".npz":
        name, arrays = source.name, npz(source)
    else:
        name, arrays = source.name, {source.stem: npy(source)}
    arrays = _chosen(name, arrays, options)
    _check(name, arrays)
    x, y = _names(tuple(arrays), options)
    rows = next(iter(arrays.values())).shape[0]
    about = [f"{rows:,} rows of {', '.join(arrays)} in {name}"]
    if packed := _packed(arrays):
        check_room(name, packed)
        about.append(
            f"{unpacked_bytes(packed) / 1e9:.3g} GB of them are compressed, and unpacked to "
            f"{tempfile.gettempdir()} first"
        )
    return ArraySource(name, arrays, x, y, _fingerprint(arrays), tuple(about))


def _held(value: Any) -> Held:
    return npy(Path(value)) if isinstance(value, str | Path) else np.asarray(value)


def _chosen(file: str, arrays: Mapping[str, Held], options: Options) -> dict[str, Held]:
    """Those that x and y name, in that order; all if they name none."""
    wanted = [*listed(options.x), *listed(options.y)]
    for name in wanted:
        if name not in arrays:
            have = {key: key for key in arrays}
            raise NoDatasetError(missing("array", name, file, have))
    return {name: arrays[name] for name in wanted or arrays}


def listed(names: Names | None) -> tuple[str, ...]:
    """The names one by one."""
    return (names,) if isinstance(names, str) else names or ()


def _names(names: tuple[str, ...], options: Options) -> tuple[Names, Names | None]:
    """What was asked for; else the first array is the input and the others are targets."""
    x = options.x or names[0]
    others = tuple(name for name in names if name not in listed(x))
    return x, options.y or (others[0] if len(others) == 1 else others or None)


def _check(file: str, arrays: Mapping[str, Held]) -> None:
    lengths = {name: array.shape[:1] for name, array in arrays.items()}
    if len(set(lengths.values())) != 1 or set(lengths.values()) & {(), (0,)}:
        found = ", ".join(f"{name} {array.shape}" for name, array in arrays.items())
        raise DatasetError(
            f"{file} has {found or 'no array'}: arrays need as many rows each. "
            f"{written('x')} and {written('y')} choose some of them"
        )
    for name, array in arrays.items():
        if not math.prod(array.shape):
            raise DatasetError(f"{name} in {file} has the shape {array.shape}: its rows are empty")
        if array.dtype.hasobject:
            raise DatasetError(f"{name} in {file} holds Python objects: store numbers or 'S' text")
        if not storable(array.dtype):
            raise DatasetError(
                f"{name} in {file} is {array.dtype}, which HDF5 does not have: store numbers or "
                "'S' text"
            )


def _fingerprint(arrays: Mapping[str, Held]) -> str:
    """Of files the time of their last change; of arrays in memory their bytes."""
    digest = hashlib.sha256()
    for name, array in arrays.items():
        digest.update(repr((name, array.shape, array.dtype)).encode())
        if isinstance(array, Mapped | Packed):
            status = Path(array.path).stat()
            digest.update(repr((status.st_size, status.st_mtime_ns)).encode())
        else:
            digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()
