"""Tables of labels: CSV or JSONL, one line for each picture."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from prefetcher.conversion.source import Failure
from prefetcher.conversion.table import Line, read_lines
from prefetcher.errors import FileError, SettingsError
from prefetcher.messages.wording import written

_SHOWN = 40
"""Letters of a value that a message shows."""


@dataclass(frozen=True)
class Table:
    """The labels of pictures, in the order of the table."""

    paths: tuple[str, ...]
    """As the table has them."""
    columns: Mapping[str, NDArray[Any]]
    """For each label column one value for each path; 0 where a line has none."""
    class_names: Mapping[str, tuple[str, ...]]
    """For columns of words: the name of class 0, 1, ..."""
    unusable: Mapping[int, Failure]
    """Lines without a usable value, by their place among the paths."""
    path_col: str
    """The column that the paths are from."""
    others: Mapping[str, str]
    """Of each other column the value in the first line, as text."""


def read_table(path: Path, path_col: str | None, label_cols: Sequence[str]) -> Table:
    """Reads a table whole.

    Args:
        path: Ends in .jsonl or .ndjson for one JSON object a line; anything else is CSV with a
            header. Columns without a name, as indexes have, are left out.
        path_col: The column of paths; None takes the first one.
        label_cols: The columns of labels, each with a dtype behind a colon where the default will
            not do ("angle:float64"); none takes all others.

    Raises:
        FileError: The table cannot be read.
        SettingsError: It has no such column, or a dtype is not numeric.
    """
    lines = read_lines(path)
    if not lines:
        raise FileError(f"{path.name} has no lines")
    known = [name for name in lines[0][1] if name]
    if not known:
        raise FileError(f"{path.name} has no column with a name: write one into its first line")
    path_col = path_col or known[0]
    specs = [_spec(label) for label in label_cols or [c for c in known if c != path_col]]
    for argument, columns in (
        ("path_col", [path_col]),
        ("label_cols", [name for name, _ in specs]),
    ):
        for column in columns:
            if column not in known:
                raise SettingsError(
                    f"{written(argument)}: {path.name} has no column {column!r}; it has "
                    f"{', '.join(known)}"
                )
    read = {name: _column(path.name, lines, name, dtype) for name, dtype in specs}
    unusable = {at: why for column in read.values() for at, why in column.unusable.items()}
    return Table(
        paths=tuple(str(values.get(path_col) or "") for _, values in lines),
        columns={name: column.values for name, column in read.items()},
        class_names={name: column.classes for name, column in read.items() if column.classes},
        unusable=unusable,
        path_col=path_col,
        others={name: str(lines[0][1][name]) for name in known if name != path_col},
    )


def _spec(label: str) -> tuple[str, np.dtype[Any] | None]:
    name, colon, kind = label.partition(":")
    if not colon:
        return name, None
    try:
        dtype = np.dtype(kind)
    except TypeError as error:
        raise SettingsError(f"{label}: {kind!r} is no dtype; write float32, int64, ...") from error
    if dtype.kind not in "iufb":
        raise SettingsError(f"{label}: labels are numbers; write float32, int64, ...")
    return name, dtype


@dataclass(frozen=True)
class _Column:
    values: NDArray[Any]
    classes: tuple[str, ...]
    unusable: Mapping[int, Failure]


def _column(file: str, lines: Sequence[Line], name: str, dtype: np.dtype[Any] | None) -> _Column:
    given = [values.get(name) for _, values in lines]
    numbers = [_number(value) for value in given]
    if dtype is None and any(given) and not any(number is not None for number in numbers):
        return _classes(file, lines, name, [str(value or "") for value in given])
    dtype = dtype or _dtype([number for number in numbers if number is not None])
    array = np.zeros(len(lines), dtype)
    unusable = {}
    for at, number in enumerate(numbers):
        if number is None or not _fits(number, dtype):
            value = given[at]
            why = f"no {name}" if value in (None, "") else f"{name} is {_short(value)}, not {dtype}"
            unusable[at] = Failure(f"line {lines[at][0]} of {file}", why)
        else:
            array[at] = number
    return _Column(array, (), unusable)


def _short(value: object) -> str:
    shown = repr(value)
    return shown if len(shown) <= _SHOWN else f"{shown[:_SHOWN]}... ({len(shown):,} letters)"


def _classes(file: str, lines: Sequence[Line], name: str, words: Sequence[str]) -> _Column:
    classes = tuple(sorted({word for word in words if word}))
    number = {word: code for code, word in enumerate(classes)}
    missing = {
        at: Failure(f"line {lines[at][0]} of {file}", f"no {name}")
        for at, word in enumerate(words)
        if not word
    }
    return _Column(np.array([number.get(word, 0) for word in words], np.int64), classes, missing)


def _number(value: Any) -> float | int | None:
    if isinstance(value, int | float):  # True and False are numbers too
        return value
    if not isinstance(value, str):
        return None
    try:
        return int(value)
    except ValueError:  # also for more digits than Python takes for a whole number
        pass
    try:
        number = float(value)
    except ValueError:
        return None
    # Too large for a float is no infinity, unless that is what it says.
    return None if math.isinf(number) and "inf" not in value.lower() else number


def _dtype(numbers: Sequence[float]) -> np.dtype[Any]:
    """int64 where all are whole numbers, else float32, in which models are trained."""
    return np.dtype(np.int64 if all(isinstance(n, int) for n in numbers) else np.float32)


def _fits(number: float, dtype: np.dtype[Any]) -> bool:
    if dtype.kind == "f":
        largest = float(np.finfo(dtype).max)
        endless = isinstance(number, float) and not math.isfinite(number)
        return endless or abs(number) <= largest
    if isinstance(number, float) and not number.is_integer():
        return False
    low, high = (0, 1) if dtype.kind == "b" else (np.iinfo(dtype).min, np.iinfo(dtype).max)
    return bool(low <= number <= high)
