"""Opening a file safely, with our own error for everything that can be wrong with it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress
from functools import cache
from pathlib import Path

import h5py

from prefetcher.errors import (
    FileBusyError,
    FileError,
    FileMissingError,
    NotHDF5Error,
)
from prefetcher.hdf5.faults import RAISED, system_error
from prefetcher.storage.local import TOO_MANY, too_many
from prefetcher.storage.retry import may_pass

_OR_SWMR = ", or pass swmr=True (inspect: --swmr) to read the rows that are there now"
_BUSY = (
    "already open for write",
    "already open for SWMR write",
    "not already open for SWMR writing",  # but for writing
    "unable to lock file",
)


def open_file(path: Path, *, swmr: bool = False) -> h5py.File:
    """Opens `path` for reading, with our own error for everything that can be wrong with it.

    Args:
        path: An HDF5 file.
        swmr: Whether another process, or this one, may write it meanwhile in SWMR mode.

    Raises:
        FileMissingError: there is no such file.
        FileBusyError: this or another process has it open for writing.
        NotHDF5Error: it is a folder, not HDF5, cut short or damaged.
        FileError: it may not be read, or the system cannot open it.
        OpenFilesError: the process has as many files open as it may.
        OSError: an error of the system that may pass, with its errno: open it again.
    """
    if refused := _why_written_here(path, swmr=swmr):
        raise FileBusyError(f"this process has {path.name} open for writing: {refused}")
    try:
        return _opened(path, swmr=swmr)
    except (FileNotFoundError, NotADirectoryError) as error:
        raise FileMissingError(f"there is no file {path}: check the path") from error
    except PermissionError as error:
        raise FileError(f"{path.name} may not be read by this user: change its mode") from error
    except (OSError, RuntimeError, ValueError) as error:
        raise _explained(path, error) from error


def status_of(path: Path) -> os.stat_result:
    """What the system says of a file, without opening it. Raises as `open_file` does."""
    try:
        return path.stat()
    except (FileNotFoundError, NotADirectoryError) as error:
        raise FileMissingError(f"there is no file {path}: check the path") from error
    except PermissionError as error:
        raise FileError(f"{path.name} may not be read by this user: change its mode") from error


def _opened(path: Path, *, swmr: bool) -> h5py.File:
    flags = h5py.h5f.ACC_RDONLY | (h5py.h5f.ACC_SWMR_READ if swmr else 0)
    return h5py.File(h5py.h5f.open(os.fsencode(path), flags, fapl=_access()))


@cache
def _access() -> h5py.h5p.PropFAID:
    """How files are opened; those that links and virtual datasets lead to inherit it."""
    properties = h5py.h5p.create(h5py.h5p.FILE_ACCESS)
    # HDF5 fills this buffer ahead of small reads. A read that fails leaves it unfilled, and the
    # next one is answered from it all the same.
    properties.set_sieve_buf_size(0)
    # Handles of one driver in a process share all that HDF5 has of a file, such buffers included.
    # This driver reads as the default one does, and logs nothing; nobody else takes it.
    properties.set_fapl_log(b"", 0, 0)
    return properties


def _why_written_here(path: Path, *, swmr: bool) -> str:
    """What to do if this process writes the file, so that HDF5 has what the file lacks; else ""."""
    with suppress(OSError):
        here = path.stat()
        for status, in_swmr in _written():
            if os.path.samestat(here, status) and not (swmr and in_swmr):
                return f"close it first{_OR_SWMR if in_swmr else ''}"
    return ""  # opening it says why


def _written() -> Iterator[tuple[os.stat_result, bool]]:
    """Every file that this process writes with HDF5's default driver, and whether in SWMR mode."""
    for file in h5py.h5f.get_obj_ids(h5py.h5f.OBJ_ALL, h5py.h5f.OBJ_FILE):
        with suppress(ValueError, RuntimeError):  # another thread closed it meanwhile
            intent = file.get_intent()
            default = file.get_access_plist().get_driver() == h5py.h5fd.SEC2
            if intent & h5py.h5f.ACC_RDWR and default:
                yield os.fstat(file.get_vfd_handle()), bool(intent & h5py.h5f.ACC_SWMR_WRITE)


def _swmr_reads(path: Path) -> bool:
    """Whether the file can be opened in SWMR mode."""
    try:
        _opened(path, swmr=True).close()
    except RAISED:
        return False
    return True


def _explained(path: Path, error: Exception) -> OSError:
    if isinstance(error, BlockingIOError) or any(sign in str(error) for sign in _BUSY):
        swmr = _OR_SWMR if _swmr_reads(path) else ""
        return FileBusyError(
            f"{path.name} is open for writing elsewhere: wait until it is closed there{swmr} "
            f"(after a crashed writer: h5clear -s {path.name})"
        )
    if path.is_dir():
        return NotHDF5Error(
            f"{path} is a folder, not an HDF5 file: name a file, or a pattern such as '*.h5' in it"
        )
    if "truncated file" in str(error):
        return NotHDF5Error(f"{path.name} was cut short: copy or write it again ({error})")
    if system := system_error(error):
        if system.errno in TOO_MANY:
            return too_many(path, system)
        return system if may_pass(system) else FileError(f"{path.name} cannot be opened: {system}")
    return NotHDF5Error(f"{path.name} is not an HDF5 file, or it is damaged ({error})")
