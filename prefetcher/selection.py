"""Which samples `rows=` names."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from prefetcher.arguments import Rows, whole_number
from prefetcher.columns.memory import check_unmasked
from prefetcher.errors import RowsError, SettingsError


def samples_of(
    rows: Rows, length: int, file: str, of_rows: int | None = None
) -> range | NDArray[np.int64]:
    """The number of each sample that `rows` names, of `length` samples.

    Args:
        rows: As the user wrote it.
        length: Samples that there are.
        file: For messages.
        of_rows: Rows that the samples are made of, where these are not one each.

    Raises:
        RowsError: A number lies outside of 0 to length - 1, or none is left.
        SettingsError: `rows` is none of the forms it may have.
    """
    each = _Numbered(length, file, of_rows)
    samples = _named_rows(rows, each)
    if len(samples) == 0:
        raise RowsError(f"rows={rows!r} leaves no sample of the {length} {each.kind} of {file}")
    return samples


@dataclass(frozen=True)
class _Numbered:
    """What the numbers of `rows` count."""

    length: int
    file: str
    of_rows: int | None

    @property
    def kind(self) -> str:
        """The word for one of them."""
        return "rows" if self.of_rows is None else "samples"

    @property
    def remedy(self) -> str:
        """What to write where rows are named and samples are meant; "" where both are one."""
        if self.of_rows is None:
            return ""
        return (
            f". rows= counts samples, of which there are {self.length} in {self.of_rows} rows: "
            f"have split and folds deal out those, with rows=(0, {self.length})"
        )


def _named_rows(rows: Rows, numbered: _Numbered) -> range | NDArray[np.int64]:
    length = numbered.length
    if rows is None:
        return range(length)
    if isinstance(rows, slice):
        return range(*rows.indices(length))
    if isinstance(rows, range):
        return _checked_pair(rows, min(rows, default=0), max(rows, default=-1) + 1, numbered)
    if isinstance(rows, list) and len(rows) == 2 and not isinstance(rows[0], bool | np.bool_):
        raise _list_of_two(rows)
    if isinstance(rows, tuple) and len(rows) == 2:
        start, stop = (whole_number("rows", bound) for bound in rows)
        return _checked_pair(range(start, stop), start, stop, numbered)
    given = np.asarray(rows)
    how = "filled(False)" if given.dtype == np.bool_ else "compressed()"
    check_unmasked("rows", rows, f"pass its {how} to leave those out")
    return _checked_indices(given, numbered)


def _list_of_two(rows: list[Any]) -> SettingsError:
    """JSON and YAML have no tuples, so a range that comes from there is a list."""
    first, second = rows
    return SettingsError(
        f"rows=[{first}, {second}] is a list of two: write rows=({first}, {second}) for the range, "
        f"or rows=np.array([{first}, {second}]) for these two samples"
    )


def _checked_pair(samples: range, start: int, stop: int, numbered: _Numbered) -> range:
    if start < 0 or stop > numbered.length:
        raise RowsError(
            f"rows {start} to {stop} of {numbered.file}: it has {numbered.kind} 0 to "
            f"{numbered.length}{numbered.remedy}"
        )
    return samples


def _checked_indices(rows: NDArray[Any], numbered: _Numbered) -> NDArray[np.int64]:
    length, kind = numbered.length, numbered.kind
    if rows.ndim == 1 and rows.dtype == np.bool_ and len(rows) == length:
        return np.flatnonzero(rows)
    if rows.ndim != 1 or (len(rows) and rows.dtype.kind not in "iu"):
        raise SettingsError(
            f"rows is {rows.dtype} of shape {rows.shape}: pass a slice, a (start, stop) pair, "
            f"a one-dimensional array of row numbers, or a mask of {length} booleans, one for each "
            f"of the {kind}{numbered.remedy}"
        )
    outside = np.flatnonzero((rows < 0) | (rows >= length))
    if len(outside):
        at = int(outside[0])
        raise RowsError(
            f"rows[{at}] is {rows[at]}, but {numbered.file} has {kind} 0 to {length - 1} "
            f"({len(outside)} of {len(rows)} are outside){numbered.remedy}"
        )
    return rows.astype(np.int64)
