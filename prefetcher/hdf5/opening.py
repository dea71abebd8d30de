"""Opening a file safely and finding its datasets, without ever opening another file unasked."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress
from functools import partial
from pathlib import Path

import h5py

from prefetcher.errors import (
    FileBusyError,
    FileError,
    FileMissingError,
    NotHDF5Error,
    UnsafeFileError,
)
from prefetcher.hdf5.faults import system_error
from prefetcher.storage.retry import may_pass

_BUSY = ("already open for write", "already open for SWMR write", "unable to lock file")


def open_file(path: Path) -> h5py.File:
    """Opens `path` for reading, with our own error for everything that can be wrong with it.

    Raises:
        FileMissingError: there is no such file.
        FileBusyError: this or another process has it open for writing.
        NotHDF5Error: it is a folder, not HDF5, cut short or damaged.
        FileError: it may not be read, or the system cannot open it.
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
        return NotHDF5Error(f"{path.name} is a folder, not an HDF5 file")
    if "truncated file" in str(error):
        return NotHDF5Error(f"{path.name} was cut short: copy or write it again ({error})")
    if system := system_error(error):
        return system if may_pass(system) else FileError(f"{path.name} cannot be opened: {system}")
    return NotHDF5Error(f"{path.name} is not an HDF5 file, or it is damaged ({error})")


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
    seen = {key_of(file)}
    groups: list[tuple[str, h5py.Group]] = [("", file)]
    while groups:
        prefix, group = groups.pop()
        for name in names_of(group):
            path = prefix + name
            item = _follow(group, name, path, allow_external=allow_external)
            if isinstance(item, h5py.SoftLink):
                soft[path] = item.path[1:] if item.path.startswith("/") else prefix + item.path
            elif isinstance(item, h5py.Group) and key_of(item) not in seen:
                seen.add(key_of(item))
                groups.append((path + "/", item))
            elif isinstance(item, h5py.Dataset):
                found[path] = item
                yield path, item
    yield from _aliases(found, soft)


def names_of(group: h5py.Group) -> list[str]:
    """The names in a group: in the order of their making where the file has it, else sorted."""
    found: list[tuple[int, bytes]] = []

    def note(name: bytes, link: h5py.h5l.LinkInfo) -> None:
        found.append((link.corder if link.corder_valid else 0, name))

    # In this order HDF5 makes no table, which it frees unfilled, and crashes, if a read fails.
    group.id.links.iterate(note, info=True, order=h5py.h5.ITER_NATIVE)
    return [name.decode() for _, name in sorted(found)]


def key_of(item: h5py.HLObject) -> tuple[int, int]:
    """The same for every name of one group or dataset: hard links may make a circle."""
    info = h5py.h5o.get_info(item.id)
    return info.fileno, info.addr


def _follow(
    group: h5py.Group, name: str | bytes, path: str, *, allow_external: bool
) -> h5py.HLObject | h5py.SoftLink | None:
    link = link_of(group, name)
    if link is None:  # a user-defined one: nobody knows where it leads
        return None
    if isinstance(link, h5py.SoftLink):
        return link
    if isinstance(link, h5py.ExternalLink):
        if not allow_external:
            raise _unsafe(group.file, f"{path} is a link to {link.path} in {link.filename}")
        return _linked(group, name)
    item = group[name]
    if isinstance(item, h5py.Dataset) and not allow_external:
        _refuse_outside(path, item)
    return item


def link_of(
    group: h5py.Group, name: str | bytes
) -> h5py.HardLink | h5py.SoftLink | h5py.ExternalLink | None:
    """The link of that name, which is there, itself; None for a kind that h5py does not know."""
    # h5py's own `get` may answer an error of the system as it does a name that is not there.
    raw = name if isinstance(name, bytes) else name.encode()
    kind = group.id.links.get_info(raw).type
    if kind == h5py.h5l.TYPE_HARD:
        return h5py.HardLink()
    if kind == h5py.h5l.TYPE_SOFT:
        return h5py.SoftLink(group.id.links.get_val(raw).decode(errors="surrogateescape"))
    if kind == h5py.h5l.TYPE_EXTERNAL:
        file, inside = group.id.links.get_val(raw)
        return h5py.ExternalLink(os.fsdecode(file), inside.decode(errors="surrogateescape"))
    return None


def _linked(group: h5py.Group, name: str | bytes) -> h5py.HLObject | None:
    """What an external link leads to, None where that is missing."""
    try:
        return group[name]
    except KeyError as error:
        if system_error(error):
            raise
        return None


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
