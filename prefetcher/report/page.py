"""The report as one HTML page, for one log or for two side by side. It needs no network."""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from html import escape
from importlib.resources import files
from string import Template
from typing import TYPE_CHECKING, Final

from prefetcher.messages.text import visible
from prefetcher.report.charts import CHARTS, LIGHT, Chart, Palette, Style, draw
from prefetcher.report.compare import Scale, differences
from prefetcher.report.figures import sheet
from prefetcher.report.groups import Group
from prefetcher.report.rank_rows import NOTE, TITLE, Rows, draw_rows, rows_of
from prefetcher.report.reports import Report
from prefetcher.report.timeline import Timeline
from prefetcher.verdict.group import ranks_told
from prefetcher.verdict.waits import RankWaits

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_DARK: Final[Palette] = {
    **LIGHT,
    "ink": "#e6e9ee",
    "muted": "#9aa4b2",
    "line": "#353c47",
    "panel": "#1d2128",
    "good": "#4f8573",
    "gpu": "#6cc07a",
    "read": "#5b9be6",
    "decode": "#8cc4f2",
    "hdf5": "#a78be0",
    "gather": "#71829b",
    "wait": "#313945",
    "room": "#535e6d",
}

# In the page every colour is a variable, so that one drawing serves light and dark: it is drawn in
# colours that stand for the names, which are then put in their place.
_STAND_INS: Final[Palette] = {name: f"#0101{i:02x}" for i, name in enumerate(LIGHT)}

_WIDTHS_IN: Final = {"wide": 7.6, "narrow": 3.9}
"""Each chart is drawn for a screen and for a telephone, where letters would shrink to nothing."""


def page(found: Sequence[Report], groups: Sequence[Group] = ()) -> str:
    """One HTML page with all reports side by side; it needs no network.

    Args:
        found: The logs that are shown, of a group some of its ranks' only.
        groups: What is said of several ranks together, above those.

    Raises:
        SettingsError: matplotlib is not installed.
    """
    template = Template(files("prefetcher.report").joinpath("page.html").read_text("utf-8"))
    scale = Scale.of([report.timeline for report in found])
    return template.substitute(
        title=_text("Report on " + " and ".join(each.name for each in groups or found)),
        light=_variables(LIGHT),
        dark=_variables(_DARK),
        width="860px" if len(found) == 1 else "1640px",
        groups="\n".join(_group(group, f"g{n}", scale) for n, group in enumerate(groups)),
        differences=_differences(found),
        runs="\n".join(_run(report, str(number), scale) for number, report in enumerate(found)),
    )


def _group(group: Group, prefix: str, scale: Scale) -> str:
    """What all ranks lost, and to which of them."""
    rows = rows_of(group.verdict, group.curves)
    told = [_section("What the group lost", "", _table(_lost(group)))]
    chart = "" if rows is None else _ranks(rows, prefix, scale)
    return (
        f'<h1>{_text(group.name)}</h1><section class="headline {group.verdict.level}">'
        f"<p>{_text(group.verdict.headline)}</p></section>"
        f'<div class="beside">{"".join(told)}{chart}</div>'
    )


def _lost(group: Group) -> Iterator[tuple[str, object]]:
    """What was lost in each stretch, the ranks that it was lost to, and the logs that lack."""
    verdict = group.verdict
    for finding in (verdict.first, verdict.later):
        if finding is not None:
            yield (
                finding.stretch,
                (
                    f"lost {finding.lost_pct:.1f} % of {finding.seconds:.0f} s, "
                    f"{finding.uneven_pct:.1f} % to unevenness: ranks waited "
                    f"{finding.fastest.stall_pct:.1f} to {_most(finding.ranks):.1f} %, "
                    f"{finding.mean_pct:.1f} % on average; {finding.samples_per_s:,.0f} samples/s "
                    "together"
                ),
            )
    if verdict.why:
        yield "because", verdict.why
    if verdict.missing:
        yield "no log", f"of {ranks_told(verdict.missing)}: more may have been lost"
    if verdict.ended_early:
        yield "ended early", f"the log of {ranks_told(verdict.ended_early)}"
    if verdict.upper_bound:
        yield "bound", "TensorFlow asks ahead of training, which waited at most this long"


def _most(ranks: Sequence[RankWaits]) -> float:
    return max(rank.stall_pct for rank in ranks)


def _ranks(rows: Rows, prefix: str, scale: Scale) -> str:
    """The chart of the ranks, for a screen and for a telephone."""

    def draw_them(ax: Axes, style: Style) -> None:
        draw_rows(ax, rows, style)

    drawn = (
        _drawn(draw_them, form, rows.height_in, f"ranks{prefix}{form}-", scale)
        for form in _WIDTHS_IN
    )
    return _section(TITLE, NOTE, "".join(drawn))


def _differences(found: Sequence[Report]) -> str:
    """What was set differently, by run; nothing for a single one."""
    if len(found) < 2:
        return ""
    different = differences([report.timeline for report in found])
    if not different:
        return _section("What was set differently", "Nothing: the settings are the same.", "")
    head = "".join(f"<th>{_text(report.name)}</th>" for report in found)
    rows = "".join(
        f"<tr><th>{_text(each.name)}</th>"
        + "".join(f"<td>{_text(value)}</td>" for value in each.values)
        + "</tr>"
        for each in different
    )
    table = f'<table class="side"><tr><th></th>{head}</tr>{rows}</table>'
    return _section("What was set differently", "", table)


