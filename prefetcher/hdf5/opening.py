"""Opening a file safely and finding its datasets, without ever opening another file unasked."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import h5py

from prefetcher.errors import (
    FileBusyError,
    FileError,
    FileMissingError,
    NotHDF5Error,
    PrefetchError,
    UnsafeFileError,
)

_BUSY = ("already open for write", "already open for SWMR write", "unable to lock file")


def open_file(path: Path) -> h5py.File:
    """Opens `path` for reading, with our own error for everything that can be wrong with it.

    Raises:
        FileMissingError: there is no such file.
        FileBusyError: this or another process has it open for writing.
        NotHDF5Error: it is a folder, not HDF5, cut short or damaged.
        FileError: it may not be read.
    """
    try:
        file = h5py.File(path, "r")
    except FileNotFoundError as error:
        raise FileMissingError(f"there is no file {path}: check the path") from error
    except PermissionError as error:
        raise FileError(f"{path.name} may not be read by this user: change its mode") from error
    except (OSError, RuntimeError, ValueError) as error:
        raise _explained(path, error) from error
    # Within one process HDF5 shares the writer's unsaved state, which the file does not hold yet.
    if file.id.get_intent() & h5py.h5f.ACC_RDWR:
        file.close()
        raise FileBusyError(f"this process has {path.name} open for writing: close it first")
    return file


def _explained(path: Path, error: Exception) -> FileError:
    if isinstance(error, BlockingIOError) or any(sign in str(error) for sign in _BUSY):
        return FileBusyError(
            f"{path.name} is open for writing elsewhere: wait until it is closed there "
            f"(after a crashed writer: h5clear -s {path.name})"
        )
    if path.is_dir():
        return NotHDF5Error(f"{path.name} is a folder, not an HDF5 file")
    if "truncated file" in str(error):
        return NotHDF5Error(f"{path.name} was cut short: copy or write it again ({error})")
    return NotHDF5Error(f"{path.name} is not an HDF5 file, or it is damaged ({error})")


@contextmanager
def damage_reported(path: Path) -> Iterator[None]:
    """Turns what h5py raises over damaged metadata into `NotHDF5Error`."""
    try:
        yield
    except PrefetchError:
        raise
    # h5py has no error class of its own: the builtin depends on where HDF5 noticed the damage.
    except (OSError, RuntimeError, LookupError, ValueError, TypeError, MemoryError) as error:
        raise NotHDF5Error(f"{path.name} is damaged: copy or write it again ({error})") from error


def walk(file: h5py.File, *, allow_external: bool) -> Iterator[tuple[str, h5py.Dataset]]:
    """Every dataset of the file with its path ("group/name"), in the file's own order.

    A soft link to one of these datasets counts as another name of it; other soft links are left
    out, because following one could lead through an external link.

    Raises:
        UnsafeFileError: something points outside the file and `allow_external` is False; what it
            points to was not opened.
    """
    found: dict[str, h5py.Dataset] = {}
    soft: dict[str, str] = {}
    seen = {_key(file)}
    groups: list[tuple[str, h5py.Group]] = [("", file)]
    while groups:
        prefix, group = groups.pop()
        for name in group:
            path = prefix + name
            item = _follow(group, name, path, allow_external=allow_external)
            if isinstance(item, h5py.SoftLink):
                soft[path] = item.path[1:] if item.path.startswith("/") else prefix + item.path
            elif isinstance(item, h5py.Group) and _key(item) not in seen:
                seen.add(_key(item))
                groups.append((path + "/", item))
            elif isinstance(item, h5py.Dataset):
                found[path] = item
                yield path, item
    yield from _aliases(found, soft)


def _key(item: h5py.HLObject) -> tuple[int, int]:
    """The same for every name of one group: hard links may make a circle."""
    info = h5py.h5o.get_info(item.id)
    return info.fileno, info.addr


def _follow(
    group: h5py.Group, name: str, path: str, *, allow_external: bool
) -> h5py.HLObject | h5py.SoftLink | None:
    try:
        link = group.get(name, getlink=True)
    except TypeError:  # a user-defined link: nobody knows where it leads
        return None
    if isinstance(link, h5py.SoftLink):
        return link
    if isinstance(link, h5py.ExternalLink):
        if not allow_external:
            raise _unsafe(group.file, f"{path} is a link to {link.path} in {link.filename}")
        return group.get(name)  # None where the other file is missing
    item = group[name]
    if isinstance(item, h5py.Dataset) and not allow_external:
        _refuse_outside(path, item)
    return item


def _refuse_outside(path: str, dataset: h5py.Dataset) -> None:
    """Raises if the dataset's bytes lie in other files."""
    # Only the creation properties are asked: a virtual dataset's shape would open its sources.
    properties = dataset.id.get_create_plist()
    if properties.get_external_count():
        outside = os.fsdecode(properties.get_external(0)[0])
        raise _unsafe(dataset.file, f"{path} keeps its bytes in {outside}")
    if properties.get_layout() == h5py.h5d.VIRTUAL:
        sources = (
            properties.get_virtual_filename(i) for i in range(properties.get_virtual_count())
        )
        for source in sources:
            if source != ".":
                raise _unsafe(dataset.file, f"{path} is a virtual dataset over {source}")


def _unsafe(file: h5py.File, what: str) -> UnsafeFileError:
    return UnsafeFileError(
        f"{Path(file.filename).name} points outside itself: {what}; "
        "pass allow_external=True if you trust it to read other files of this machine"
    )


def _aliases(
    found: dict[str, h5py.Dataset], soft: dict[str, str]
) -> Iterator[tuple[str, h5py.Dataset]]:
    """Soft links to datasets, also through other soft links; circles lead nowhere and end."""
    while ready := {path: found[target] for path, target in soft.items() if target in found}:
        yield from ready.items()
        found.update(ready)
        soft = {path: target for path, target in soft.items() if path not in ready}
