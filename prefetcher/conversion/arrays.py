"""Arrays as a source: .npy and .npz files, mapped rather than read, and arrays in memory."""

from __future__ import annotations

import hashlib
import shutil
import tempfile
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from prefetcher.conversion.options import Options
from prefetcher.conversion.source import Failure, Field, Loaded, RowNumbers
from prefetcher.errors import DatasetError, FileError, FileMissingError, NoDatasetError
from prefetcher.hdf5.attributes import Names
from prefetcher.suggestions import missing
from prefetcher.writing.growing import storable


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


Held = Mapped | NDArray[Any]


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
    unpacked: tempfile.TemporaryDirectory[str] | None = None

    def __post_init__(self) -> None:
        self.unusable: Mapping[int, Failure] = {}
        self.class_names: Mapping[str, tuple[str, ...]] = {}
        self.strata: NDArray[Any] | None = None
        self.rows = next(iter(self.arrays.values())).shape[0]

    @property
    def fields(self) -> Mapping[str, Field]:
        """The arrays, in native byte order."""
        return {
            name: Field(array.shape[1:], array.dtype.newbyteorder("="))
            for name, array in self.arrays.items()
        }

    def part(self, rows: RowNumbers) -> ArrayPart | ReadyPart:
        """These rows; of arrays in memory they are taken at once, so that only they travel."""
        mapped = {name: array for name, array in self.arrays.items() if isinstance(array, Mapped)}
        if len(mapped) == len(self.arrays):
            return ArrayPart(mapped, rows)
        opened = (
            (name, array.open() if isinstance(array, Mapped) else array)
            for name, array in self.arrays.items()
        )
        return ReadyPart({name: _taken(array, rows) for name, array in opened})

    def close(self) -> None:
        """Unmaps the files, and removes what was unpacked."""
        _mapped.cache_clear()
        if self.unpacked:
            self.unpacked.cleanup()


def array_source(source: Path | Mapping[str, Any], options: Options) -> ArraySource:
    """Opens a .npy file, a .npz file, or a mapping of names to arrays or .npy files.

    Raises:
        FileError: A file cannot be used.
        DatasetError: The arrays differ in length, or cannot be rows.
    """
    unpacked = None
    if isinstance(source, Mapping):
        name = "arrays"
        arrays = {key: _held(value) for key, value in source.items()}
    elif source.suffix == ".npz":
        name, (arrays, unpacked) = source.name, _npz(source)
    else:
        name, arrays = source.name, {source.stem: _npy(source)}
    arrays = _chosen(name, arrays, options)
    _check(name, arrays)
    x, y = _names(tuple(arrays), options)
    rows = next(iter(arrays.values())).shape[0]
    about = f"{rows:,} rows of {', '.join(arrays)} in {name}"
    return ArraySource(name, arrays, x, y, _fingerprint(arrays), (about,), unpacked)


def _held(value: Any) -> Held:
    return _npy(Path(value)) if isinstance(value, str | Path) else np.asarray(value)


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
            f"{file} has {found or 'no array'}: arrays need as many rows each, or x="
        )
    for name, array in arrays.items():
        if array.dtype.hasobject:
            raise DatasetError(f"{name} in {file} holds Python objects: store numbers or 'S' text")
        if not storable(array.dtype):
            raise DatasetError(
                f"{name} in {file} is {array.dtype}, which HDF5 does not have: store numbers or "
                "'S' text"
            )


def _npy(path: Path) -> Mapped:
    try:
        with path.open("rb") as file:
            return _header(path, file)
    except FileNotFoundError as error:
        raise FileMissingError(f"there is no file {path}: check the path") from error


def _header(path: Path, file: IO[bytes]) -> Mapped:
    """The array whose .npy form begins where `file` stands."""
    try:
        version = np.lib.format.read_magic(file)
        read = {(1, 0): np.lib.format.read_array_header_1_0}.get(
            version, np.lib.format.read_array_header_2_0
        )
        shape, fortran, dtype = read(file)
    except ValueError as error:
        raise FileError(f"{path.name} is not an array of numpy's: {error}") from error
    found = Mapped(str(path.resolve()), file.tell(), shape, dtype, "F" if fortran else "C")
    nbytes = dtype.itemsize * int(np.prod(shape, dtype=object))
    if not dtype.hasobject and path.stat().st_size < found.offset + nbytes:
        raise FileError(f"{path.name} was cut short: copy or write it again")
    return found


def _npz(path: Path) -> tuple[dict[str, Held], tempfile.TemporaryDirectory[str] | None]:
    """Its arrays: mapped where they lie as they are, unpacked to be mapped where compressed."""
    try:
        with zipfile.ZipFile(path) as packed:
            members = [m for m in packed.infolist() if m.filename.endswith(".npy")]
            if all(member.compress_type == zipfile.ZIP_STORED for member in members):
                return {m.filename[:-4]: _stored(path, m) for m in members}, None
            folder = tempfile.TemporaryDirectory(prefix="prefetcher-")
            unpacked = [(m.filename[:-4], _unpack(packed, m, folder.name)) for m in members]
            return {name: _npy(file) for name, file in unpacked}, folder
    except FileNotFoundError as error:
        raise FileMissingError(f"there is no file {path}: check the path") from error
    except zipfile.BadZipFile as error:
        raise FileError(f"{path.name} is not an .npz file, or it is damaged: {error}") from error


_LOCAL_HEADER = 30
"""Bytes of a zip member's header before its name; the lengths of name and extras are the last."""


def _stored(path: Path, member: zipfile.ZipInfo) -> Mapped:
    with path.open("rb") as file:
        file.seek(member.header_offset)
        header = file.read(_LOCAL_HEADER)
        name, extra = (int.from_bytes(header[at : at + 2], "little") for at in (26, 28))
        file.seek(member.header_offset + _LOCAL_HEADER + name + extra)
        return _header(path, file)


def _unpack(packed: zipfile.ZipFile, member: zipfile.ZipInfo, folder: str) -> Path:
    path = Path(folder, f"{member.header_offset}.npy")  # a member's own name may lead anywhere
    with packed.open(member) as source, path.open("wb") as target:
        shutil.copyfileobj(source, target)
    return path


def _fingerprint(arrays: Mapping[str, Held]) -> str:
    """Of files the time of their last change; of arrays in memory their bytes."""
    digest = hashlib.sha256()
    for name, array in arrays.items():
        digest.update(repr((name, array.shape, array.dtype)).encode())
        if isinstance(array, Mapped):
            status = Path(array.path).stat()
            digest.update(repr((status.st_size, status.st_mtime_ns)).encode())
        else:
            digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()
