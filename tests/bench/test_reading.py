"""What is made of the runs: ratios of neighbours, cold files, and a plot that tells a failure."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from matplotlib.figure import Figure

from bench import plot, reading, reading_page
from bench.files import kinds, make
from bench.passes import read
from bench.systems import ARTICLE, OURS_2


def run(*seconds: float) -> dict[str, Any]:
    return {"seconds": [1.0, *seconds], "nbytes": 10**9}


def test_a_ratio_pairs_runs_of_the_same_round() -> None:
    runs = {OURS_2: [run(1), run(10), run(1)], ARTICLE: [run(2), run(20), run(2)]}
    assert reading._ratio(runs, OURS_2, ARTICLE) == {"first_pass": 1, "later": 2}


def test_a_cold_reading_gives_the_same_rows(tmp_path: Path) -> None:
    path = make(tmp_path, kinds()[0], 136)
    reading._drop_from_cache(path)
    assert read("article", str(path), 136, passes=1, chunk_size=64)["problem"] is None


def test_a_system_that_failed_is_not_drawn_as_a_zero(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn: list[str] = []

    def note(figure: Figure, folder: Path, stem: str) -> Path:
        drawn.extend(text.get_text() for axes in figure.axes for text in axes.texts)
        return folder / stem

    monkeypatch.setattr(plot, "kept", note)

    def row(file: str, *systems: str) -> dict[str, Any]:
        found = {name: {"gb_per_s": 2.0} for name in systems}
        return {"file": file, "systems": found, "limits": {"preadv, 1": {"gb_per_s": 4.0}}}

    data = {"files": [row("contiguous", OURS_2, ARTICLE), row("lz4", OURS_2)]}
    reading_page.plots(data, tmp_path, "run")
    assert sorted(map(str.strip, drawn)) == ["2.00", "2.00", "2.00", "failed"]
