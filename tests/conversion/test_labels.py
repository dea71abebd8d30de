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
