"""The report: what it holds, and that its page needs nothing from outside."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from html import escape
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from helpers.logs import SETTINGS, log, run_line, sample_line, stage

from prefetcher.report import page as page_module
from prefetcher.report.charts import CHARTS, LIGHT, Chart, Style, draw
from prefetcher.report.compare import Difference, Scale, differences
from prefetcher.report.figures import sheet
from prefetcher.report.page import page
from prefetcher.report.picture import write_png
from prefetcher.report.reports import Report, reports
from prefetcher.report.timeline import timeline_of

FORMS = 2
"""Each chart is drawn for a screen and for a telephone."""
WAITING = stage(wait_in=98, gather=2, cpu=2)
CARD = [{"index": 0, "util_pct": 40.0}]


def bound(**keys: Any) -> Any:
    return log(stage(decode=80, read=20, cpu=98), WAITING, **keys)


@pytest.fixture
def report() -> Report:
    mark = {"v": 1, "kind": "event", "t_s": 5.0, "name": "pass_end", "data": {"pass": 0}}
    return reports([("run.jsonl", [*bound(gpu=CARD), mark])])[0]


def test_the_page_holds_the_headline_and_every_chart(report: Report) -> None:
    html = page([report])
    assert "Training waited 50 % of the time for data" in html
    assert [html.count(f"<h2>{escape(chart.title)}</h2>") for chart in CHARTS] == [1] * len(CHARTS)
    assert html.count("<svg") == FORMS * len(CHARTS)
    assert "no NVIDIA driver" in html
    assert "readers=1 -&gt; 3: estimated +100 %" in html


def test_the_page_needs_no_network(report: Report) -> None:
    """Names of namespaces are no requests; whatever is loaded would be in src, href or url()."""
    html = page([report])
    assert not re.search(r"<(script|link|img|iframe)\b|@import", html)
    assert all(target.startswith("#") for target in re.findall(r'(?:src|href)="([^"]*)"', html))
    assert all(target.startswith("#") for target in re.findall(r"url\(([^)]*)\)", html))


def test_colours_follow_light_and_dark(report: Report) -> None:
    for svg in re.findall(r"<svg.*?</svg>", page([report]), re.DOTALL):
        assert set(re.findall(r"(?:fill|stroke): ([^;\"]+)", svg)) <= {
            "none", *re.findall(r"var\(--\w+\)", svg), "#ffffff", "#000000",
        }  # fmt: skip
        assert "var(--ink)" in svg


def test_identifiers_of_the_drawings_differ(report: Report) -> None:
    drawn = re.findall(r"<svg.*?</svg>", page([report, report]), re.DOTALL)
    names = [set(re.findall(r' id="([^"]+)"', svg)) for svg in drawn]
    assert sum(map(len, names)) == len(set.union(*names))
    for svg, own in zip(drawn, names, strict=True):
        ET.fromstring(svg)
        assert set(re.findall(r'(?:url\(|href=")#([^)"]+)', svg)) <= own


def test_what_a_log_holds_cannot_become_markup() -> None:
    lines = bound(run=run_line(host="<script>alert(1)</script>"))
    assert "<script" not in page(reports([("<b>.jsonl", lines)]))


def test_two_logs_stand_side_by_side_and_a_replay_is_the_ceiling(tmp_path: Path) -> None:
    settings = SETTINGS | {"replay": 32}
    replay = log(
        stage(workers=0), stage(workers=0), stall=0.0, rate=1600.0, run=run_line(settings=settings)
    )
    found = reports([("run.jsonl", bound()), ("replay.jsonl", replay)])
    assert [report.timeline.ceiling for report in found] == [1600.0, None]
    html = page(found)
    assert "fed from memory it takes 1,600 samples/s: this is 62%" in html
    assert html.count("<svg") == 2 * FORMS * len(CHARTS)
    write_png(found, tmp_path / "two.png")
    assert (tmp_path / "two.png").read_bytes().startswith(b"\x89PNG")


def test_a_log_without_samples_still_makes_a_page() -> None:
    html = page(reports([("run.jsonl", [run_line()])]))
    assert "Nothing was measured" in html
    assert "<svg" not in html


def test_what_was_not_available_is_no_curve() -> None:
    process = {"cpu_pct": None, "read_storage_bytes": None, "read_requested_bytes": 10}
    timeline = timeline_of(bound(process=process))
    assert not timeline.has_gpu
    assert not timeline.has_storage
    assert page(reports([("run.jsonl", bound(process=process))])).count("<svg") == FORMS * len(
        CHARTS
    )


def test_marks_of_epochs_go_before_ends_of_passes() -> None:
    def event(name: str, t_s: float) -> dict[str, Any]:
        return {"v": 1, "kind": "event", "name": name, "t_s": t_s, "data": {}}

    lines = [*bound(), event("pass_end", 3.0)]
    assert timeline_of(lines).marks_s == [3.0]
    assert timeline_of([*lines, event("epoch_end", 4.0)]).marks_s == [4.0]


def test_decisions_of_auto_are_told() -> None:
    data = {"action": "try", "readers": 2, "batchers": 1, "why": "the readers are the limit"}
    tune = {"v": 1, "kind": "event", "name": "tune", "t_s": 7.0, "data": data}
    html = page(reports([("run.jsonl", [*bound(), tune])]))
    assert "<th>auto, 7 s</th>" in html
    assert "try: readers=2, batchers=1, because the readers are the limit" in html


@pytest.mark.parametrize("width_in", [3.9, 7.6])
@pytest.mark.parametrize("chart", CHARTS, ids=lambda chart: chart.name)
def test_nothing_of_a_chart_is_wider_than_its_sheet(chart: Chart, width_in: float) -> None:
    """Keys, names of rows and what stands behind a bar, on a screen and on a telephone."""
    every = stage(read=15, hdf5=15, lock=15, decode=15, gather=15, transform=15, cpu=90)
    lines = log(every, every, gpu=CARD, stall=100.0)
    lines += [sample_line(11.0 + t, every, every, gpu=CARD, **{"pass": 1}) for t in range(5)]
    timeline = timeline_of(lines)
    height = chart.height + (chart.taller if width_in < 5 else 0)
    figure = sheet(width_in, height, LIGHT)
    ax = figure.add_subplot()
    draw(chart, ax, timeline, Style(LIGHT, Scale.of([timeline]), width_in))
    figure.draw_without_rendering()
    box = ax.get_tightbbox()
    assert box is not None
    assert box.x0 >= -1
    assert box.x1 <= figure.bbox.x1 + 1
    assert box.y1 <= figure.bbox.y1 + 1
    assert ax.get_window_extent().height >= 0.2 * figure.bbox.height
    rows = sorted(label.get_window_extent().y0 for label in ax.get_yticklabels())
    assert all(after - before >= 9 for before, after in pairwise(rows)), "names of rows overlap"


def test_on_a_telephone_letters_are_large_enough_to_read(report: Report) -> None:
    """A page of 400 px leaves 358 to a drawing, whose letters are of 9 points."""
    html = page([report])
    narrow = re.findall(r'<div class="narrow"><svg[^>]*viewBox="0 0 ([\d.]+) ', html)
    assert len(narrow) == len(CHARTS)
    for width_pt in map(float, narrow):
        assert 9 * 358 / width_pt >= 11
    assert "@media (max-width: 620px)" in html


@pytest.mark.parametrize(("gpu", "heading"), [(CARD, "Waiting for data, and the GPU"), (None, "")])
def test_a_gpu_is_named_only_where_there_is_one(gpu: Any, heading: str) -> None:
    html = page(reports([("run.jsonl", bound(gpu=gpu))]))
    assert ("and the GPU" in html) == bool(heading)
    assert heading in html


def test_every_axis_of_time_says_seconds(report: Report) -> None:
    for svg in re.findall(r"<svg.*?</svg>", page([report]), re.DOTALL):
        axes = re.findall(r">(seconds|milliseconds|% of the workers' time)<", svg)
        assert len(axes) == 1, svg[:200]


def test_what_was_set_differently_is_named_at_the_top(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(page_module, "CHARTS", ())
    run = run_line(settings=SETTINGS | {"readers": 4}, host="<b>other")
    logs = [("a.jsonl", bound()), ("b.jsonl", bound(run=run))]
    html = page(reports(logs))
    top = html[html.index("What was set differently") : html.index("<main>")]
    assert "<tr><th>readers</th><td>1</td><td>4</td></tr>" in top
    assert "<tr><th>host</th><td>vm</td><td>&lt;b&gt;other</td></tr>" in top
    assert "batchers" not in top
    assert "Nothing: the settings are the same" in page(reports([logs[0], logs[0]]))
    assert "set differently" not in page(reports(logs[:1]))


def test_a_replay_is_told_apart_by_where_its_data_comes_from() -> None:
    replay = run_line(settings={"replay": 32, "batch_size": 1})
    timelines = [timeline_of(bound()), timeline_of(bound(run=replay))]
    assert differences(timelines) == [Difference("data from", ("the file", "memory, 32 batches"))]
    assert differences(timelines[:1]) == []
    long = [run_line(settings={"transform": letter * 90}) for letter in "ab"]
    (found,) = differences([timeline_of(bound(run=run)) for run in long])
    assert [len(value) for value in found.values] == [40, 40]


def test_json_says_the_same(report: Report) -> None:
    result = report.as_json()
    assert result["verdict"]["later"] is None
    assert result["verdict"]["first"]["cause"] == "decoding"
    assert result["figures"]["stall_pct"] == 50.0
    assert result["figures"]["gpu_util_pct"] == 40.0
    assert sample_line(1.0, WAITING, WAITING)["gpu"] is None
