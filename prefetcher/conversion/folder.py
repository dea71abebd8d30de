"""A folder of pictures: one class to each sub-folder, or a table of labels, or no labels."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Mapping
from concurrent.futures import Executor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from prefetcher.conversion.labels import Table, read_table
from prefetcher.conversion.listing import Listing, Within, in_text, list_pictures, relative
from prefetcher.conversion.options import Options
from prefetcher.conversion.picture import SUFFIXES, decode, size_of
from prefetcher.conversion.source import Failure, Field, Loaded, RowNumbers
from prefetcher.conversion.work import in_order
from prefetcher.errors import DatasetError, FileError, FileMissingError, SettingsError
from prefetcher.hdf5.attributes import Names
from prefetcher.messages.wording import Word, written
from prefetcher.picture import Look, reason

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
                failures[at] = Failure(in_text(name), reason(error))
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
        # Names of files need not be text.
        digest = hashlib.sha256("\0".join(self.names).encode("utf-8", "surrogatepass"))
        for values in self.columns.values():
            digest.update(values.tobytes())
        return digest.hexdigest()

    def part(self, rows: RowNumbers) -> PicturePart:
        """The pictures of these numbers."""
        names = tuple(self.names[row] for row in rows)
        columns = {name: values[rows] for name, values in self.columns.items()}
        return PicturePart(str(self.root), names, self.look, columns)

    def has(self, path: Path) -> bool:
        """Whether a file is one of the pictures."""
        found = path.resolve()
        return found.is_relative_to(self.root) and found.relative_to(self.root).as_posix() in set(
            self.names
        )

    def count_sizes(
        self, executor: Executor, ahead: int, progress: Callable[[int, int], None]
    ) -> Counter[tuple[int, int]]:
        """How many pictures have which height and width; those that cannot be read are not counted.

        Reads the head of each. `progress` is called with the pictures that were looked at, and 0.
        """
        paths = (self.root / name for at, name in enumerate(self.names) if at not in self.unusable)
        counts: Counter[tuple[int, int]] = Counter()
        for size in in_order(executor, _size_or_none, paths, ahead):
            counts.update([size] if size else [])
            progress(1, 0)
        return counts

    def close(self) -> None:
        """Holds nothing open."""


def _size_or_none(path: Path) -> tuple[int, int] | None:
    try:
        return size_of(path)
    except Exception:  # noqa: BLE001 - decoders raise anything over damaged bytes
        return None


def picture_source(folder: Path, options: Options) -> PictureSource:
    """Lists a folder.

    Raises:
        FileError: There is no picture, or the table of labels cannot be read.
        DatasetError: Classes and loose pictures are mixed.
    """
    root = folder.resolve()  # a worker may run in another folder
    found = list_pictures(root)
    if not found.names:
        raise FileMissingError(
            f"no pictures in {folder.name}: files that end in {', '.join(sorted(SUFFIXES))}"
        )
    if options.labels:
        return _with_table(root, found, options, options.labels)
    columns, classes = _folder_classes(folder, found.names)
    unusable = {at: Failure(in_text(found.names[at]), why) for at, why in found.unusable.items()}
    about = [*_about_classes(columns, classes), *found.left_out]
    return _source(root, found, found.names, columns, classes, unusable, about, options)


def _with_table(root: Path, found: Listing, options: Options, labels: Path) -> PictureSource:
    table = read_table(labels, options.path_col, options.label_cols)
    if IMAGES in table.columns:
        raise SettingsError(
            f"a column of labels is called {IMAGES!r}, as the pictures are: rename it"
        )
    unusable = dict(table.unusable)
    names = _named(root, table, unusable)
    _check_paths(root, found, table, names, labels)
    about = [f"{len(names):,} lines in {labels.name}"]
    if missing := len(set(found.names) - set(names)):
        about.append(f"{missing:,} pictures without a line are left out")
    about += [*_about_classes(table.columns, table.class_names), *found.left_out]
    return _source(root, found, names, table.columns, table.class_names, unusable, about, options)


def _source(
    root: Path,
    found: Listing,
    names: tuple[str, ...],
    columns: Mapping[str, NDArray[Any]],
    classes: Mapping[str, tuple[str, ...]],
    unusable: Mapping[int, Failure],
    about: list[str],
    options: Options,
) -> PictureSource:
    look = _look(root, [name for at, name in enumerate(names) if at not in unusable], options)
    about = [f"{len(found.names):,} pictures in {in_text(root.name)}", *about]
    return PictureSource(root, names, look, columns, classes, unusable, tuple(about))


def _folder_classes(
    folder: Path, names: tuple[str, ...]
) -> tuple[dict[str, NDArray[Any]], dict[str, tuple[str, ...]]]:
    tops = [in_text(name.split("/", 1)[0]) if "/" in name else "" for name in names]
    classes = tuple(sorted(set(tops)))
    if classes == ("",):
        return {}, {}
    if "" in classes:
        raise DatasetError(
            f"{folder.name} has pictures both in sub-folders ({classes[1]}, ...) and beside them "
            f"({names[tops.index('')]}, ...): move them, or write {written('labels')} for a table "
            "of labels"
        )
    number = {name: code for code, name in enumerate(classes)}
    return {LABELS: np.array([number[top] for top in tops], np.int64)}, {LABELS: classes}


def _named(root: Path, table: Table, unusable: dict[int, Failure]) -> tuple[str, ...]:
    """The paths of a table, relative to the folder; those that lead out of it are unusable."""
    within = Within(root)
    names = []
    for at, path in enumerate(table.paths):
        name = relative(root, path)
        if name is None or not within.holds(name):
            unusable[at] = Failure(in_text(path) or "(no path)", "it is not a file in the folder")
        names.append(path if name is None else name)
    return tuple(names)


def _check_paths(
    root: Path, found: Listing, table: Table, names: tuple[str, ...], labels: Path
) -> None:
    """Raises `SettingsError` if the column that should hold paths holds none."""
    if set(names) & set(found.names) or any(Path(root, name).is_file() for name in names):
        return
    better = [
        column for column, value in table.others.items() if relative(root, value) in found.names
    ]
    advice = f"its column {better[0]!r} has some" if better else "they are relative to the folder"
    raise SettingsError(
        f"{written('path_col')}: no line of {labels.name} has a path in column "
        f"{table.path_col!r} (the first is {in_text(table.paths[0])!r:.60}): {advice}"
    )


def _about_classes(
    columns: Mapping[str, NDArray[Any]], classes: Mapping[str, tuple[str, ...]]
) -> list[str]:
    return [_about_class(column, columns[column], names) for column, names in classes.items()]


def _about_class(column: str, values: NDArray[Any], names: tuple[str, ...]) -> str:
    counts = np.bincount(values, minlength=len(names))
    shown = ", ".join(f"{name} {count:,}" for name, count in zip(names[:8], counts, strict=False))
    more = f", and {len(names) - 8} more" if len(names) > 8 else ""
    return f"{len(names)} classes in {column}: {shown}{more}"


def _look(root: Path, names: list[str], options: Options) -> Look:
    if options.size:
        return Look(*options.size, options.color, options.resize)
    for name in names:
        try:
            return Look(*size_of(root / name), options.color, None)
        except Exception:  # noqa: BLE001, S112 - it fails again, and is told, in its turn
            continue
    size = written("size", (Word("height"), Word("width")))
    raise FileError(f"no picture in {in_text(root.name)} can be read: write {size} to see why")
