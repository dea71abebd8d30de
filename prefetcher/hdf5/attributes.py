"""What a file says about itself: its default names, classes and origin. All values are JSON."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import h5py

from prefetcher.errors import NoDatasetError
from prefetcher.hdf5.faults import RAISED, damage_reported, system_error
from prefetcher.hdf5.links import Refused, find, link_of, names_of
from prefetcher.hdf5.opening import open_file
from prefetcher.messages.suggestions import missing
from prefetcher.storage.retry import Retry

Names = str | tuple[str, ...]
"""The name of a dataset, or of several."""


@dataclass(frozen=True, slots=True)
class Attributes:
    """What a file, or one group of it, says about itself."""

    x: Names | None = None
    """Datasets of the inputs, paths within the file; None where the group does not say."""
    y: Names | None = None
    """The same for the targets."""
    splits: tuple[str, ...] = ()
    """Groups of the file that are data sets of their own: ("train", "val")."""
    class_names: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """For each dataset of class numbers in the group, the name of class 0, 1, ..."""
    source: str | None = None
    """What the file was made from."""
    arguments: Mapping[str, Any] = field(default_factory=dict)
    """What it was made with."""
    version: str | None = None
    """The version of this package that made it."""


def read_attributes(
    path: str | os.PathLike[str],
    group: str = "",
    *,
    allow_external: bool = False,
    retries: int = 3,
    swmr: bool = False,
) -> Attributes:
    """Reads what `prefetcher convert` wrote about a file; other files give an empty answer.

    Args:
        path: An HDF5 file.
        group: A split ("train"), or any path that leads to a group; "" for the file itself.
        allow_external: Whether that path may lead out of the file.
        retries: How often it is tried again after EIO, ESTALE or ETIMEDOUT.
        swmr: Whether a writer in SWMR mode may append to the file meanwhile.

    Raises:
        FileError: The file cannot be opened.
        ReadError: The system could not read it, also not after the retries.
        NoDatasetError: There is no such group.
    """
    path = Path(path)
    return Retry(retries).opening(path.name, partial(_read, path, group, allow_external, swmr))


def _read(
    path: Path,
    group: str,
    allow_external: bool,  # noqa: FBT001 - for partial
    swmr: bool,  # noqa: FBT001
) -> Attributes:
    with open_file(path, swmr=swmr) as file, damage_reported(path):
        place = find(file, group, allow_external=allow_external)
        if not isinstance(place, h5py.Group):
            have = {name: name for name in names_of(file)}
            raise NoDatasetError(missing("group", group, path.name, have))
        prefix = group + "/" if group else ""
        return Attributes(
            x=_names(place, "x", prefix),
            y=_names(place, "y", prefix),
            splits=tuple(name for name in _listed(file, "splits") if _is_group(file, name)),
            class_names={prefix + name: found for name, found in _class_names(place)},
            source=_value(file, "source", str),
            arguments=_value(file, "arguments", dict) or {},
            version=_value(file, "prefetcher_version", str),
        )


def attribute(item: h5py.HLObject, name: str) -> Any:
    """An attribute as h5py gives it; None where there is none.

    Raises:
        OSError: The system could not read the file. Or another builtin of h5py: see `faults`.
    """
    if name not in item.attrs:  # h5py's `get` would answer so to an error of the system too
        return None
    try:
        return item.attrs[name]
    except RAISED as error:
        if system_error(error):
            raise
        return None  # of a type that is none of numpy's


def _value(item: h5py.HLObject, name: str, kind: type) -> Any:
    """An attribute of that kind, decoded; None where there is none, or somebody else's."""
    value = attribute(item, name)
    if not isinstance(value, str):
        return None
    try:
        found = json.loads(value)
    except ValueError:
        return None
    return found if isinstance(found, kind) else None


def _listed(item: h5py.HLObject, name: str) -> tuple[str, ...]:
    """An attribute that is a list of strings; () where it is none."""
    found = _value(item, name, list) or ()
    return tuple(found) if all(isinstance(one, str) for one in found) else ()


def _is_group(file: h5py.File, name: str) -> bool:
    """Whether there is such a group in this very file: a link could lead into another one."""
    return isinstance(find(file, name, allow_external=False), h5py.Group)


def _class_names(group: h5py.Group) -> Iterator[tuple[str, tuple[str, ...]]]:
    for name in names_of(group):
        if isinstance(link_of(group, name), h5py.HardLink):
            item = find(group, name, allow_external=False)
            names = (
                () if item is None or isinstance(item, Refused) else _listed(item, "class_names")
            )
            if names:
                yield name, names


def _names(place: h5py.Group, name: str, prefix: str) -> Names | None:
    one = _value(place, name, str)
    return prefix + one if one else tuple(prefix + each for each in _listed(place, name)) or None


def encode(attributes: Mapping[str, Any]) -> dict[str, str]:
    """Values as they are stored: one string each, because HDF5 holds no larger attribute."""
    return {name: json.dumps(value) for name, value in attributes.items() if value is not None}
