"""The lines of a table as mappings, each with its number; what is damaged is told by its line."""

from __future__ import annotations

import csv
import json
import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from io import StringIO
from pathlib import Path
from typing import Any

from prefetcher.conversion.files import open_regular
from prefetcher.errors import FileError

Line = tuple[int, Mapping[str, Any]]
"""The number of a line in the file, and its values by column."""

_JSON = (".jsonl", ".ndjson")


def read_lines(path: Path) -> list[Line]:
    """Reads a table whole: JSON by the file's ending, else CSV with a header.

    Raises:
        FileError: It is missing, no regular file, no UTF-8 text, or no table.
    """
    with open_regular(path) as file:
        content = file.read()
    try:
        text = content.decode("utf-8-sig")  # Excel writes a mark at the beginning
    except UnicodeDecodeError as error:
        raise FileError(f"{path.name} is not UTF-8 text: {error}") from error
    is_json = path.suffix.lower() in _JSON
    return list(_json_lines(path.name, text) if is_json else _csv_lines(path.name, text))


def _json_lines(name: str, text: str) -> Iterator[Line]:
    for number, line in enumerate(StringIO(text), 1):
        if not line.strip():
            continue
        try:
            values = json.loads(line, parse_float=_float)
        except ValueError as error:
            raise FileError(f"line {number} of {name} is not JSON: {error}") from error
        except RecursionError as error:
            raise FileError(f"line {number} of {name} is nested too deep") from error
        if not isinstance(values, dict):
            raise FileError(f"line {number} of {name} is not a JSON object")
        yield number, values


def _float(text: str) -> float | str:
    """A number, or the text where it would become infinity."""
    number = float(text)
    return number if math.isfinite(number) else text


def _csv_lines(name: str, text: str) -> Iterator[Line]:
    records = _records(name, text)
    _, header = next(records, (1, []))
    columns = [column.strip() for column in header]
    twice = [column for column, count in Counter(filter(None, columns)).items() if count > 1]
    if twice:
        raise FileError(f"{name} has two columns {twice[0]!r}: rename one of them")
    for number, fields in records:
        if fields:
            values = (field.strip() for field in fields)
            yield number, dict.fromkeys(columns, "") | dict(zip(columns, values, strict=False))


def _records(name: str, text: str) -> Iterator[tuple[int, list[str]]]:
    """Yields the fields of each record, and the number of the line on which it begins."""
    lines = list(StringIO(text, newline=""))
    # Spaces behind the commas are common in logs, and never meant.
    reader = csv.reader(iter(lines), skipinitialspace=True)
    width = None
    while (begin := reader.line_num) < len(lines):
        try:
            fields = next(reader)
        except csv.Error as error:
            raise FileError(
                f"line {begin + 1} of {name}: {error}. Is a quote not closed there?"
            ) from error
        width = width or len(fields)
        if _is_open(lines[begin : reader.line_num], last=reader.line_num == len(lines)) or (
            reader.line_num > begin + 1 and len(fields) != width
        ):
            raise FileError(
                f"line {begin + 1} of {name}: a quote that begins there is not closed, and takes "
                f"in all up to line {reader.line_num}: close it, or remove it"
            )
        yield begin + 1, fields


def _is_open(lines: Sequence[str], *, last: bool) -> bool:
    """Whether a record ends within quotes, or in quotes that another field's have closed."""
    if len(lines) == 1 and not last:
        return False
    try:
        list(csv.reader(lines, skipinitialspace=True, strict=True))
    except csv.Error as error:
        return len(lines) > 1 or "unexpected end" in str(error)
    return False
