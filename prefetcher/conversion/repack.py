"""Another HDF5 file as a source, PyTables files included, read by the ways that training uses."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from prefetcher.conversion.arrays import listed
from prefetcher.conversion.files import check_regular
from prefetcher.conversion.options import Options
from prefetcher.conversion.source import Failure, Field, Loaded, RowNumbers
from prefetcher.errors import DatasetError, SettingsError
from prefetcher.hdf5.attributes import Attributes, Names, read_attributes
from prefetcher.hdf5.dataset import Dataset
from prefetcher.hdf5.describe import describe
from prefetcher.hdf5.source import Source as Reader
from prefetcher.messages.wording import written
from prefetcher.order.runs import runs_of


@dataclass(frozen=True)
class StoredPart:
    """Some rows of datasets of one file."""

    path: str
    names: Mapping[str, str]
    """The datasets' names there, by those they get."""
    rows: RowNumbers
    allow_external: bool = False

    def load(self) -> Loaded:
        """Reads the rows, each run of neighbours at once."""
        reader = _readers.of(_Wanted(self.path, tuple(self.names.values()), self.allow_external))
        return Loaded({name: reader.take(old, self.rows) for name, old in self.names.items()})


class _Wanted(NamedTuple):
    path: str
    names: tuple[str, ...]
    allow_external: bool


class _Reading:
    """One file, opened for reading by any number of threads."""

    def __init__(self, wanted: _Wanted) -> None:
        description = describe(wanted.path, allow_external=wanted.allow_external)
        self._datasets = {name: description.dataset(name) for name in wanted.names}
        self._reader = Reader(description, wanted.names)
        self.close = self._reader.close

    def take(self, name: str, rows: RowNumbers) -> NDArray[Any]:
        """Rows of a dataset in any order, in native byte order."""
        dataset = self._datasets[name]
        taken = np.empty((len(rows), *dataset.row_shape), dataset.dtype)
        places = taken.view(np.uint8).reshape(len(rows), -1)
        order = np.argsort(rows, kind="stable")
        self._reader.read(name, runs_of(rows[order]), _pieces(places, order))
        return taken.astype(dataset.dtype.newbyteorder("="), copy=False)


def _pieces(places: NDArray[np.uint8], order: NDArray[np.intp]) -> list[NDArray[np.uint8]]:
    """`places` in this order: in one piece where they stay as they are."""
    if bool((np.diff(order) == 1).all()):
        return [places]
    return [places[at : at + 1] for at in order]


class _Readers:
    """The files that parts of this process read, each opened once."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._open: dict[_Wanted, _Reading] = {}

    def of(self, wanted: _Wanted) -> _Reading:
        with self._lock:
            if wanted not in self._open:
                self._open[wanted] = _Reading(wanted)
            return self._open[wanted]

    def close(self, path: str) -> None:
        with self._lock:
            for key in [key for key in self._open if key.path == path]:
                self._open.pop(key).close()


_readers = _Readers()


class StoredSource:
    """Datasets of an HDF5 file with equally many rows."""

    def __init__(self, path: Path, options: Options) -> None:
        check_regular(path)
        description = describe(path, allow_external=options.allow_external)
        own = read_attributes(path)
        x, y = _wanted(path.name, description.datasets, own, options)
        found = {name: description.dataset(name) for name in (*listed(x), *listed(y))}
        _check_sizes(path.name, found.values())
        self._path = str(path.resolve())
        self._allow_external = options.allow_external
        self._datasets = {_last(name): dataset for name, dataset in found.items()}
        if len(self._datasets) < len(found):
            raise SettingsError(
                f"{written('x', x)}, {written('y', y)}: two of them have the same last name"
            )
        _check_lengths(path.name, tuple(found.values()))
        self.name = path.name
        self.x = _renamed(x)
        self.y = _renamed(y) if y else None
        self.rows = next(iter(found.values())).rows
        self.unusable: Mapping[int, Failure] = {}
        self.strata: NDArray[Any] | None = None
        self.class_names = {
            _last(name): names for name, names in own.class_names.items() if name in found
        }
        self.fingerprint = repr((description.identity[:2], x, y))
        stored = ", ".join(f"{d} {'+'.join(d.filters) or d.layout}" for d in found.values())
        self.about = (f"{self.rows:,} rows in {path.name}: {stored}",)

    @property
    def fields(self) -> Mapping[str, Field]:
        """The datasets, in native byte order."""
        return {
            name: Field(dataset.row_shape, dataset.dtype.newbyteorder("="))
            for name, dataset in self._datasets.items()
        }

    def part(self, rows: RowNumbers) -> StoredPart:
        """These rows."""
        names = {new: d.name for new, d in self._datasets.items()}
        return StoredPart(self._path, names, rows, self._allow_external)

    def close(self) -> None:
        """Closes the file in this process."""
        _readers.close(self._path)


def _wanted(
    file: str, datasets: tuple[Dataset, ...], own: Attributes, options: Options
) -> tuple[Names, Names | None]:
    x = options.x or own.x
    if not x:
        have = ", ".join(map(str, datasets)) or "no dataset"
        raise DatasetError(
            f"{file} does not say what its inputs are; it has {have}: write {written('x')}"
        )
    return x, options.y or (own.y if not options.x else None)


def _check_sizes(file: str, datasets: Iterable[Dataset]) -> None:
    for dataset in datasets:
        if dataset.elements is not None:
            raise DatasetError(
                f"{dataset} in {file} has rows of variable length, which convert does not write: "
                "train on it as it is, with prefetcher.Padded or prefetcher.Picture"
            )


def _check_lengths(file: str, datasets: tuple[Dataset, ...]) -> None:
    if len({dataset.rows for dataset in datasets}) > 1 or not datasets[0].rows:
        found = ", ".join(f"{dataset.name} {dataset.rows} rows" for dataset in datasets)
        raise DatasetError(f"{file} has {found}: x and y need as many rows each, one at least")


def _last(name: str) -> str:
    return name.strip("/").rpartition("/")[2]


def _renamed(names: Names) -> Names:
    return _last(names) if isinstance(names, str) else tuple(map(_last, names))