def _run(report: Report, prefix: str, scale: Scale) -> str:
    main = report.verdict.main
    level = main.level if main else "idle"
    parts = [
        f"<h1>{_text(report.name)}</h1>",
        f'<section class="headline {level}"><p>{_text(report.verdict.headline)}</p></section>',
        _section("What was found", "", _table(_found(report))),
        *(_chart(chart, report.timeline, prefix, scale) for chart in CHARTS if report.timeline.t_s),
        _section("Machine and settings", "", _table(_machine(report.timeline))),
    ]
    if report.timeline.unavailable:
        why = "Readings that were not available, and why."
        parts.append(_section("Not measured", why, _table(report.timeline.unavailable.items())))
    return "<div>" + "\n".join(parts) + "</div>"


def _section(title: str, note: str, body: str) -> str:
    told = f'<p class="note">{_text(note)}</p>' if note else ""
    return f"<section><h2>{_text(title)}</h2>{told}{body}</section>"


def _text(text: object) -> str:
    return escape(visible(text))


def _table(rows: Iterable[tuple[str, object]]) -> str:
    cells = (f"<tr><th>{_text(name)}</th><td>{_text(value)}</td></tr>" for name, value in rows)
    return "<table>" + "".join(cells) + "</table>"


def _found(report: Report) -> Iterator[tuple[str, object]]:
    for finding in (report.verdict.first, report.verdict.later):
        if finding is None:
            continue
        cause = f"limited by {finding.limit} ({finding.cause})" if finding.cause else finding.level
        yield (
            finding.stretch,
            (
                f"waited {finding.stall_pct:.1f} % of {finding.seconds:.0f} s, "
                f"{finding.samples_per_s:,.0f} samples/s: {cause}; {finding.why} "
                f"(confidence: {finding.confidence})"
            ),
        )
        if finding.advice:
            yield "change", finding.advice
    if report.verdict.upper_bound:
        yield "bound", "TensorFlow asks ahead of training, which waited at most this long"
    for note in report.verdict.notes:
        yield "note", note
    timeline = report.timeline
    for t_s, data in timeline.decisions:
        threads = f"readers={data['readers']}, batchers={data['batchers']}"
        yield f"auto, {t_s:.0f} s", f"{data['action']}: {threads}, because {data['why']}"
    if timeline.ceiling and timeline.rate:
        part = timeline.rate / timeline.ceiling
        yield (
            "ceiling",
            f"fed from memory it takes {timeline.ceiling:,.0f} samples/s: this is {part:.0%}",
        )


def _machine(timeline: Timeline) -> Iterator[tuple[str, object]]:
    run, summary = timeline.run, timeline.summary
    for name in ("time", "host", "backend", "version"):
        if name in run:
            yield name, run[name]
    cpus = run.get("cpus_allowed") or {}
    yield "CPUs", f"{cpus.get('affinity')} by affinity, quota {cpus.get('quota') or 'none'}"
    yield "GPU", ", ".join(str(card["name"]) for card in run.get("gpu") or ()) or "none"
    file = run.get("file") or {}
    if file:
        yield "file", f"{file.get('name')}, {(file.get('bytes') or 0) / 1e6:,.0f} MB"
        yield "datasets", "; ".join(file.get("datasets") or ())
    settings = run.get("settings") or {}
    yield "settings", ", ".join(f"{name}={value!r}" for name, value in settings.items())
    if timeline.cost_ms is not None:
        share = summary.get("monitor", {}).get("cpu_pct")
        all_of_it = f", {share} % of one core" if share is not None else ""
        yield "the monitor itself", f"{timeline.cost_ms:.2f} ms of CPU for a sample{all_of_it}"
    if summary.get("events"):
        yield "events", ", ".join(f"{name} {count}" for name, count in summary["events"].items())


def _chart(chart: Chart, timeline: Timeline, prefix: str, scale: Scale) -> str:
    drawn = (_drawing(chart, timeline, prefix, scale, form) for form in _WIDTHS_IN)
    return _section(chart.heading(timeline), chart.note, "".join(drawn))


def _drawing(chart: Chart, timeline: Timeline, prefix: str, scale: Scale, form: str) -> str:
    """The chart for a screen or for a telephone; the page's style shows one of them."""
    height = chart.height + (chart.taller if form == "narrow" else 0.0)

    def draw_it(ax: Axes, style: Style) -> None:
        draw(chart, ax, timeline, style)

    return _drawn(draw_it, form, height, f"{chart.name}{prefix}{form}-", scale)


def _drawn(
    drawing: Callable[[Axes, Style], None], form: str, height: float, own: str, scale: Scale
) -> str:
    """A drawing of that height; `own` begins its identifiers, which no other drawing has."""
    figure = sheet(_WIDTHS_IN[form], height, _STAND_INS)
    drawing(figure.add_subplot(), Style(_STAND_INS, scale, _WIDTHS_IN[form]))
    svg = _svg(figure)
    svg = re.sub(r' (width|height)="[^"]*pt"', "", svg, count=2)
    for name, stand_in in _STAND_INS.items():
        svg = svg.replace(stand_in, f"var(--{name})")
    svg = re.sub(r'( id="|href="#|url\(#)', rf"\g<1>{own}", svg)
    return f'<div class="{form}">{svg}</div>'


def _svg(figure: Figure) -> str:
    """The element alone, its text as text; the same figure gives the same bytes."""
    from matplotlib import rc_context

    out = io.StringIO()
    with rc_context({"svg.fonttype": "none", "svg.hashsalt": "prefetcher"}):
        figure.savefig(out, format="svg", transparent=True, metadata={"Date": None})
    svg = out.getvalue()
    return svg[svg.index("<svg") :]


def _variables(colours: Mapping[str, str]) -> str:
    return " ".join(f"--{name}: {colour};" for name, colour in colours.items())
