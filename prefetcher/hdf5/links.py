"""Finding what is in a file: all of its datasets, or what one path leads to.

What cannot be used is told with its reason, and keeps nothing else from being used. No other file
is opened unasked.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import TypeAlias

import h5py

from prefetcher.arguments import normal_path
from prefetcher.errors import PrefetchError
from prefetcher.hdf5.faults import RAISED, system_error

_MOST_SOFT_LINKS = 16
"""HDF5 follows no more on one path, and so ends circles."""


@dataclass(frozen=True, slots=True)
class Refused:
    """Something that may be a dataset, and that cannot be used."""

    why: str
    outside: bool = False
    """Whether it lies outside the file, so that `allow_external` would help."""
    missing: bool = False
    """Whether it is a link to what is not there."""


Link: TypeAlias = h5py.HardLink | h5py.SoftLink | h5py.ExternalLink
Item: TypeAlias = h5py.HLObject | Refused


def walk(file: h5py.File, *, allow_external: bool) -> Iterator[tuple[str, h5py.Dataset | Refused]]:
    """Every dataset of the file with its path ("group/name"), in the file's own order.

    What cannot be used is among them. A soft link to one of these counts as another name of it;
    other soft links are left out, as is the second name of a group. `find` knows them all.
    """
    found: dict[str, h5py.Dataset | Refused] = {}
    soft: dict[str, str] = {}
    seen = {key_of(file)}
    groups: list[tuple[str, h5py.Group]] = [("", file)]
    while groups:
        prefix, group = groups.pop()
        for path, item in _within(group, prefix, allow_external=allow_external):
            if isinstance(item, h5py.SoftLink):
                soft[path] = normal_path(item.path if item.path[:1] == "/" else prefix + item.path)
            elif isinstance(item, h5py.Group) and key_of(item) not in seen:
                seen.add(key_of(item))
                groups.append((path + "/", item))
            elif isinstance(item, h5py.Dataset | Refused):
                found[path] = item
                yield path, item
    yield from _aliases(found, soft)


def dataset_names(file: h5py.File) -> list[str]:
    """The paths that `walk` gives, but for links, without opening a dataset: for a message.

    What cannot be looked at is left out.
    """
    found: list[str] = []
    seen = {key_of(file)}
    groups: list[tuple[str, h5py.Group]] = [("", file)]
    while groups:
        prefix, group = groups.pop()
        with suppress(*RAISED):
            for name in names_of(group):
                if not isinstance(link_of(group, name), h5py.HardLink):
                    continue
                info = h5py.h5o.get_info(group.id, raw(name))
                if info.type == h5py.h5o.TYPE_DATASET:
                    found.append(prefix + name)
                elif info.type == h5py.h5o.TYPE_GROUP and (info.fileno, info.addr) not in seen:
                    seen.add((info.fileno, info.addr))
                    groups.append((f"{prefix}{name}/", group[raw(name)]))
    return found


def _within(
    group: h5py.Group, prefix: str, *, allow_external: bool
) -> Iterator[tuple[str, Item | h5py.SoftLink]]:
    """What is in a group; of one that is damaged, the group itself."""
    try:
        names = names_of(group)
    except RAISED as error:
        if system_error(error) or not prefix:
            raise
        yield prefix[:-1], Refused(f"HDF5 cannot list this group: {error}")
        return
    for name in names:
        yield prefix + name, _behind(group, name, prefix + name, allow_external=allow_external)


def find(file: h5py.File, path: str, *, allow_external: bool) -> Item | None:
    """What lies at a path as HDF5 follows it, through any links; None where nothing is.

    Raises:
        OSError: The system could not read the file. Or another builtin of h5py: see `faults`.
    """
    at: h5py.HLObject = file
    ahead = _reversed(path)
    gone, beyond, trail, soft_links = None, 0, "", 0
    while ahead:
        name = ahead.pop()
        if not isinstance(at, h5py.Group) or not at.id.links.exists(raw(name)):
            return gone if len(ahead) >= beyond else None
        trail = f"{trail}/{name}" if trail else name
        item = _behind(at, name, trail, allow_external=allow_external)
        if isinstance(item, Refused):
            return item
        if not isinstance(item, h5py.SoftLink):
            at = item
            continue
        gone = Refused(f"{trail} is a link to {item.path}, where nothing is", missing=True)
        beyond = len(ahead)  # parts of the path that are not the link's
        soft_links += 1
        if soft_links > _MOST_SOFT_LINKS:
            return Refused(f"{trail} leads in a circle, or through more links than HDF5 follows")
        if item.path.startswith("/"):
            at, trail = at.file, ""
        else:
            trail = trail.rpartition("/")[0]
        ahead += _reversed(item.path)
    return at


def _reversed(path: str) -> list[str]:
    return [part for part in reversed(normal_path(path).split("/")) if part]


def raw(name: str) -> bytes:
    """A name as HDF5 has it, also one that is not UTF-8."""
    return name.encode(errors="surrogateescape")


def names_of(group: h5py.Group) -> list[str]:
    """The names in a group: in the order of their making where the file has it, else sorted.

    Bytes that are not UTF-8 stand in them as `os.fsdecode` has them.
    """
    found: list[tuple[int, bytes]] = []

    def note(name: bytes, link: h5py.h5l.LinkInfo) -> None:
        found.append((link.corder if link.corder_valid else 0, name))

    # In this order HDF5 makes no table, which it frees unfilled, and crashes, if a read fails.
    group.id.links.iterate(note, info=True, order=h5py.h5.ITER_NATIVE)
    return [name.decode(errors="surrogateescape") for _, name in sorted(found)]


def key_of(item: h5py.HLObject) -> tuple[int, int]:
    """The same for every name of one group or dataset: hard links may make a circle."""
    info = h5py.h5o.get_info(item.id)
    return info.fileno, info.addr


def link_of(group: h5py.Group, name: str) -> Link | int:
    """The link of that name, which is there, itself; the number of a kind that users define."""
    # h5py's own `get` may answer an error of the system as it does a name that is not there.
    kind: int = group.id.links.get_info(raw(name)).type
    if kind == h5py.h5l.TYPE_HARD:
        return h5py.HardLink()
    if kind == h5py.h5l.TYPE_SOFT:
        return h5py.SoftLink(group.id.links.get_val(raw(name)).decode(errors="surrogateescape"))
    if kind == h5py.h5l.TYPE_EXTERNAL:
        file, inside = group.id.links.get_val(raw(name))
        return h5py.ExternalLink(os.fsdecode(file), inside.decode(errors="surrogateescape"))
    return kind


def _behind(
    group: h5py.Group, name: str, path: str, *, allow_external: bool
) -> Item | h5py.SoftLink:
    """What is behind a name that is there. Soft links are not followed."""
    try:
        return _opened(group, name, path, allow_external=allow_external)
    except PrefetchError:
        raise
    except RAISED as error:
        if system_error(error):
            raise
        return Refused(f"HDF5 cannot open it: {error}")


def _opened(
    group: h5py.Group, name: str, path: str, *, allow_external: bool
) -> Item | h5py.SoftLink:
    link = link_of(group, name)
    if isinstance(link, h5py.SoftLink):
        return link
    if isinstance(link, int):
        return Refused(f"it is a link of a user-defined kind ({link}): nobody knows where it leads")
    if isinstance(link, h5py.ExternalLink):
        outside = f"{path} is a link to {link.path} in {link.filename}"
        return _linked(group, name, outside) if allow_external else Refused(outside, outside=True)
    item = group[raw(name)]
    outside = _outside(path, item) if isinstance(item, h5py.Dataset) else ""
    return Refused(outside, outside=True) if outside and not allow_external else item


def _linked(group: h5py.Group, name: str, outside: str) -> Item:
    """What an external link leads to."""
    try:
        return group[raw(name)]
    except KeyError as error:
        if system_error(error):
            raise
        return Refused(f"{outside}, which is missing or cannot be opened ({error.args[0]})")


def _outside(path: str, dataset: h5py.Dataset) -> str:
    """Which other files the dataset's bytes lie in; "" where they are in its own."""
    # Only the creation properties are asked: a virtual dataset's shape would open its sources.
    properties = dataset.id.get_create_plist()
    if properties.get_external_count():
        return f"{path} keeps its bytes in {os.fsdecode(properties.get_external(0)[0])}"
    if properties.get_layout() == h5py.h5d.VIRTUAL:
        for at in range(properties.get_virtual_count()):
            if (source := properties.get_virtual_filename(at)) != ".":
                return f"{path} is a virtual dataset over {source}"
    return ""


def _aliases(
    found: dict[str, h5py.Dataset | Refused], soft: dict[str, str]
) -> Iterator[tuple[str, h5py.Dataset | Refused]]:
    """Soft links to datasets, also through other soft links; circles lead nowhere and end."""
    while ready := {path: found[target] for path, target in soft.items() if target in found}:
        yield from ready.items()
        found.update(ready)
        soft = {path: target for path, target in soft.items() if path not in ready}
