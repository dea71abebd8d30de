"""Another HDF5 file as a source, PyTables files included, read by the ways that training uses."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from prefetcher.columns.axis import along
from prefetcher.conversion.arrays import listed
from prefetcher.conversion.files import check_regular
from prefetcher.conversion.making import Make, planned
from prefetcher.conversion.options import Options
from prefetcher.conversion.reading import READINGS, Wanted
from prefetcher.conversion.source import Failure, Field, Loaded, RowNumbers
from prefetcher.errors import DatasetError, SettingsError
from prefetcher.hdf5.attributes import Attributes, Names, read_attributes
from prefetcher.hdf5.axes import to_turn
from prefetcher.hdf5.dataset import Dataset
from prefetcher.hdf5.describe import describe
from prefetcher.messages.wording import written


@dataclass(frozen=True)
class StoredPart:
    """Some rows of datasets of one file."""

    wanted: Wanted
    makes: Mapping[str, Make]
    """What is made of them, by the names that datasets get."""
    rows: RowNumbers

    def load(self) -> Loaded:
        """Reads the rows, each dataset once, and makes what is written of them."""
        reading = READINGS.of(self.wanted)
        most = {make.of: make.most for make in self.makes.values()}
        read = {name: reading.take(name, self.rows, most[name]) for name in self.wanted.names}
        arrays, failures = {}, dict[int, Failure]()
        good: dict[str, NDArray[np.int64]] = {}
        for new, make in self.makes.items():
            arrays[new], why = make.make(reading.dataset(make.of), read[make.of])
            good[new] = np.delete(np.arange(len(self.rows)), list(why))
            for at, reason in why.items():
                failures.setdefault(at, Failure(f"row {self.rows[at]} of {make.of}", reason))
        if not failures:
            return Loaded(arrays)
        bad = list(failures)
        whole = {new: array[~np.isin(good[new], bad)] for new, array in arrays.items()}
        return Loaded(whole, failures)


class StoredSource:
    """Datasets of an HDF5 file with equally many rows."""

    def __init__(self, path: Path, options: Options) -> None:
        check_regular(path)
        description = describe(path, allow_external=options.allow_external)
        own = read_attributes(path)
        x, y = _wanted(path.name, description.datasets, own, options)
        names = dict.fromkeys((*listed(x), *listed(y)))
        _check_axes(names, options)
        self._new = {_last(name): along(name, _axis(name, options)) for name in names}
        if len(self._new) < len(names):
            raise SettingsError(
                f"{written('x', x)}, {written('y', y)}: two of them have the same last name"
            )
        found = tuple(map(description.dataset, self._new.values()))
        _check_lengths(path.name, found)
        self._wanted = Wanted(
            str(path.resolve()), tuple(self._new.values()), options.allow_external
        )
        self.name = path.name
        self.x = _renamed(x)
        self.y = _renamed(y) if y else None
        self.rows = found[0].rows
        self.unusable: Mapping[int, Failure] = {}
        self.strata: NDArray[Any] | None = None
        self.class_names = {
            _last(name): classes for name, classes in own.class_names.items() if name in names
        }
        self.fingerprint = repr((description.identity[:2], x, y))
        self._look(path.name, found, options)

    def _look(self, file: str, found: Iterable[Dataset], options: Options) -> None:
        try:
            reading = READINGS.of(self._wanted)
            made = planned(reading, self._new, options)
            self._makes = made.makes
            self._fields = {
                new: make.field(reading.dataset(make.of)) for new, make in self._makes.items()
            }
        except BaseException:
            self.close()
            raise
        stored = ", ".join(f"{each} {'+'.join(each.filters) or each.layout}" for each in found)
        self.about = (f"{self.rows:,} rows in {file}: {stored}", *made.about)
        self.is_dense = made.dense
        """Whether rows of sparse matrices are written dense, so that a codec pays."""

    @property
    def fields(self) -> Mapping[str, Field]:
        """The datasets, in native byte order."""
        return self._fields

    def part(self, rows: RowNumbers) -> StoredPart:
        """These rows."""
        return StoredPart(self._wanted, self._makes, rows)

    def close(self) -> None:
        """Closes the file in this process."""
        READINGS.close(self._wanted.path)


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


def _axis(name: str, options: Options) -> int:
    """Along which the rows of a dataset lie."""
    return options.axis.get(name, 0) if isinstance(options.axis, Mapping) else options.axis


def _check_axes(names: Iterable[str], options: Options) -> None:
    if isinstance(options.axis, Mapping) and (odd := options.axis.keys() - set(names)):
        raise SettingsError(
            f"{written('axis', dict(options.axis))}: {min(odd)} is none of the datasets of "
            f"{written('x')} and {written('y')}"
        )


def _check_lengths(file: str, datasets: tuple[Dataset, ...]) -> None:
    if len({dataset.rows for dataset in datasets}) > 1 or not datasets[0].rows:
        found = ", ".join(f"{each.path} {each.rows} rows" for each in datasets)
        other = _other_axis(datasets)
        raise DatasetError(
            f"{file} has {found}: x and y need as many rows each, one at least{other}"
        )


def _other_axis(datasets: tuple[Dataset, ...]) -> str:
    """What to write where rows lie along the last axis."""
    count, names = to_turn(datasets)
    if not names:
        return ""
    how = written("axis", -1 if len(names) == len(datasets) else dict.fromkeys(names, -1))
    return f". {', '.join(names)}: {count} along the last axis; if these are the rows, write {how}"


def _last(name: str) -> str:
    return name.strip("/").rpartition("/")[2]


def _renamed(names: Names) -> Names:
    return _last(names) if isinstance(names, str) else tuple(map(_last, names))
