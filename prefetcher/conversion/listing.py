"""The pictures of a folder, and whether a path stays within it. No link leads out of a source."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from prefetcher.conversion.picture import SUFFIXES
from prefetcher.errors import FileError, FileMissingError


@dataclass(frozen=True)
class Listing:
    """What lies below a folder."""

    names: tuple[str, ...]
    """Paths of the pictures, relative to the folder, sorted."""
    unusable: dict[int, str]
    """Those that are not read, by their place among the names, and why."""
    left_out: tuple[str, ...]
    """What else is there, for the plan."""


def list_pictures(root: Path) -> Listing:
    """Looks through a folder; hidden files and folders are passed over.

    Raises:
        FileMissingError: There is no such folder.
    """
    if not root.is_dir():
        raise FileMissingError(f"there is no folder {in_text(root.name)}: check the path")
    within = Within(root)
    found: dict[str, str | None] = {}
    files = folders = 0
    for entry in _entries(root):
        name = Path(entry.path).relative_to(root).as_posix()
        if Path(name).suffix.lower() in SUFFIXES and not entry.is_dir():
            found[name] = _why_not(entry, name, within)
        elif entry.is_dir():
            folders += 1
        else:
            files += 1
    names = tuple(sorted(found))
    left_out = [f"{files:,} other files are left out"] if files else []
    left_out += [f"{folders:,} links to folders are left out"] if folders else []
    unusable = {at: why for at, name in enumerate(names) if (why := found[name])}
    return Listing(names, unusable, tuple(left_out))


def _entries(root: Path) -> Iterator[os.DirEntry[str]]:
    """All below a folder but hidden ones; of folders only links, which are not followed."""
    folders = [str(root)]
    while folders:
        for entry in _listed(folders.pop()):
            if entry.is_dir(follow_symlinks=False):
                folders.append(entry.path)
            else:
                yield entry


def _listed(folder: str) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as entries:
            return [entry for entry in entries if not entry.name.startswith(".")]
    except OSError as error:
        raise FileError(f"the folder {in_text(folder)} cannot be listed: {error}") from error


def _why_not(entry: os.DirEntry[str], name: str, within: Within) -> str | None:
    if entry.is_symlink() and not within.holds(name):
        return "it is a link that leads out of the folder"
    if not entry.is_file():
        return "it is no regular file, or a link to nothing"
    return None


class Within:
    """Whether paths stay in a folder, with all links followed.

    Args:
        root: The folder, without links in its path.
    """

    def __init__(self, root: Path) -> None:
        self._root = root
        self._folders: dict[Path, bool] = {}

    def holds(self, name: str) -> bool:
        """Whether a relative path leads to a place in the folder, whatever is there."""
        path = self._root / name
        if path.parent not in self._folders:
            self._folders[path.parent] = self._leads_inside(path.parent)
        return self._folders[path.parent] and (not path.is_symlink() or self._leads_inside(path))

    def _leads_inside(self, path: Path) -> bool:
        try:
            return Path(os.path.realpath(path)).is_relative_to(self._root)
        except ValueError:  # a character that no path has
            return False


def relative(root: Path, path: str) -> str | None:
    """A path of a table, relative to the folder; None where it leads out of it by its words."""
    name = Path(os.path.normpath(os.path.relpath(root / PurePosixPath(path), root)))
    return name.as_posix() if name.parts and name.parts[0] != os.pardir else None


def in_text(name: str) -> str:
    r"""A name as text: bytes of a file's name that are no UTF-8 are written as \xff."""
    try:
        return name.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
    except UnicodeEncodeError:  # halves of a letter, which no file's name has
        return name.encode("utf-8", "backslashreplace").decode()
