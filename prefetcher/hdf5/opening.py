"""Opening a file safely, with our own error for everything that can be wrong with it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress
from functools import cache, partial
from pathlib import Path

import h5py

from prefetcher.errors import (
    FileBusyError,
    FileError,
    FileMissingError,
    NotHDF5Error,
)
from prefetcher.hdf5.faults import system_error
from prefetcher.storage.local import TOO_MANY, too_many
from prefetcher.storage.retry import may_pass

_BUSY = ("already open for write", "already open for SWMR write", "unable to lock file")


def open_file(path: Path) -> h5py.File:
    """Opens `path` for reading, with our own error for everything that can be wrong with it.

    Raises:
        FileMissingError: there is no such file.
        FileBusyError: this or another process has it open for writing.
        NotHDF5Error: it is a folder, not HDF5, cut short or damaged.
        FileError: it may not be read, or the system cannot open it.
        OpenFilesError: the process has as many files open as it may.
        OSError: an error of the system that may pass, with its errno: open it again.
    """
    if _is_written_here(path):
        raise FileBusyError(f"this process has {path.name} open for writing: close it first")
    try:
        return h5py.File(h5py.h5f.open(os.fsencode(path), h5py.h5f.ACC_RDONLY, fapl=_access()))
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


def _is_written_here(path: Path) -> bool:
    """Whether this process has the file open for writing, so that HDF5 has what the file lacks."""
    with suppress(OSError):
        return any(map(partial(os.path.samestat, path.stat()), _written()))
    return False  # opening it says why


def _written() -> Iterator[os.stat_result]:
    """Every file that this process has open for writing with HDF5's default driver."""
    for file in h5py.h5f.get_obj_ids(h5py.h5f.OBJ_ALL, h5py.h5f.OBJ_FILE):
        with suppress(ValueError, RuntimeError):  # another thread closed it meanwhile
            writes = file.get_intent() & h5py.h5f.ACC_RDWR
            if writes and file.get_access_plist().get_driver() == h5py.h5fd.SEC2:
                yield os.fstat(file.get_vfd_handle())


def _explained(path: Path, error: Exception) -> OSError:
    if isinstance(error, BlockingIOError) or any(sign in str(error) for sign in _BUSY):
        return FileBusyError(
            f"{path.name} is open for writing elsewhere: wait until it is closed there "
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
