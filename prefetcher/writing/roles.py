"""Which datasets of a file are its x and y, as the file will say of itself. Pure."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from prefetcher.errors import SettingsError
from prefetcher.hdf5.attributes import Names
from prefetcher.messages.suggestions import missing


def is_name(part: str, value: object) -> bool:
    """Whether a value is the name of a dataset, or several, and not the shape and dtype of one.

    Raises:
        SettingsError: It is neither.
    """
    if isinstance(value, str):
        return True
    if isinstance(value, tuple | list) and value:
        if all(isinstance(name, str) for name in value):
            return True
        if len(value) == 2 and not isinstance(value[0], str):
            return False
    raise SettingsError(
        f"{part}={value!r}: write the name of a dataset, or the shape and dtype of one that is "
        f"called {part}, as in {part}=((128, 128, 3), 'uint8')"
    )


def attributes(
    file: str, datasets: Collection[str], x: Names | None, y: Names | None
) -> dict[str, Mapping[str, Any]]:
    """What the file and its groups say of themselves, by group; "" is the file itself.

    Args:
        file: The file's name.
        datasets: The paths of its datasets.
        x: The inputs: paths, or names within each of several groups, which are splits then. None
            for a dataset called "x".
        y: The targets, in the same way; None for a dataset called "y", if there is one.

    Raises:
        SettingsError: There is no dataset of such a name; the message names the nearest.
    """
    x = "x" if x is None and "x" in datasets else x
    y = "y" if y is None and "y" in datasets else y
    if x is None:
        raise SettingsError(f"y={y!r} without x: name the inputs too, as in x='images'")
    says = {"x": _path(x), "y": _path(y)}
    wanted = {name: part for part, names in says.items() for name in _listed(names)}
    if all(name in datasets for name in wanted):
        return {"": says}
    groups = [group for group in _groups(datasets) if _all_in(group, wanted, datasets)]
    if not groups:
        name = next(name for name in wanted if name not in datasets)
        told = missing("dataset", name, file, {name: name for name in datasets})
        raise SettingsError(f"{wanted[name]}={name!r}: {told}")
    return {"": {"splits": groups}, **dict.fromkeys(groups, says)}


def _path(names: Names | None) -> Names | None:
    """Without the leading slash."""
    if names is None or isinstance(names, str):
        return names and names.strip("/")
    return tuple(name.strip("/") for name in names)


def _listed(names: Names | None) -> tuple[str, ...]:
    return (names,) if isinstance(names, str) else names or ()


def _groups(datasets: Collection[str]) -> dict[str, None]:
    """The groups at any depth that hold a dataset, each once, in order."""
    parts = [name.split("/") for name in datasets]
    return dict.fromkeys("/".join(each[:end]) for each in parts for end in range(1, len(each)))


def _all_in(group: str, wanted: Collection[str], datasets: Collection[str]) -> bool:
    return all(f"{group}/{name}" in datasets for name in wanted)
