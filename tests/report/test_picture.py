"""The picture: nothing in it is cut off, and two runs can be compared by eye."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers.logs import SETTINGS, Line, log, run_line, stage
from helpers.verdicts import VERDICTS
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.text import Text
from matplotlib.transforms import Bbox

from prefetcher.report import picture as picture_module
from prefetcher.report.charts import CHARTS
from prefetcher.report.picture import picture, write_png
from prefetcher.report.reports import reports

OVER_TIME = ("stall", "queues", "throughput", "bytes")


def drawn(*logs: tuple[str, list[Line]]) -> Figure:
    figure = picture(reports(logs))
    figure.draw_without_rendering()
    return figure


def head(figure: Figure) -> list[Text]:
    """The lines above the charts."""
    return list(figure.subfigs[0].texts)


def charts(figure: Figure) -> list[Axes]:
    """The first column from top to bottom, then the next."""
    return list(figure.subfigs[1].axes)


def texts(figure: Figure) -> list[Text]:
    """All that are shown, of titles, keys and axes too."""
    found = figure.findobj(lambda artist: isinstance(artist, Text) and artist.get_visible())
    return [text for text in found if isinstance(text, Text) and text.get_text()]


def box_of(text: Text) -> Bbox:
    return text.get_window_extent()


def checked(figure: Figure, columns: int = 1) -> None:
    """Every text is inside the picture, the head above the charts and in its own column."""
    for text in texts(figure):
        box = box_of(text)
        assert box.x0 >= -1, text
        assert box.y0 >= -1, text
        assert box.x1 <= figure.bbox.x1 + 1, text
        assert box.y1 <= figure.bbox.y1 + 1, text
    width = figure.bbox.width / columns
    for line in head(figure):
        box = box_of(line)
        assert box.x1 <= (box.x0 // width + 1) * width, line
    lowest = min(box_of(line).y0 for line in head(figure))
    for ax in charts(figure):
        around = ax.get_tightbbox()
        assert around is not None
        assert around.y1 <= lowest, ax.get_title("left")
        assert ax.get_window_extent().width >= 0.7 * width, ax.get_title("left")


@pytest.mark.parametrize("told", VERDICTS)
def test_every_verdict_is_seen_whole(
    told: tuple[str, str, str | None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(picture_module, "CHARTS", CHARTS[:2])  # the others do not depend on it
    figure = drawn(("run.jsonl", VERDICTS[told]))
    checked(figure)
    shown = " ".join(line.get_text() for line in head(figure))
    assert shown == f"run.jsonl {reports([('run.jsonl', VERDICTS[told])])[0].verdict.headline}"


def test_the_longest_headlines_side_by_side_under_names_without_end() -> None:
    every = stage(read=15, hdf5=15, lock=15, decode=15, gather=15, transform=15, cpu=90)
    busy = log(every, every, gpu=[{"index": 0, "util_pct": 40.0}])
    longest = max(VERDICTS.values(), key=lambda lines: len(str(reports([("", lines)])[0].verdict)))
    checked(drawn(("W" * 200 + ".jsonl", longest), ("m_" * 100, busy)), columns=2)


def two_runs() -> Figure:
    slow = log(stage(decode=99, cpu=98), stage(wait_in=98, gather=2), rate=100.0, seconds=20)
    process: Any = {"process": {**slow[1]["process"], "read_requested_bytes": 10**9}}
    run = run_line(settings={**SETTINGS, "readers": 4, "transform": "augment"})
    fast = log(stage(decode=50, cpu=49, rate=3e3), stage(wait_in=98), rate=3e3, run=run, **process)
    return drawn(("slow.jsonl", slow), ("fast.jsonl", fast))


def test_two_runs_are_drawn_on_the_same_scale() -> None:
    drawn_charts = charts(two_runs())
    left, right = drawn_charts[: len(CHARTS)], drawn_charts[len(CHARTS) :]
    for chart, one, other in zip(CHARTS, left, right, strict=True):
        assert (
            one.get_title("left") == other.get_title("left") == (chart.without_gpu or chart.title)
        )
        assert one.get_xlim() == other.get_xlim(), chart.name
        if chart.name in OVER_TIME:
            assert one.get_ylim() == other.get_ylim(), chart.name
            assert one.get_ylim()[1] >= np.max(other.lines[0].get_ydata())
            assert (one.get_xlabel(), other.get_xlabel()) == ("seconds", "seconds")


def test_what_was_set_differently_stands_at_the_top() -> None:
    lines = " ".join(line.get_text() for line in head(two_runs()))
    assert "Set differently here: readers=4" in lines.replace("data from=the file, ", "")
    assert "readers=1" in lines
    assert "batchers" not in lines
    alone = drawn(("run.jsonl", VERDICTS["fine", "training", None]))
    assert not any("differently" in line.get_text() for line in head(alone))


def test_a_name_with_dollars_is_no_mathematics(tmp_path: Path) -> None:
    found = reports([("$a$_$\\frac{$.jsonl", VERDICTS["input-bound", "read", "disk"])])
    write_png(found, tmp_path / "r.png")
    assert (tmp_path / "r.png").read_bytes().startswith(b"\x89PNG")
    assert picture(found).subfigs[0].texts[0].get_text() == "$a$_$\\frac{$.jsonl"
