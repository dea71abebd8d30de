"""What is written for a dataset of an HDF5 source: its rows, or what is made of each."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from io import BytesIO
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from prefetcher import picture
from prefetcher.columns.column import Stored, Value
from prefetcher.columns.padded import Padded
from prefetcher.columns.ragged import TEXT
from prefetcher.columns.sparse import Sparse
from prefetcher.conversion.options import Options
from prefetcher.conversion.reading import Reading, all_fit, decoded_again, read_alone
from prefetcher.conversion.source import Field
from prefetcher.errors import DatasetError, SettingsError
from prefetcher.hdf5.dataset import Dataset
from prefetcher.hdf5.packing import attributes_of
from prefetcher.messages.wording import written
from prefetcher.picture import Look

_LOOKED_AT = 32  # rows of variable length, to tell what they hold: some milliseconds
_FEWEST_BYTES = 64  # of a row that may be a picture: no format has smaller ones

Reasons = Mapping[int, str]
"""Why a row has no value, by its place."""


class Make(Protocol):
    """How a dataset is made of the rows of another: small and picklable."""

    @property
    def of(self) -> str:
        """The dataset that is read."""

    @property
    def most(self) -> int | None:
        """Elements of each row of variable length that are needed; None for all."""

    def field(self, dataset: Dataset) -> Field:
        """What its rows are like; raises `DatasetError` where none can be made."""

    def make(self, dataset: Dataset, rows: NDArray[Any]) -> tuple[NDArray[Any], Reasons]:
        """The values of those rows that have one, and why the others have none."""


@dataclass(frozen=True)
class AsRead:
    """Rows as they are read: in native byte order, those of sparse matrices dense."""

    of: str
    most: int | None = None

    def field(self, dataset: Dataset) -> Field:
        """Of the dataset, or float32 where it is sparse."""
        if dataset.csr is not None:
            sparse = Stored(dataset.dtype, dataset.row_shape, sparse=True)
            value = Sparse(self.of).value(sparse)
            return Field(value.shape, value.dtype)
        dtype = dataset.dtype.newbyteorder("=")
        return Field(dataset.row_shape, dtype, attributes_of(dataset.packing, dtype))

    def make(self, dataset: Dataset, rows: NDArray[Any]) -> tuple[NDArray[Any], Reasons]:
        """The rows."""
        del dataset
        return rows, {}


@dataclass(frozen=True)
class Filled:
    """Rows of variable length, cut and filled to one length; or the mask of them."""

    column: Padded

    @property
    def of(self) -> str:
        """The dataset that is read."""
        return self.column.dataset

    @property
    def most(self) -> int:
        """As many as a value has."""
        return self.column.most

    def field(self, dataset: Dataset) -> Field:
        """(length,) of the elements' dtype."""
        value = self._value(dataset)
        return Field(value.shape, value.dtype)

    def make(self, dataset: Dataset, rows: NDArray[Any]) -> tuple[NDArray[Any], Reasons]:
        """Every row has a value."""
        return self._value(dataset).make(rows), {}

    def _value(self, dataset: Dataset) -> Value:
        return self.column.value(Stored(dataset.dtype, dataset.row_shape))


@dataclass(frozen=True)
class Decoded:
    """Rows that are encoded pictures."""

    of: str
    look: Look
    most: int | None = None

    def field(self, dataset: Dataset) -> Field:
        """uint8 (height, width, channels)."""
        del dataset
        return Field(self.look.shape, np.dtype(np.uint8))

    def make(self, dataset: Dataset, rows: NDArray[Any]) -> tuple[NDArray[Any], Reasons]:
        """Those that can be decoded."""
        del dataset
        out = np.empty((len(rows), *self.look.shape), np.uint8)
        why = dict[int, str]()
        for at, file in enumerate(_files(rows)):
            try:
                out[at - len(why)] = picture.decode(BytesIO(file.data), self.look)
            except Exception as error:  # noqa: BLE001 - whatever a decoder makes of damaged bytes
                why[at] = picture.reason(error)
        return out[: len(rows) - len(why)], why


class Planned(NamedTuple):
    """What is made of the datasets that were named."""

    makes: Mapping[str, Make]
    """By the names that datasets get."""
    about: tuple[str, ...]
    """What a user should know of it."""
    dense: bool
    """Whether rows of sparse matrices are among them."""


def planned(reading: Reading, names: Mapping[str, str], options: Options) -> Planned:
    """What is made of each dataset; looks at a few rows where that is not plain.

    Args:
        reading: The source.
        names: The datasets in it, by the names that they get.
        options: Of them `size`, `length` and what belongs to them.

    Raises:
        DatasetError: Nothing can be made of a dataset.
        SettingsError: A setting is missing, or nothing needs it.
    """
    makes: dict[str, Make] = {}
    about: list[str] = []
    for new, name in names.items():
        dataset = reading.dataset(name)
        rows = _some(reading, dataset) if _may_need_a_look(dataset, options) else None
        size = _size(rows) if rows is not None else None
        if rows is not None and size:
            makes[new] = Decoded(name, _look(size, options))
            about.append(f"{name}: encoded pictures, the first of {size[0]} x {size[1]}")
        elif rows is not None and dataset.elements is not None:
            makes |= _filled(new, dataset, rows, names, options)
            about.append(_lengths(name, rows, options))
        else:
            makes[new] = AsRead(name)
    _check(makes, options)
    sparse = [name for name in names.values() if reading.dataset(name).csr is not None]
    about += [_dense(reading.dataset(name)) for name in sparse]
    about += _costs([reading.dataset(name) for name in names.values()], options)
    return Planned(makes, tuple(about), bool(sparse))


