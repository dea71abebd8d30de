"""What to say of a name that leads to no dataset."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import h5py

from prefetcher.arguments import normal_path
from prefetcher.hdf5.links import Item, Refused, dataset_names, find, names_of
from prefetcher.hdf5.looking import dataset_of
from prefetcher.messages.suggestions import listed, missing


def why_absent(
    file: h5py.File, file_name: str, name: str, found: Item | None, *, allow_external: bool
) -> str:
    """A sentence with the nearest names that there are, or with what is there instead.

    Args:
        file: The file.
        file_name: What messages call it.
        name: The path.
        found: What it leads to, which is no dataset; None for nothing.
        allow_external: Whether datasets may lie outside the file.
    """
    have = _Shown(file, allow_external=allow_external)
    if found is None or any(each.startswith(f"{name}/") for each in have):
        return missing("dataset", name, file_name, have)
    return f"{name or '/'!r} in {file_name} is {_other_kind(found, name)}"


class _Shown(Mapping[str, str]):
    """How each dataset of a file is shown, by name; looked up only for those that are."""

    def __init__(self, file: h5py.File, *, allow_external: bool) -> None:
        self._file = file
        self._allow_external = allow_external
        self._names = dict.fromkeys(dataset_names(file))

    def __getitem__(self, name: str) -> str:
        allow_external = self._allow_external
        found = find(self._file, name, allow_external=allow_external)
        if not isinstance(found, h5py.Dataset | Refused):
            return name
        return str(dataset_of(self._file, name, found, allow_external=allow_external))

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)


def _other_kind(found: h5py.HLObject, name: str) -> str:
    if not isinstance(found, h5py.Group):
        return "a named type, not a dataset"
    inside = [normal_path(f"{name}/{each}") for each in names_of(found)]
    return f"a group of {listed(inside)}: name a dataset in it" if inside else "an empty group"
