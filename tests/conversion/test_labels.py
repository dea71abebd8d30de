"""Tables of labels: CSV and JSONL, every numeric type, words, and lines that are wrong."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from prefetcher.conversion.labels import read_table
from prefetcher.errors import FileError, FileMissingError, SettingsError

CSV = "\ufeffcenter, steering, gear,kind\na.png, -0.25, 3,city\n b.png , 1e-3, 4 ,farm\n"


def table(tmp_path: Path, text: str, name: str = "log.csv") -> Path:
    path = tmp_path / name
    path.write_text(text, encoding="utf-8")
    return path


def test_all_columns_by_default(tmp_path: Path) -> None:
    found = read_table(table(tmp_path, CSV), None, ())
    assert found.paths == ("a.png", "b.png")
    assert list(found.columns) == ["steering", "gear", "kind"]
    assert found.columns["steering"].tolist() == pytest.approx([-0.25, 1e-3])
    assert [values.dtype for values in found.columns.values()] == [np.float32, np.int64, np.int64]
    assert found.class_names == {"kind": ("city", "farm")}
    assert not found.unusable


@pytest.mark.parametrize("dtype", ["float64", "float16", "int8", "uint16", "bool"])
def test_a_column_of_any_numeric_type(tmp_path: Path, dtype: str) -> None:
    found = read_table(table(tmp_path, "path,v\na,1\nb,0\n"), "path", [f"v:{dtype}"])
    assert found.columns["v"].dtype == np.dtype(dtype)
    assert found.columns["v"].tolist() == [1, 0]


def test_one_json_object_a_line(tmp_path: Path) -> None:
    lines = '{"p": "a.png", "v": 0.5, "ok": true}\n\n{"ok": false, "v": 2, "p": "b.png"}\n'
    found = read_table(table(tmp_path, lines, "log.jsonl"), "p", ["v", "ok"])
    assert found.paths == ("a.png", "b.png")
    assert found.columns["v"].tolist() == [0.5, 2.0]
    assert found.columns["ok"].tolist() == [1, 0]


def test_a_line_without_a_usable_label_is_told(tmp_path: Path) -> None:
    text = "path,v,w\na,1,9\nb,,9\nc,left,9\nd,2,300\ne,3,1.5\n"
    found = read_table(table(tmp_path, text), None, ["v", "w:uint8"])
    assert {at: (f.name, f.reason) for at, f in found.unusable.items()} == {
        1: ("line 3 of log.csv", "no v"),
        2: ("line 4 of log.csv", "v is 'left', not int64"),
        3: ("line 5 of log.csv", "w is '300', not uint8"),
        4: ("line 6 of log.csv", "w is '1.5', not uint8"),
    }
    assert found.columns["v"][[0, 3, 4]].tolist() == [1, 2, 3]


def test_a_missing_word_is_told(tmp_path: Path) -> None:
    found = read_table(table(tmp_path, "path,kind\na,cat\nb,\n"), None, ())
    assert found.unusable[1].reason == "no kind"


@pytest.mark.parametrize(
    ("name", "text"),
    [("a.jsonl", '{"p": 1'), ("a.jsonl", "[1]"), ("a.csv", "path,v\n"), ("a.csv", "")],
)
def test_what_is_no_table_is_said(tmp_path: Path, name: str, text: str) -> None:
    with pytest.raises(FileError, match=name):
        read_table(table(tmp_path, text, name), None, ())


def test_settings_that_do_not_fit_the_table(tmp_path: Path) -> None:
    path = table(tmp_path, CSV)
    with pytest.raises(SettingsError, match="no column 'left'; it has center, steering"):
        read_table(path, "left", ())
    with pytest.raises(SettingsError, match="no column 'angle'"):
        read_table(path, None, ["angle"])
    with pytest.raises(SettingsError, match="numbers"):
        read_table(path, None, ["gear:S8"])
    with pytest.raises(SettingsError, match="no dtype"):
        read_table(path, None, ["gear:metres"])
    with pytest.raises(FileMissingError):
        read_table(tmp_path / "none.csv", None, ())
    path.write_bytes(b"path,v\n\xff\xfe,1\n")
    with pytest.raises(FileError, match="UTF-8"):
        read_table(path, None, ())


def test_an_index_without_a_name_is_no_label(tmp_path: Path) -> None:
    """As pandas writes one, in front of all columns."""
    text = ",path,v\n0,a.png,5\n1,b.png,6\n"
    for path_col in (None, "path"):
        found = read_table(table(tmp_path, text), path_col, ())
        assert found.paths == ("a.png", "b.png")
        assert {name: values.tolist() for name, values in found.columns.items()} == {"v": [5, 6]}
    with pytest.raises(FileError, match="no column with a name"):
        read_table(table(tmp_path, "\na\n"), None, ())


def test_two_columns_of_one_name_are_refused(tmp_path: Path) -> None:
    with pytest.raises(FileError, match=r"log\.csv has two columns 'v'"):
        read_table(table(tmp_path, "path,v, v\na,1,2\n"), None, ())


@pytest.mark.parametrize("dtype", ["", ":float32", ":float64", ":int64", ":bool"])
@pytest.mark.parametrize("name", ["log.csv", "log.jsonl"])
def test_numbers_that_a_label_cannot_hold(tmp_path: Path, name: str, dtype: str) -> None:
    """They are told, and never turned into infinity or another number."""
    for number in ("9" * 400, "-" + "9" * 400, "1e400"):
        text = f"p,v\na,1\nb,{number}\n"
        if name == "log.jsonl":
            text = f'{{"p": "a", "v": 1}}\n{{"p": "b", "v": {number}}}\n'
        found = read_table(table(tmp_path, text, name), None, [f"v{dtype}"])
        assert list(found.unusable) == [1]
        assert "v is " in found.unusable[1].reason
        assert len(found.unusable[1].reason) < 100
        assert found.columns["v"].tolist() == [1, 0]


def test_a_number_too_large_for_its_float_is_told(tmp_path: Path) -> None:
    found = read_table(table(tmp_path, "p,v\na,1e39\nb,3.4e38\nc,inf\nd,nan\n"), None, ())
    assert list(found.unusable) == [0]
    assert found.columns["v"].tolist()[1:3] == [pytest.approx(3.4e38), float("inf")]


def test_more_digits_than_python_takes(tmp_path: Path) -> None:
    """Python refuses whole numbers of more than 4,300 digits."""
    found = read_table(table(tmp_path, f"p,v\na,1\nb,{'9' * 5000}\n"), None, ())
    assert list(found.unusable) == [1]
    text = f'{{"p": "a", "v": {"9" * 5000}}}\n'
    with pytest.raises(FileError, match=r"line 1 of log\.jsonl is not JSON"):
        read_table(table(tmp_path, text, "log.jsonl"), None, ())


def test_a_field_that_is_too_long_is_told_by_its_line(tmp_path: Path) -> None:
    text = f"path,v\na,1\nb,{'9' * 140_000}\nc,2\n"
    with pytest.raises(FileError, match=r"line 3 of log\.csv: field larger than .*quote"):
        read_table(table(tmp_path, text), None, ())


UNCLOSED = {
    "to the end": 'a,1\n"b,2\nc,3\nd,4\n',
    "in the last line": 'a,1\n"b,2',
    "up to another field in quotes": 'a,1\n"b,2\nc,3\n"d",4\n',
    "up to a stray one": 'a,1\n"b,2\nc,3"\nd,4\n',
    "in a label": 'a,1\nb,"x\nc,"y"\nd,z\n',
    "over more than a field may have": 'a,1\n"b,2\n' + "c,3\n" * 60_000,
}


@pytest.mark.parametrize("kind", UNCLOSED)
def test_a_quote_that_is_never_closed_is_told_by_its_line(tmp_path: Path, kind: str) -> None:
    with pytest.raises(FileError, match=r"line 3 of log\.csv: .*quote"):
        read_table(table(tmp_path, "path,v\n" + UNCLOSED[kind]), None, ())


def test_quotes_that_are_closed_stay(tmp_path: Path) -> None:
    text = 'path,v,w\n"a.png" ,1,"x, y"\nb.png,2,"two\nlines"\nc.png,3,in"side\nd.png,4,"x, y"\n'
    found = read_table(table(tmp_path, text), None, ())
    assert found.paths == ("a.png", "b.png", "c.png", "d.png")
    assert found.class_names["w"] == ('in"side', "two\nlines", "x, y")
    assert found.columns["v"].tolist() == [1, 2, 3, 4]


@pytest.mark.parametrize("letter", ["\u2028", "\x0b", "\x85", "\x1c"])
def test_only_line_ends_end_a_line(tmp_path: Path, letter: str) -> None:
    """Not what Python's splitlines takes for one."""
    found = read_table(table(tmp_path, f"path,v\na{letter}b.png,1\n"), None, ())
    assert found.paths == (f"a{letter}b.png",)
    text = f'{{"path": "a{letter}b", "v": 1}}\n'
    if letter != "\x0b" and letter != "\x1c":  # which JSON does not allow as they are
        found = read_table(table(tmp_path, text, "log.jsonl"), None, ())
        assert found.paths == (f"a{letter}b",)


def test_windows_and_old_line_ends(tmp_path: Path) -> None:
    for end in ("\r\n", "\r"):
        (tmp_path / "log.csv").write_bytes(f"path,v{end}a,1{end}b,2{end}".encode())
        assert read_table(tmp_path / "log.csv", None, ()).columns["v"].tolist() == [1, 2]
