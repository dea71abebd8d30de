"""Which datasets of a file are its inputs and targets: as the file says, else as they look."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from prefetcher.batch import flatten, not_numbers
from prefetcher.cli.axes import along_last, columns_of
from prefetcher.cli.columns import as_python, columns_for
from prefetcher.columns.column import Column, Stored
from prefetcher.columns.packed import Unpacked
from prefetcher.config import Files
from prefetcher.errors import PrefetchError
from prefetcher.hdf5.attributes import Attributes, Names, read_attributes
from prefetcher.hdf5.dataset import Dataset
from prefetcher.hdf5.describe import FileDescription
from prefetcher.hdf5.matlab import is_matlab

_TARGETS = ("y", "angle", "label", "target", "class", "steering", "output", "mask")
"""What the names of targets contain, likeliest first; anything else is told by its size."""


@dataclass(frozen=True)
class Choice:
    """Inputs and targets."""

    x: Names
    y: Names | None
    datasets: tuple[Dataset, ...]
    """Those of x and y together, at least one, with as many rows each."""
    known: bool = False
    """Whether `PrefetchSequence` finds both without being told."""
    columns: Mapping[str, Column] = field(default_factory=dict)
    """Of those datasets that need one, what makes arrays of their rows."""

    @property
    def row_bytes(self) -> int:
        """Bytes of one sample."""
        return sum(map(self._sample_bytes, self.datasets))

    def _sample_bytes(self, dataset: Dataset) -> int:
        column = self.columns.get(dataset.name)
        if column is None:
            return dataset.row_bytes
        return column.value(Stored(dataset.dtype, dataset.row_shape)).nbytes

    @property
    def asked(self) -> tuple[Any, Any]:
        """The x and y that `PrefetchSequence` takes."""
        return self._with_columns(self.x), self._with_columns(self.y)

    def _with_columns(self, names: Names | None) -> Any:
        if isinstance(names, tuple):
            return tuple(map(self._with_columns, names))
        if names in self._packed:
            return Unpacked(str(names))
        return self.columns.get(str(names), names)

    def python(self, files: Files, *, allow_external: bool, swmr: bool) -> str:
        """The line that wraps the file or files."""
        written = list(files) if isinstance(files, tuple) else str(files)
        x, y = map(self._python, self.asked)
        names = "" if self.known and not self._packed else f", x={x}, y={y}"
        names += ", allow_external=True" if allow_external else ""
        names += ", swmr=True" if swmr else ""
        return f"prefetcher.PrefetchSequence({written!r}{names})"

    @property
    def _packed(self) -> frozenset[str]:
        """Those whose numbers were packed, and mean nothing as they are stored."""
        return frozenset(dataset.name for dataset in self.datasets if dataset.packing)

    def _python(self, names: Any) -> str:
        """Names and columns as Python."""
        if isinstance(names, tuple):
            inside = ", ".join(map(self._python, names))
            return f"({inside},)" if len(names) == 1 else f"({inside})"
        return as_python(names) if isinstance(names, Column) else repr(names)


def said_by(path: Path, *, swmr: bool = False) -> tuple[Attributes, ...]:
    """What a file says of itself, then of each of its splits."""
    own = read_attributes(path, swmr=swmr)
    return (own, *(read_attributes(path, split, swmr=swmr) for split in own.splits))


def choose(file: FileDescription, said: Sequence[Attributes]) -> Choice | None:
    """What is said, else a guess; None where nothing would train as it is.

    Args:
        file: What is in the file.
        said: What it says of itself, then of each of its splits: the first that names inputs.
    """
    own = next((each for each in said if each.x), None)
    if own and (found := _said(file, own, whole=own is said[0])):
        return found
    datasets = along_last(as_used(file), matlab=is_matlab(file.path, swmr=file.swmr))
    return guess(datasets, {**columns_for(file), **columns_of(datasets)})


def _said(file: FileDescription, said: Attributes, *, whole: bool) -> Choice | None:
    """None where somebody took out a dataset since, or it would not train as it is."""
    x, y = said.x or (), said.y
    names = dict.fromkeys([*flatten(x), *flatten(y or ())])
    # A dataset called x is what the sequence takes that is told nothing.
    taken = x != "x" and any(dataset.name == "x" for dataset in file.datasets)
    try:
        datasets = tuple(map(file.dataset, names))
    except PrefetchError:
        return None
    alike = len({dataset.rows for dataset in datasets}) == 1
    if not alike or not all(map(_trains, datasets)):
        return None
    return Choice(x, y, datasets, known=whole and not taken)


def _trains(dataset: Dataset) -> bool:
    """Whether it holds rows that Keras takes as they are."""
    if dataset.refused or dataset.missing_filter or dataset.dtype.subdtype:
        return False
    if dataset.dtype.kind == "c" or not_numbers(dataset.dtype):
        return False  # complex numbers lose a part without a word
    return bool(dataset.rows and dataset.row_bytes)


def guess(
    datasets: tuple[Dataset, ...], columns: Mapping[str, Column] | None = None
) -> Choice | None:
    """Takes the heaviest rows for the inputs, and for the targets what is called so or is light.

    Only datasets of the same group and with as many rows as the inputs can be targets. None where
    nothing would train as it is, or by its column.
    """
    columns = columns or {}
    usable = [each for each in datasets if _trains(each) or each.name in columns]
    if not usable:
        return None
    # A single row beside others is a mean, or the like.
    x = max(usable, key=lambda dataset: (dataset.rows > 1, dataset.row_bytes, dataset.rows))
    partners = [
        dataset
        for dataset in usable
        if dataset is not x and dataset.rows == x.rows and _family(dataset) == _family(x)
    ]
    if not partners:
        return Choice(x.name, None, (x,), columns=_within(columns, x))
    y = min(partners, key=_unlikeliness)
    return Choice(x.name, y.name, (x, y), columns=_within(columns, x, y))


def _within(columns: Mapping[str, Column], *datasets: Dataset) -> dict[str, Column]:
    return {each.name: columns[each.name] for each in datasets if each.name in columns}


def as_used(file: FileDescription) -> tuple[Dataset, ...]:
    """The datasets of a file, with groups of sparse rows in place of what these are made of."""
    sparse = tuple(_sparse(file))
    parts = {name for group in sparse for name in _parts_of(group)}
    return (*sparse, *(dataset for dataset in file.datasets if dataset.name not in parts))


def _parts_of(group: Dataset) -> tuple[str, ...]:
    return tuple(f"{group.name}/{part}" for part in ("data", "indices", "indptr"))


def _sparse(file: FileDescription) -> Iterator[Dataset]:
    for dataset in file.datasets:
        group, _, name = dataset.name.rpartition("/")
        if group and name == "indptr":
            with suppress(PrefetchError):
                found = file.dataset(group)
                if found.csr is not None and found.csr.said:
                    yield found


def _family(dataset: Dataset) -> str:
    """Where inputs and their targets lie: the group; of a pattern, the groups that it names."""
    named = dataset.name.rpartition("*")[0]
    return f"{named}*" if named else group_of(dataset)


def group_of(dataset: Dataset) -> str:
    """The group that a dataset lies in: "train", "a/b"; "" for the file's own."""
    return dataset.name.rpartition("/")[0]


def _unlikeliness(dataset: Dataset) -> tuple[int, int]:
    """Sorts the likeliest targets first: by name, then the lighter ones."""
    name = dataset.name.rpartition("/")[2].lower()
    if name == "y":
        return 0, dataset.row_bytes
    matches = (rank for rank, word in enumerate(_TARGETS) if rank and word in name)
    return next(matches, len(_TARGETS)), dataset.row_bytes
