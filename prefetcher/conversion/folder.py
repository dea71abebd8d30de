"""A folder of pictures: one class to each sub-folder, or a table of labels, or no labels."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from numpy.typing import NDArray

from prefetcher.conversion.labels import Table, read_table
from prefetcher.conversion.options import Options
from prefetcher.conversion.picture import SUFFIXES, Look, decode, reason, size_of
from prefetcher.conversion.source import Failure, Field, Loaded, RowNumbers
from prefetcher.errors import DatasetError, FileError, FileMissingError, SettingsError
from prefetcher.hdf5.attributes import Names

IMAGES, LABELS = "images", "labels"


@dataclass(frozen=True)
class PicturePart:
    """Some pictures and their labels."""

    root: str
    names: tuple[str, ...]
    look: Look
    columns: Mapping[str, NDArray[Any]]

    def load(self) -> Loaded:
        """Decodes them one after the other; what cannot be decoded is told, not raised."""
        pictures = np.empty((len(self.names), *self.look.shape), np.uint8)
        failures: dict[int, Failure] = {}
        for at, name in enumerate(self.names):
            try:
                pictures[at - len(failures)] = decode(Path(self.root, name), self.look)
            except Exception as error:  # noqa: BLE001 - decoders raise anything over damaged bytes
                failures[at] = Failure(name, reason(error))
        kept = [at for at in range(len(self.names)) if at not in failures]
        labels = {column: values[kept] for column, values in self.columns.items()}
        return Loaded({IMAGES: pictures[: len(kept)], **labels}, failures)


@dataclass
class PictureSource:
    """The pictures of a folder, in a fixed order."""

    root: Path
    names: tuple[str, ...]
    look: Look
    columns: Mapping[str, NDArray[Any]]
    class_names: Mapping[str, tuple[str, ...]]
    unusable: Mapping[int, Failure]
    about: tuple[str, ...]
    x: Names = IMAGES
    y: Names | None = field(init=False)

    def __post_init__(self) -> None:
        labels = tuple(self.columns)
        self.y = labels[0] if len(labels) == 1 else labels or None
        self.rows = len(self.names)
        self.name = self.root.name

    @property
    def fields(self) -> Mapping[str, Field]:
        """The pictures, and each column of labels."""
        labels = {name: Field((), values.dtype) for name, values in self.columns.items()}
        return {IMAGES: Field(self.look.shape, np.dtype(np.uint8)), **labels}

    @property
    def strata(self) -> NDArray[Any] | None:
        """The classes of the first column that has any."""
        return next((self.columns[name] for name in self.class_names), None)

    @property
    def fingerprint(self) -> str:
        """Of names and labels, not of the pictures: a damaged one may be mended meanwhile."""
        digest = hashlib.sha256("\0".join(self.names).encode())
        for values in self.columns.values():
            digest.update(values.tobytes())
        return digest.hexdigest()

    def part(self, rows: RowNumbers) -> PicturePart:
        """The pictures of these numbers."""
        names = tuple(self.names[row] for row in rows)
        columns = {name: values[rows] for name, values in self.columns.items()}
        return PicturePart(str(self.root), names, self.look, columns)

    def close(self) -> None:
        """Holds nothing open."""


def picture_source(folder: Path, options: Options) -> PictureSource:
    """Lists a folder.

    Raises:
        FileError: There is no picture, or the table of labels cannot be read.
        DatasetError: Classes and loose pictures are mixed.
    """
    root = folder.resolve()  # a worker may run in another folder
    found, ignored = _listed(root)
    if not found:
        raise FileMissingError(
            f"no pictures in {folder.name}: files that end in {', '.join(sorted(SUFFIXES))}"
        )
    columns: Mapping[str, NDArray[Any]] = {}
    classes: Mapping[str, tuple[str, ...]] = {}
    unusable: dict[int, Failure] = {}
    about = [f"{len(found):,} pictures in {folder.name}"]
    if options.labels:
        table = read_table(options.labels, options.path_col, options.label_cols)
        columns, classes, unusable = table.columns, table.class_names, dict(table.unusable)
        names = _named(root, table, unusable)
        about += _about_table(options.labels, names, found)
    else:
        names = tuple(found)
        columns, classes = _folder_classes(folder, names)
    about += [_about_classes(column, columns[column], named) for column, named in classes.items()]
    if ignored:
        about.append(f"{ignored:,} other files are left out")
    if IMAGES in columns:
        raise SettingsError(
            f"a column of labels is called {IMAGES!r}, as the pictures are: rename it"
        )
    look = _look(root, names, options)
    return PictureSource(root, names, look, columns, classes, unusable, tuple(about))


def _listed(root: Path) -> tuple[list[str], int]:
    """The pictures below a folder, sorted by their paths, and how many other files there are."""
    if not root.is_dir():
        raise FileMissingError(f"there is no folder {root.name}: check the path")
    found, ignored = [], 0
    for path in _files(root):
        if path.suffix.lower() in SUFFIXES:
            found.append(path.relative_to(root).as_posix())
        else:
            ignored += 1
    return sorted(found), ignored


def _files(root: Path) -> Iterator[Path]:
    for folder, folders, files in os.walk(root):
        folders[:] = [name for name in folders if not name.startswith(".")]
        yield from (Path(folder, name) for name in files if not name.startswith("."))


def _folder_classes(
    folder: Path, names: tuple[str, ...]
) -> tuple[dict[str, NDArray[Any]], dict[str, tuple[str, ...]]]:
    tops = [name.split("/", 1)[0] if "/" in name else "" for name in names]
    classes = tuple(sorted(set(tops)))
    if classes == ("",):
        return {}, {}
    if "" in classes:
        raise DatasetError(
            f"{folder.name} has pictures both in sub-folders ({classes[1]}, ...) and beside them "
            f"({names[tops.index('')]}, ...): move them, or write labels= for a table of labels"
        )
    number = {name: code for code, name in enumerate(classes)}
    return {LABELS: np.array([number[top] for top in tops], np.int64)}, {LABELS: classes}


def _named(root: Path, table: Table, unusable: dict[int, Failure]) -> tuple[str, ...]:
    """The paths of a table, relative to the folder; those that lead out of it are unusable."""
    names = []
    for at, path in enumerate(table.paths):
        name = os.path.normpath(os.path.relpath(root / PurePosixPath(path), root))
        if name.startswith(os.pardir) or name == os.curdir:
            unusable[at] = Failure(path or "(no path)", "it is not a file in the folder")
        names.append(Path(name).as_posix())
    return tuple(names)


def _about_table(labels: Path, names: tuple[str, ...], found: list[str]) -> list[str]:
    lines = [f"{len(names):,} lines in {labels.name}"]
    if missing := len(set(found) - set(names)):
        lines.append(f"{missing:,} pictures without a line are left out")
    return lines


def _about_classes(column: str, values: NDArray[Any], names: tuple[str, ...]) -> str:
    counts = np.bincount(values, minlength=len(names))
    shown = ", ".join(f"{name} {count:,}" for name, count in zip(names[:8], counts, strict=False))
    more = f", and {len(names) - 8} more" if len(names) > 8 else ""
    return f"{len(names)} classes in {column}: {shown}{more}"


def _look(root: Path, names: tuple[str, ...], options: Options) -> Look:
    if options.size:
        return Look(*options.size, options.color, options.resize)
    for name in names:
        try:
            return Look(*size_of(root / name), options.color, None)
        except Exception:  # noqa: BLE001, S112 - it fails again, and is told, in its turn
            continue
    raise FileError(f"no picture in {root.name} can be read: write size=(height, width) to see why")
