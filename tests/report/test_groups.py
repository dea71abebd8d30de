"""Which logs are of ranks of one run, and how a group is shown."""

from __future__ import annotations

import json
import re
from itertools import pairwise
from pathlib import Path

import pytest
from helpers.logs import SETTINGS, Line
from helpers.ranks import behind, fine, rank_log
from matplotlib.axes import Axes

from prefetcher.monitor.ranks import log_of, pattern_of
from prefetcher.order.shard import Shard
from prefetcher.report.charts import CHARTS, LIGHT, Style
from prefetcher.report.compare import Scale
from prefetcher.report.figures import sheet
from prefetcher.report.groups import Group, Judged, judged, runs_of
from prefetcher.report.page import page
from prefetcher.report.picture import picture
from prefetcher.report.rank_rows import Rows, draw_rows, rows_of
from prefetcher.report.reports import Report, reports
from prefetcher.report.timeline import timeline_of


def log(lines: list[Line], name: str = "run.jsonl") -> Judged:
    shard = Shard(**lines[0]["shard"])
    name = log_of(Path(name), shard).name if name == "run.jsonl" else name
    return judged(0, name, pattern_of(name), lines)


def group_of(count: int, leave_out: tuple[int, ...] = ()) -> tuple[Group, list[Report]]:
    """A group, and the reports of the two ranks that are drawn of it."""
    lines = {i: rank_log(i, count, behind) for i in range(count) if i not in leave_out}
    (group,) = runs_of([log(each) for each in lines.values()])
    assert isinstance(group, Group)
    return group, reports([(each.name, lines[each.rank.index]) for each in group.extremes()])


def names(*logs: Judged) -> list[list[str]]:
    """The names of the logs of each run."""
    return [
        [each.name for each in run.members] if isinstance(run, Group) else [run.name]
        for run in runs_of(logs)
    ]


ZERO = log(rank_log(0, 2, fine))
TOGETHER = [["run.0of2.jsonl", "run.1of2.jsonl"]]


def test_ranks_of_one_run_are_a_group_in_order() -> None:
    one = log(rank_log(1, 2, fine, start_s=3))
    assert names(one, ZERO) == names(ZERO, one) == TOGETHER
    (group,) = runs_of([one, ZERO])
    assert group.name == "run.*of2.jsonl"


def test_settings_of_a_process_and_addresses_of_functions_may_differ() -> None:
    settings = rank_log(1, 2, fine)[0]["settings"] | {"readers": 3}
    assert names(ZERO, log(rank_log(1, 2, fine, settings=settings))) == TOGETHER


def test_a_transform_may_know_its_rank() -> None:
    settings = [
        rank_log(index, 2, fine)[0]["settings"]
        | {"transform": f"functools.partial(<function f at 0x{index}abc>, rank={index})"}
        for index in range(2)
    ]
    logs = [log(rank_log(index, 2, fine, settings=settings[index])) for index in range(2)]
    assert names(*logs) == TOGETHER


@pytest.mark.parametrize(
    "other",
    [
        log(rank_log(0, 2, fine), name="again.jsonl"),
        log(rank_log(1, 4, fine)),
        log(rank_log(1, 2, fine, settings=SETTINGS | {"batch_size": 64, "seed": 1})),
        log(rank_log(1, 2, fine, file={"name": "b.h5", "bytes": 9, "datasets": []})),
        log(rank_log(1, 2, fine, start_s=600)),
        log(rank_log(1, 2, fine), "other.1of2.jsonl"),
        log(rank_log(0, 1, fine)),
    ],
    ids=["same rank", "another count", "settings", "file", "time", "name", "alone"],
)
def test_logs_of_other_runs_are_no_part_of_it(other: Judged) -> None:
    assert len(runs_of([ZERO, other])) == 2


def test_renamed_logs_are_found_by_what_they_hold() -> None:
    logs = [log(rank_log(index, 2, fine), f"{index}.jsonl") for index in range(2)]
    (group,) = runs_of(logs)
    assert group.name == "0.jsonl, 1.jsonl"


def test_one_process_alone_is_no_group() -> None:
    (run,) = runs_of([log(rank_log(0, 1, fine))])
    assert isinstance(run, Judged)


def test_a_rank_alone_is_a_group_that_lacks_the_others() -> None:
    (run,) = runs_of([ZERO])
    assert isinstance(run, Group)
    assert run.verdict.missing == (1,)


