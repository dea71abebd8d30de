"""Many files, measured: a few of them, to see that it works."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench import many_files
from bench.part import Options


def test_figures_become_a_table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(many_files, "QUICK_FILES", 40)
    monkeypatch.setattr(many_files, "DATASETS", 10)
    result = many_files.measure(Options(tmp_path, rounds=1, quick=True))
    assert not result.failed
    assert not result.wrong_rows
    told = many_files.PART.tables(result.data)
    for words in ("one file", "many, by a manifest", "many, by a pattern", "40 files of 40 rows"):
        assert words in told
