"""Which datasets of a file are its inputs and targets: as the file says, else as they look."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple

from prefetcher.arguments import Files
from prefetcher.batch import flatten
from prefetcher.cli.axes import along_last, columns_of
from prefetcher.cli.columns import as_python, columns_for
from prefetcher.cli.groups import together
from prefetcher.cli.leaves import Leaf, leaves_of, trains
from prefetcher.cli.roles import guessed
from prefetcher.columns.column import Column
from prefetcher.columns.packed import Unpacked
from prefetcher.errors import PrefetchError
from prefetcher.hdf5.attributes import Attributes, Names, read_attributes
from prefetcher.hdf5.dataset import Dataset
from prefetcher.hdf5.describe import FileDescription, describe
from prefetcher.hdf5.matlab import is_matlab
from prefetcher.hdf5.scales import scales_of
from prefetcher.hdf5.shards import Shards

_CHANNELS = "x.view(x.real.dtype).reshape(*x.shape, 2)"
"""Python that makes two channels of complex numbers, real and imaginary parts."""


@dataclass(frozen=True)
class Choice:
    """Inputs and targets."""

    x: Names
    y: Names | None
    datasets: tuple[Dataset, ...]
    """Those of x and y together, at least one, with as many rows each."""
    row_bytes: int
    """Bytes of one sample."""
    known: bool = False
    """Whether `PrefetchSequence` finds both without being told."""
    columns: Mapping[str, Column] = field(default_factory=dict)
    """Of those names that need one, what makes arrays of their rows."""

    @property
    def asked(self) -> tuple[Any, Any]:
        """The x and y that `PrefetchSequence` takes."""
        return self._with_columns(self.x), self._with_columns(self.y)

    def _with_columns(self, names: Names | None) -> Any:
        if isinstance(names, tuple):
            return tuple(map(self._with_columns, names))
        return self.columns.get(str(names), names)

    def python(self, files: Files, *, allow_external: bool, swmr: bool) -> str:
        """The line that wraps the file or files."""
        written = list(files) if isinstance(files, tuple) else str(files)
        x, y = map(as_python, self.asked)
        names = "" if self.known and not self.columns else f", x={x}, y={y}"
        names += self._transform
        names += ", allow_external=True" if allow_external else ""
        names += ", swmr=True" if swmr else ""
        return f"prefetcher.PrefetchSequence({written!r}{names})"

    @property
    def _transform(self) -> str:
        """What makes channels of complex numbers, which stand alone; "" where there are none."""
        if isinstance(self.x, tuple) or self.datasets[0].dtype.kind != "c":
            return ""
        return (
            f", transform=lambda x: {_CHANNELS}"
            if self.y is None
            else f", transform=lambda x, y: ({_CHANNELS}, y)"
        )


class Proposal(NamedTuple):
    """What was seen in the files of one data set, and what is proposed to train on.

    Attributes:
        file: The first file, with the datasets of all of them; numbered groups by a pattern.
        said: What it says of itself, then of each of its splits.
        choice: Inputs and targets; None where nothing would train.
    """

    file: FileDescription
    said: tuple[Attributes, ...]
    choice: Choice | None


def proposed(shards: Shards) -> Proposal:
    """Looks into every file, and says what to train on.

    Raises:
        FileError: A file cannot be used.
        ReadError: The system could not read one, also not after the retries.
    """
    first, *others = shards.files
    described = _described(first)
    seen = together(chain([described.datasets], (_described(other).datasets for other in others)))
    said = said_by(first.path, swmr=first.swmr)
    file = replace(described, datasets=seen.datasets)
    usable, lookup = replace(file, datasets=seen.usable), Shards(shards.files).dataset
    return Proposal(file, said, choose(usable, said, scales_of(described), lookup))


def _described(file: FileDescription) -> FileDescription:
    return describe(file.path, allow_external=file.allow_external, swmr=file.swmr)


def said_by(path: Path, *, swmr: bool = False) -> tuple[Attributes, ...]:
    """What a file says of itself, then of each of its splits."""
    own = read_attributes(path, swmr=swmr)
    return (own, *(read_attributes(path, split, swmr=swmr) for split in own.splits))


def choose(
    file: FileDescription,
    said: Sequence[Attributes],
    axes: Collection[str] = (),
    dataset_of: Callable[[str], Dataset] | None = None,
) -> Choice | None:
    """What is said, else a guess; None where nothing would train.

    Args:
        file: What is in the file; of several, the first with the datasets of all.
        said: What it says of itself, then of each of its splits: the first that names inputs.
        axes: Datasets that only number the rows or columns of others.
        dataset_of: The dataset of a name in all files. Of that file alone by default.
    """
    own = next((each for each in said if each.x), None)
    if own and (found := _said(file, own, whole=own is said[0])):
        return found
    datasets = along_last(as_used(file, dataset_of), matlab=is_matlab(file.path, swmr=file.swmr))
    return guess(datasets, {**columns_for(file), **columns_of(datasets)}, axes)


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
    if not alike or not all(map(trains, datasets)):
        return None
    leaves = list(leaves_of(datasets, _unpacked(datasets)))
    return _chosen(x, y, leaves, known=whole and not taken)


def guess(
    datasets: tuple[Dataset, ...],
    columns: Mapping[str, Column] | None = None,
    axes: Collection[str] = (),
) -> Choice | None:
    """As `prefetcher.cli.roles.guessed`, over these datasets; see `choose`.

    Args:
        datasets: Those of a file.
        columns: What makes arrays of the rows of those that need it, by name.
        axes: As in `choose`.
    """
    made = {**(columns or {}), **_unpacked(datasets)}
    roles = guessed(list(leaves_of(datasets, made, axes)))
    if roles is None:
        return None
    x = tuple(leaf.name for leaf in roles.x)
    used = [*roles.x, *([roles.y] if roles.y else [])]
    return _chosen(x if len(x) > 1 else x[0], roles.y.name if roles.y else None, used)


def _chosen(x: Names, y: Names | None, leaves: Sequence[Leaf], *, known: bool = False) -> Choice:
    return Choice(
        x,
        y,
        tuple({leaf.dataset.name: leaf.dataset for leaf in leaves}.values()),
        sum(leaf.nbytes for leaf in leaves),
        known=known,
        columns={leaf.name: leaf.column for leaf in leaves if leaf.column is not None},
    )


def _unpacked(datasets: Sequence[Dataset]) -> dict[str, Column]:
    """Columns of those whose numbers were packed, and mean nothing as they are stored."""
    return {
        dataset.name: Unpacked(dataset.name)
        for dataset in datasets
        if dataset.packing and not dataset.packing.fault and trains(dataset)
    }


def as_used(
    file: FileDescription, dataset_of: Callable[[str], Dataset] | None = None
) -> tuple[Dataset, ...]:
    """The datasets of a file, with groups of sparse rows in place of what these are made of."""
    sparse = tuple(_sparse(file, dataset_of or file.dataset))
    parts = {name for group in sparse for name in _parts_of(group)}
    return (*sparse, *(dataset for dataset in file.datasets if dataset.name not in parts))


def _parts_of(group: Dataset) -> tuple[str, ...]:
    return tuple(f"{group.name}/{part}" for part in ("data", "indices", "indptr"))


def _sparse(file: FileDescription, dataset_of: Callable[[str], Dataset]) -> Iterator[Dataset]:
    for dataset in file.datasets:
        group, _, name = dataset.name.rpartition("/")
        if group and name == "indptr":
            with suppress(PrefetchError):
                found = dataset_of(group)
                if found.csr is not None and found.csr.said:
                    yield found


def group_of(dataset: Dataset) -> str:
    """The group that a dataset lies in: "train", "a/b"; "" for the file's own."""
    return dataset.name.rpartition("/")[0]