def _costs(datasets: Sequence[Dataset], options: Options) -> list[str]:
    """What is slow about reading them in the order that was asked for."""
    if not options.shuffle:
        return [told for each in datasets if (told := decoded_again(each))]
    if all_fit(datasets):
        return []
    faster = f"it is faster without {written('shuffle', value=True)}, and training shuffles anyway"
    return [f"{told}; {faster}" for each in datasets if (told := read_alone(each))]


def _may_need_a_look(dataset: Dataset, options: Options) -> bool:
    if dataset.elements is not None:
        return True
    if not options.size or dataset.csr is not None or dataset.dtype.names:
        return False
    whole = dataset.dtype == np.uint8 and len(dataset.row_shape) == 1
    opaque = dataset.dtype.kind in "VS" and dataset.row_shape == ()
    return dataset.row_bytes >= _FEWEST_BYTES and (whole or opaque)


def _some(reading: Reading, dataset: Dataset) -> NDArray[Any]:
    """Rows from end to end of the dataset."""
    if dataset.row_shape and dataset.elements is not None:
        raise DatasetError(
            f"{dataset} has several rows of variable length for each sample, which convert does "
            "not write: train on it as it is, with prefetcher.Padded or prefetcher.Picture"
        )
    wanted = np.linspace(0, dataset.rows - 1, min(_LOOKED_AT, dataset.rows), dtype=np.int64)
    return reading.take(dataset.name, wanted if dataset.elements is not None else wanted[:1])


def _size(rows: NDArray[Any]) -> tuple[int, int] | None:
    """Height and width of the first row that is an encoded picture, behind damaged ones."""
    for each in _files(rows):
        if len(each) and each.dtype.itemsize == 1:
            with suppress(Exception):  # whatever a decoder makes of bytes that are no picture
                return picture.size_of(BytesIO(each.tobytes()))
    return None


def _files(rows: NDArray[Any]) -> Iterator[NDArray[Any]]:
    """The elements of each row, or its bytes."""
    if rows.dtype.hasobject:
        yield from (np.frombuffer(row, "u1") if isinstance(row, bytes) else row for row in rows)
    elif len(rows):
        yield from np.ascontiguousarray(rows).view(np.uint8).reshape(len(rows), -1)


def _look(size: tuple[int, int], options: Options) -> Look:
    if options.size:
        return Look(*options.size, options.color, options.resize)
    return Look(*size, options.color, None)


def _mask_name(new: str, names: Collection[str]) -> str:
    mask = f"{new}_mask"
    if mask in names:
        raise SettingsError(
            f"{written('mask', value=True)}: the mask of {new} would be called {mask}, as another "
            "dataset is: leave one of them out"
        )
    return mask


def _filled(
    new: str, dataset: Dataset, rows: NDArray[Any], names: Collection[str], options: Options
) -> dict[str, Make]:
    if dataset.elements == TEXT:
        raise DatasetError(
            f"{dataset} is text of variable length: make numbers of it first, such as tokens"
        )
    if options.length is None:
        raise SettingsError(
            f"{dataset} has rows of variable length: write the one that they shall have, as in "
            f"{written('length', max(1, *map(len, rows)))}, which is the longest of {len(rows)} "
            "that were looked at; longer ones are cut, shorter ones filled"
        )
    fill = int(options.fill) if float(options.fill).is_integer() else options.fill
    made: dict[str, Make] = {new: Filled(Padded(dataset.name, options.length, fill))}
    if options.mask:
        made[_mask_name(new, names)] = Filled(Padded(dataset.name, options.length, mask=True))
    return made


def _lengths(name: str, rows: NDArray[Any], options: Options) -> str:
    lengths = [len(row) for row in rows]
    cut = sum(length > (options.length or 0) for length in lengths)
    told = f"{name}: {min(lengths):,} to {max(lengths):,} elements in {len(rows)} rows looked at"
    return (
        f"{told}; {cut} of these are longer than {options.length:,}, and are cut" if cut else told
    )


def _dense(dataset: Dataset) -> str:
    nbytes = dataset.rows * dataset.row_shape[0] * 4
    return (
        f"{dataset.name}: sparse, {dataset.stored_bytes / 1e6:,.1f} MB in the file; its rows are "
        f"written dense, as float32, {nbytes / 1e6:,.1f} MB before they are compressed"
    )


def _check(makes: Mapping[str, Make], options: Options) -> None:
    """Raises `SettingsError` for a setting that nothing needs."""
    if options.size and not any(isinstance(make, Decoded) for make in makes.values()):
        raise SettingsError(f"{written('size')}: none of these datasets holds encoded pictures")
    if options.length is not None and not any(isinstance(make, Filled) for make in makes.values()):
        raise SettingsError(
            f"{written('length')}: none of these datasets has rows of numbers of variable length"
        )
