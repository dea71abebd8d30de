"""Tables of labels: CSV or JSONL, one line for each picture."""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from prefetcher.conversion.source import Failure
from prefetcher.errors import FileError, FileMissingError, SettingsError

Line = tuple[int, Mapping[str, Any]]
"""The number of a line in the file, and its values by column."""


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


def read_table(path: Path, path_col: str | None, label_cols: Sequence[str]) -> Table:
    """Reads a table whole.

    Args:
        path: Ends in .jsonl or .ndjson for one JSON object a line; anything else is CSV with a
            header.
        path_col: The column of paths; None takes the first one.
        label_cols: The columns of labels, each with a dtype behind a colon where the default will
            not do ("angle:float64"); none takes all others.

    Raises:
        FileError: The table cannot be read.
        SettingsError: It has no such column, or a dtype is not numeric.
    """
    lines = _lines(path)
    if not lines:
        raise FileError(f"{path.name} has no lines")
    known = list(lines[0][1])
    path_col = path_col or known[0]
    specs = [_spec(label) for label in label_cols or [c for c in known if c != path_col]]
    for column in (path_col, *(name for name, _ in specs)):
        if column not in known:
            raise SettingsError(f"{path.name} has no column {column!r}; it has {', '.join(known)}")
    read = {name: _column(path.name, lines, name, dtype) for name, dtype in specs}
    unusable = {at: why for column in read.values() for at, why in column.unusable.items()}
    return Table(
        paths=tuple(str(values.get(path_col) or "") for _, values in lines),
        columns={name: column.values for name, column in read.items()},
        class_names={name: column.classes for name, column in read.items() if column.classes},
        unusable=unusable,
    )


def _lines(path: Path) -> list[Line]:
    try:
        text = path.read_text(encoding="utf-8-sig")  # Excel writes a mark at the beginning
    except FileNotFoundError as error:
        raise FileMissingError(f"there is no file {path}: check the path") from error
    except UnicodeDecodeError as error:
        raise FileError(f"{path.name} is not UTF-8 text: {error}") from error
    is_json = path.suffix.lower() in (".jsonl", ".ndjson")
    return list(_json_lines(path.name, text) if is_json else _csv_lines(text))


def _json_lines(name: str, text: str) -> Iterator[Line]:
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip():
            continue
        try:
            values = json.loads(line)
        except ValueError as error:
            raise FileError(f"line {number} of {name} is not JSON: {error}") from error
        if not isinstance(values, dict):
            raise FileError(f"line {number} of {name} is not a JSON object")
        yield number, values


def _csv_lines(text: str) -> Iterator[Line]:
    # Spaces behind the commas are common in logs, and never meant.
    reader = csv.DictReader(text.splitlines(), skipinitialspace=True)
    for values in reader:
        stripped = {
            (key or "").strip(): (value or "").strip()
            for key, value in values.items()
            if isinstance(value, str | None)
        }
        yield reader.line_num, stripped


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
            why = f"{name} is {value!r}, not {dtype}" if value not in (None, "") else f"no {name}"
            unusable[at] = Failure(f"line {lines[at][0]} of {file}", why)
        else:
            array[at] = number
    return _Column(array, (), unusable)


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
    for kind in (int, float):
        try:
            return kind(value)
        except ValueError:
            continue
    return None


def _dtype(numbers: Sequence[float]) -> np.dtype[Any]:
    """int64 where all are whole numbers, else float32, in which models are trained."""
    return np.dtype(np.int64 if all(isinstance(n, int) for n in numbers) else np.float32)


def _fits(number: float, dtype: np.dtype[Any]) -> bool:
    if dtype.kind == "f":
        return True
    if not math.isfinite(number) or number != int(number):
        return False
    low, high = (0, 1) if dtype.kind == "b" else (np.iinfo(dtype).min, np.iinfo(dtype).max)
    return bool(low <= number <= high)
