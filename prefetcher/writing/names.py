"""Which names datasets of a new file can have."""

from __future__ import annotations

from collections.abc import Iterable

from prefetcher.errors import DatasetError


def check_names(names: Iterable[str]) -> None:
    """Raises `DatasetError` unless all of these can be datasets of one file."""
    known = set(names)
    for name in sorted(known):
        parts = name.split("/")
        if {"", ".", ".."} & set(parts) or "\0" in name or not _is_text(name):
            raise DatasetError(f"{name!r} cannot be the name of a dataset: choose another one")
        for count in range(1, len(parts)):
            if (group := "/".join(parts[:count])) in known:
                raise DatasetError(
                    f"{group!r} cannot be a dataset and, for {name!r}, a group too: choose another "
                    "name for one of them"
                )


def _is_text(name: str) -> bool:
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True