def test_a_step_of_a_rank_is_its_share_of_the_batch() -> None:
    alone, share = (timeline_of(rank_log(0, count, fine)) for count in (1, 4))
    assert (alone.batch_size, share.batch_size) == (32, 32)
    assert share.run["settings"]["batch_size"] == 128
    assert alone.steps == share.steps


def test_the_drawn_ranks_are_the_one_that_waits_most_and_the_one_that_waits_least() -> None:
    group, found = group_of(4)
    assert [report.name for report in found] == ["run.1of4.jsonl", "run.0of4.jsonl"]
    assert group.figures()["stall_pct"] == 40.0
    told = json.loads(json.dumps(group.as_json()))
    assert told["verdict"]["later"]["behind"] == [1]
    assert told["logs"]["3"] == "run.3of4.jsonl"


def test_the_page_has_the_group_above_the_ranks() -> None:
    group, found = group_of(4, leave_out=(3,))
    html = page(found, [group])
    assert html.count("<svg") == 2 * (1 + 2 * len(CHARTS))
    top = html[: html.index("<main>")]
    for words in ("40 % of the time", "What the group lost", "rank 3", "When each rank waited",
                  "29."):  # fmt: skip
        assert words in top
    assert "run.1of4.jsonl" in html[html.index("<main>") :]
    svgs = re.findall(r"<svg.*?</svg>", html, re.DOTALL)
    ids = [set(re.findall(r' id="([^"]+)"', svg)) for svg in svgs]
    assert sum(map(len, ids)) == len(set.union(*ids))
    assert "What the group lost" not in page(found)


def rows_drawn(count: int, width_in: float = 7.6) -> tuple[Rows, Axes]:
    group, found = group_of(count)
    rows = rows_of(group.verdict, group.curves)
    assert rows is not None
    figure = sheet(width_in, rows.height_in, LIGHT)
    ax = figure.add_subplot()
    scale = Scale.of([report.timeline for report in found])
    draw_rows(ax, rows, Style(LIGHT, scale, width_in))
    figure.draw_without_rendering()
    return rows, ax


def test_the_chart_has_the_group_first_and_a_row_for_each_rank() -> None:
    rows, ax = rows_drawn(4)
    assert [row.name for row in rows.rows] == [
        "the group", "rank 0, 1 %", "rank 1, 40 %", "rank 2, 1 %", "rank 3, 1 %",
    ]  # fmt: skip
    assert [label.get_text() for label in ax.get_yticklabels()] == [row.name for row in rows.rows]
    assert rows.rows[0].stall_pct.max() == pytest.approx(40, abs=0.1)
    assert rows.edges_s[-1] == pytest.approx(20)


def test_of_many_ranks_those_that_were_waited_for_have_rows() -> None:
    rows, _ = rows_drawn(30)
    assert [row.name for row in rows.rows] == ["the group", "rank 1, 40 %", "29 others"]
    assert rows.rows[2].stall_pct.max() == pytest.approx(1, abs=0.1)


@pytest.mark.parametrize("width_in", [3.9, 7.6])
def test_nothing_of_the_chart_is_wider_than_its_sheet(width_in: float) -> None:
    _, ax = rows_drawn(8, width_in)
    box = ax.get_tightbbox()
    assert box is not None
    assert box.x0 >= -1
    assert box.x1 <= 72 * width_in * ax.figure.dpi / 72 + 1
    rows = sorted(label.get_window_extent().y0 for label in ax.get_yticklabels())
    gaps = [after - before for before, after in pairwise(rows)]
    assert min(gaps) >= 9


def test_the_picture_has_the_group_above_the_ranks() -> None:
    group, found = group_of(4, leave_out=(3,))
    figure = picture(found, [group])
    figure.draw_without_rendering()
    assert len(figure.subfigs[1].axes) == 1 + 2 * len(CHARTS)
    head = figure.subfigs[0].texts
    told = " ".join(line.get_text() for line in head)
    assert "run.*of4.jsonl The group of 4 ranks waited at least 40 %" in told
    assert "No log of rank 3" in told
    edge = figure.subfigs[0].bbox.y0
    boxes = [line.get_window_extent() for line in head if line.get_text()]
    assert all(box.x1 <= figure.bbox.x1 + 1 and box.y0 >= edge - 1 for box in boxes)


def test_a_group_in_which_nothing_was_measured_is_shown_too() -> None:
    lines = rank_log(0, 2, fine, seconds=0)
    (group,) = runs_of([log(lines)])
    assert isinstance(group, Group)
    found = reports([("run.0of2.jsonl", lines)])
    assert "Nothing was measured" in page(found, [group])
    picture(found, [group])
