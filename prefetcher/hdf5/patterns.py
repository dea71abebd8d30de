"""Patterns of names inside a file: "data/demo_*/actions" stands for a dataset of each group."""

from __future__ import annotations

import re
from collections.abc import Iterator

import h5py

from prefetcher.hdf5.links import Refused, find, names_of

Match = tuple[str, ...]
"""What each wildcard of a pattern stood for: the groups of two patterns are told alike by that."""

_WILDCARDS = re.compile(r"[*?]")
_DIGITS = re.compile(r"(\d+)")


def is_pattern(name: str) -> bool:
    """Whether a name has a wildcard: `*` for any text, `?` for one character, none of them "/"."""
    return _WILDCARDS.search(name) is not None


def pattern_of(name: str) -> re.Pattern[str]:
    """What matches the names that a pattern stands for, with a group for each wildcard."""
    wildcards = {"*": "([^/]*)", "?": "([^/])"}
    return re.compile("".join(wildcards.get(each, re.escape(each)) for each in name))


def matching(file: h5py.File, pattern: str, *, allow_external: bool) -> dict[Match, str]:
    """The paths that a pattern stands for and that lead somewhere, in natural order.

    Raises:
        OSError: The system could not read the file. Or another builtin of h5py: see `faults`.
    """
    found: list[tuple[Match, str]] = [((), "")]
    for part in pattern.split("/"):
        wild = is_pattern(part)
        found = [
            (match + more, f"{path}/{name}" if path else name)
            for match, path in found
            for more, name in (
                _named_so(file, path, part, allow_external=allow_external) if wild else [((), part)]
            )
        ]
    there = {
        match: path
        for match, path in found
        if find(file, path, allow_external=allow_external) is not None
    }
    return dict(sorted(there.items(), key=lambda each: natural(each[0])))


def natural(match: Match) -> list[list[tuple[int, int, str]]]:
    """Sorts numbers by their value: demo_2 before demo_10."""
    return [
        [(0, int(piece), piece) if piece.isdecimal() else (1, 0, piece) for piece in pieces]
        for pieces in map(_DIGITS.split, match)
    ]


def _named_so(
    file: h5py.File, path: str, part: str, *, allow_external: bool
) -> Iterator[tuple[Match, str]]:
    """Yields what the wildcards stand for, and the name, of all in a group that matches."""
    group = find(file, path, allow_external=allow_external)
    if isinstance(group, Refused) or not isinstance(group, h5py.Group):
        return
    wanted = pattern_of(part)
    for name in names_of(group):
        if found := wanted.fullmatch(name):
            yield found.groups(), name
