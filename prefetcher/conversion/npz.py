"""Arrays in .npz files: mapped where they lie as they are, unpacked to files where compressed."""

from __future__ import annotations

import shutil
import tempfile
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np

from prefetcher.conversion.files import open_regular
from prefetcher.conversion.npy import Mapped, mapped_at, npy, read_header
from prefetcher.errors import FileError, PrefetchError

_PIECE = 1 << 20
_LOCAL_HEADER = 30
"""Bytes of a zip member's header before its name; the lengths of name and extras are the last."""


@dataclass(frozen=True)
class Packed:
    """A compressed array: rows of it can be loaded once it is unpacked."""

    path: str
    member: int
    """Its place in the archive's directory."""
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    nbytes: int
    """Bytes that it takes when unpacked, header included."""


def npz(path: Path) -> dict[str, Mapped | Packed]:
    """The arrays of an .npz file by name; nothing is unpacked yet.

    Raises:
        FileError: The file is missing, no regular file, no .npz file, damaged, or encrypted.
    """
    with _archive(path) as (file, archive):
        return {
            member.filename[: -len(".npy")]: _array(path, file, archive, at)
            for at, member in enumerate(archive.infolist())
            if member.filename.endswith(".npy")
        }


@contextmanager
def _archive(path: Path) -> Iterator[tuple[IO[bytes], zipfile.ZipFile]]:
    try:
        with open_regular(path) as file, zipfile.ZipFile(file) as archive:
            yield file, archive
    except PrefetchError:
        raise
    except Exception as error:  # a decoder raises anything over damaged bytes
        raise FileError(f"{path.name} is not an .npz file, or it is damaged: {error}") from error


def _array(path: Path, file: IO[bytes], archive: zipfile.ZipFile, at: int) -> Mapped | Packed:
    member = archive.infolist()[at]
    if member.flag_bits & 1:
        raise FileError(f"{path.name} is encrypted: unpack it, and write it again with numpy")
    if member.compress_type == zipfile.ZIP_STORED:
        begin = _begin(file, member)
        return mapped_at(path, file, begin, begin + member.file_size)
    with archive.open(member) as unpacking:
        header = read_header(path.name, unpacking)
    if not header.dtype.hasobject and header.end > member.file_size:
        raise FileError(f"{path.name} was cut short: copy or write it again")
    return Packed(str(path.resolve()), at, header.shape, header.dtype, header.end)


def _begin(file: IO[bytes], member: zipfile.ZipInfo) -> int:
    """Where the bytes of a member begin."""
    file.seek(member.header_offset)
    header = file.read(_LOCAL_HEADER)
    name, extra = (int.from_bytes(header[at : at + 2], "little") for at in (26, 28))
    return member.header_offset + _LOCAL_HEADER + name + extra


def unpack(arrays: Mapping[str, Packed], folder: str) -> dict[str, Mapped]:
    """Unpacks arrays of one file, each into a file in `folder`.

    Raises:
        FileError: They do not fit the disk, or are damaged.
    """
    path = Path(next(iter(arrays.values())).path)
    check_room(path.name, arrays)
    found = {}
    with _archive(path) as (_, archive):
        for name, array in arrays.items():
            target = Path(folder, f"{array.member}.npy")  # a member's own name may lead anywhere
            with archive.open(archive.infolist()[array.member]) as source:
                _copy(source, target, array.nbytes)
            found[name] = npy(target)
    return found


def _copy(source: IO[bytes], target: Path, nbytes: int) -> None:
    """Copies what the array announces, and no more; then the checksum is compared."""
    with target.open("wb") as file:
        while nbytes and (piece := source.read(min(_PIECE, nbytes))):
            file.write(piece)
            nbytes -= len(piece)
    source.read(1)


def check_room(name: str, arrays: Mapping[str, Packed]) -> None:
    """Raises `FileError` unless arrays that are to be unpacked fit the temporary folder's disk."""
    folder = tempfile.gettempdir()
    need, have = unpacked_bytes(arrays), shutil.disk_usage(folder).free
    if need > have:
        raise FileError(
            f"{name} takes {need / 1e9:.3g} GB when it is unpacked, and the temporary folder "
            f"{folder} has {have / 1e9:.3g} GB free: set TMPDIR to a folder on another disk"
        )


def unpacked_bytes(arrays: Mapping[str, Packed]) -> int:
    """Bytes that arrays take when they are unpacked."""
    return sum(array.nbytes for array in arrays.values())
