"""The report on one log, or on two side by side: an HTML page without network, and a picture."""

from __future__ import annotations

import io
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from html import escape
from importlib.resources import files
from pathlib import Path
from string import Template
from typing import TYPE_CHECKING, Any, Final

from prefetcher.errors import SettingsError
from prefetcher.report.charts import CHARTS, LIGHT, Chart, Palette, draw
from prefetcher.report.timeline import Timeline, timeline_of
from prefetcher.verdict.judge import Verdict, judge
from prefetcher.verdict.stretch import Line

if TYPE_CHECKING:
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

_WIDTH_IN = 7.6
_DPI = 130


@dataclass(frozen=True, slots=True)
class Report:
    """One log, read and judged."""

    name: str
    timeline: Timeline
    verdict: Verdict

    def figures(self) -> dict[str, float | None]:
        """The figures that a check may ask for, by name; None where one is not available."""
        main, timeline = self.verdict.main, self.timeline
        stretch = timeline.stretches[-1][1] if timeline.stretches else None
        first = self.verdict.first
        process = timeline.summary.get("process", {})
        return {
            "stall_pct": main and main.stall_pct,
            "first_stall_pct": first and first.stall_pct,
            "samples_per_s": main and main.samples_per_s,
            "gpu_util_pct": stretch and stretch.gpu_util_pct,
            "read_busy_pct": stretch and stretch.read.busy_pct,
            "batch_busy_pct": stretch and stretch.batch.busy_pct,
            "first_batch_s": timeline.summary.get("first_batch_s"),
            "rss_peak_bytes": process.get("rss_peak_bytes"),
            "ceiling_samples_per_s": timeline.ceiling,
        }

    def as_json(self) -> dict[str, Any]:
        """Verdict and figures, for programs."""
        return {"log": self.name, "verdict": asdict(self.verdict), "figures": self.figures()}


def reports(logs: Sequence[tuple[str, Sequence[Line]]]) -> list[Report]:
    """A report for each log; a log of a replay gives the others their ceiling."""
    timelines = [timeline_of(lines) for _, lines in logs]
    ceiling = next((timeline.rate for timeline in timelines if timeline.is_replay), None)
    return [
        Report(
            name,
            timeline if timeline.is_replay else replace(timeline, ceiling=ceiling),
            judge(lines),
        )
        for (name, lines), timeline in zip(logs, timelines, strict=True)
    ]


def page(found: Sequence[Report]) -> str:
    """One HTML page with all reports side by side; it needs no network.

    Raises:
        SettingsError: matplotlib is not installed.
    """
    template = Template(files("prefetcher.report").joinpath("page.html").read_text("utf-8"))
    return template.substitute(
        title=escape("Report on " + " and ".join(report.name for report in found)),
        light=_variables(LIGHT),
        dark=_variables(_DARK),
        width="860px" if len(found) == 1 else "1640px",
        runs="\n".join(_run(report, str(number)) for number, report in enumerate(found)),
    )


def write_png(found: Sequence[Report], path: Path) -> None:
    """Writes headlines and charts as a picture, on white.

    Raises:
        SettingsError: matplotlib is not installed.
        OSError: The file cannot be written.
    """
    picture(found).savefig(path, format="png", dpi=_DPI)


def picture(found: Sequence[Report]) -> Figure:
    """Headlines and charts of all reports side by side, on white.

    Raises:
        SettingsError: matplotlib is not installed.
    """
    heights = [chart.height + 0.75 for chart in CHARTS]
    figure = _figure(_WIDTH_IN * len(found), sum(heights) + 1.2, LIGHT)
    grid = figure.add_gridspec(len(CHARTS) + 1, len(found), height_ratios=[0.6, *heights])
    for column, report in enumerate(found):
        head = figure.add_subplot(grid[0, column])
        head.axis("off")
        text = f"{report.name}\n{_wrapped(report.verdict.headline)}"
        head.text(0, 1, text, va="top", color=LIGHT["ink"], fontsize=11, weight="bold")
        for row, chart in enumerate(CHARTS, start=1):
            ax = figure.add_subplot(grid[row, column])
            draw(chart, ax, report.timeline, LIGHT)
            ax.set_title(chart.title, loc="left", pad=22, color=LIGHT["ink"], fontsize=11)
    return figure


def _run(report: Report, prefix: str) -> str:
    main = report.verdict.main
    level = main.level if main else "idle"
    parts = [
        f"<h1>{escape(report.name)}</h1>",
        f'<section class="headline {level}"><p>{escape(report.verdict.headline)}</p></section>',
        _section("What was found", "", _table(_found(report))),
        *(_chart(chart, report.timeline, prefix) for chart in CHARTS if report.timeline.t_s),
        _section("Machine and settings", "", _table(_machine(report.timeline))),
    ]
    if report.timeline.unavailable:
        why = "Readings that were not available, and why."
        parts.append(_section("Not measured", why, _table(report.timeline.unavailable.items())))
    return "<div>" + "\n".join(parts) + "</div>"


def _section(title: str, note: str, body: str) -> str:
    told = f'<p class="note">{escape(note)}</p>' if note else ""
    return f"<section><h2>{escape(title)}</h2>{told}{body}</section>"


def _table(rows: Iterable[tuple[str, object]]) -> str:
    cells = (
        f"<tr><th>{escape(name)}</th><td>{escape(str(value))}</td></tr>" for name, value in rows
    )
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


def _chart(chart: Chart, timeline: Timeline, prefix: str) -> str:
    figure = _figure(_WIDTH_IN, chart.height, _STAND_INS)
    draw(chart, figure.add_subplot(), timeline, _STAND_INS)
    svg = _svg(figure)
    svg = re.sub(r' (width|height)="[^"]*pt"', "", svg, count=2)
    for name, stand_in in _STAND_INS.items():
        svg = svg.replace(stand_in, f"var(--{name})")
    # Identifiers must differ from those of the page's other drawings.
    own = f"{chart.name}{prefix}-"
    svg = re.sub(r'( id="|href="#|url\(#)', rf"\g<1>{own}", svg)
    return _section(chart.title, chart.note, svg)


def _svg(figure: Figure) -> str:
    """The element alone, its text as text; the same figure gives the same bytes."""
    from matplotlib import rc_context

    out = io.StringIO()
    with rc_context({"svg.fonttype": "none", "svg.hashsalt": "prefetcher"}):
        figure.savefig(out, format="svg", transparent=True, metadata={"Date": None})
    svg = out.getvalue()
    return svg[svg.index("<svg") :]


def _figure(width: float, height: float, colours: Palette) -> Figure:
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise SettingsError(
            "a report's charts need matplotlib: pip install 'prefetcher[report]'. Without it, "
            "--json and --fail-if still work"
        ) from error
    return Figure((width, height), facecolor=colours["panel"], layout="constrained")


def _variables(colours: Mapping[str, str]) -> str:
    return " ".join(f"--{name}: {colour};" for name, colour in colours.items())


def _wrapped(text: str, width: int = 88) -> str:
    lines = [""]
    for word in text.split():
        if len(lines[-1]) + len(word) > width:
            lines.append("")
        lines[-1] += word + " "
    return "\n".join(lines)
