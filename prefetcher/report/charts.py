"""The report's charts: each draws one question's answer on an axis it is given."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from prefetcher.report.timeline import Timeline
from prefetcher.verdict.stretch import KINDS, Stage

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Palette = Mapping[str, str]
"""A colour for every name in `LIGHT`."""

LIGHT: Final[Palette] = {
    "ink": "#1f2430",
    "muted": "#5d6675",
    "line": "#d5d9e0",
    "panel": "#ffffff",
    "stall": "#d1495b",
    "good": "#8fb8a8",
    "gpu": "#3a7d44",
    "read": "#2e6fbb",
    "hdf5": "#7a5fb5",
    "lock": "#b5408f",
    "decode": "#5aa0e0",
    "gather": "#a5b6cc",
    "transform": "#e08e2b",
    "wait": "#e9ecf1",
    "room": "#cfd5de",
}
"""Colours on white paper; the page has others for the dark."""

_LEGEND_LETTERS: Final = 82  # of size 9 beside each other in a chart
_KEY_LETTERS: Final = 6  # a key and its margins are as wide

Draw = Callable[["Axes", Timeline, Palette], None]


@dataclass(frozen=True, slots=True)
class Chart:
    """One chart: its heading, how to read it, how to draw it, and its height in inches."""

    name: str
    title: str
    note: str
    draw: Draw
    height: float


def _step(ax: Axes, timeline: Timeline, colours: Palette) -> None:
    """A bar for each stretch, as long as its average step."""
    rows = [(name, stretch) for name, stretch in timeline.stretches if stretch.samples_per_s]
    for row, (_, stretch) in enumerate(rows):
        step_ms = 1000 * timeline.batch_size / stretch.samples_per_s
        stall_ms = step_ms * stretch.stall_pct / 100
        ax.barh(row, stall_ms, color=colours["stall"], height=0.6)
        ax.barh(row, step_ms - stall_ms, left=stall_ms, color=colours["good"], height=0.6)
        text = f"{step_ms:.3g} ms, {stretch.stall_pct:.1f} % of it waiting"
        ax.annotate(
            text, (step_ms, row), (6, 0), textcoords="offset points", va="center",
            color=colours["ink"], fontsize=9,
        )  # fmt: skip
    longest = max((1000 * timeline.batch_size / s.samples_per_s for _, s in rows), default=1.0)
    ax.set_xlim(0, 1.55 * longest)  # room for the text behind the longest bar
    _bars(ax, [name for name, _ in rows])
    _keys(ax, [("waiting for data", colours["stall"]), ("training and all else", colours["good"])])
    ax.set_xlabel("milliseconds")


def _stages(ax: Axes, timeline: Timeline, colours: Palette) -> None:
    """A bar of 100 % for each stage of each stretch, split into what its workers did."""
    rows = [
        (f"{label}, {name}", stage)
        for name, stretch in timeline.stretches
        for label, stage in (("readers", stretch.read), ("batchers", stretch.batch))
    ]
    used = [kind for kind in KINDS if any(stage.work_pct.get(kind, 0) >= 0.5 for _, stage in rows)]
    for row, (_, stage) in enumerate(rows):
        left = 0.0
        for width, colour in _pieces(stage, used, colours):
            ax.barh(row, width, left=left, color=colour, height=0.66)
            left += width
    _bars(ax, [name for name, _ in rows])
    kinds = [(kind, colours[kind]) for kind in used]
    waits = [("waits for input", colours["wait"]), ("waits for room", colours["room"])]
    _keys(ax, kinds + waits)
    ax.set_xlim(0, 100)
    ax.set_xlabel("% of the workers' time")


def _pieces(stage: Stage, kinds: Sequence[str], colours: Palette) -> list[tuple[float, str]]:
    work = [(stage.work_pct.get(kind, 0.0), colours[kind]) for kind in kinds]
    unsplit = stage.busy_pct - sum(width for width, _ in work)
    return [
        *work,
        (max(0.0, unsplit), colours["gather"]),
        (stage.wait_in_pct, colours["wait"]),
        (stage.wait_out_pct, colours["room"]),
    ]


def _stall(ax: Axes, timeline: Timeline, colours: Palette) -> None:
    ax.fill_between(
        timeline.t_s, timeline.stall_pct, step="pre", color=colours["stall"], alpha=0.35, lw=0
    )
    ax.plot(timeline.t_s, timeline.stall_pct, color=colours["stall"], label="stall", ds="steps-pre")
    if timeline.has_gpu:
        ax.plot(timeline.t_s, timeline.gpu_util_pct, color=colours["gpu"], label="GPU utilization")
    ax.set_ylim(0, 105)
    ax.set_ylabel("%")
    _over_time(ax, timeline, colours)


def _queues(ax: Axes, timeline: Timeline, colours: Palette) -> None:
    for name, colour in (("chunk", "read"), ("batch", "transform")):
        depths, capacity = timeline.depth_pct[name], timeline.capacity[name]
        label = f"{name} queue (of {capacity})"
        ax.plot(timeline.t_s, depths, color=colours[colour], label=label, ds="steps-pre")
    ax.set_ylim(-3, 105)
    ax.set_ylabel("% full")
    _over_time(ax, timeline, colours)


def _throughput(ax: Axes, timeline: Timeline, colours: Palette) -> None:
    ax.plot(timeline.t_s, timeline.samples_per_s, color=colours["ink"], label="samples taken")
    top = max(timeline.samples_per_s, default=0.0)
    lines = [("readers could", timeline.stage_capacity("read"), "read")]
    lines += [("batchers could", timeline.stage_capacity("batch"), "transform")]
    lines += [("without loading", timeline.ceiling, "gpu")]
    beyond = []
    for label, rate, colour in lines:
        if rate is None:
            continue
        if rate > 4 * top:  # it would press the curve flat
            beyond.append(f"{label} {rate:,.0f}")
            continue
        ax.axhline(rate, color=colours[colour], ls="--", lw=1.3, label=f"{label} {rate:,.0f}")
    for text in beyond:
        ax.plot([], [], " ", label=f"{text}, far above")
    ax.set_ylim(bottom=0)
    ax.margins(y=0.15)
    ax.set_ylabel("samples/s")
    _over_time(ax, timeline, colours)


def _bytes(ax: Axes, timeline: Timeline, colours: Palette) -> None:
    ax.plot(timeline.t_s, timeline.asked_mb_s, color=colours["read"], label="asked for, decoded")
    if timeline.has_storage:
        ax.plot(
            timeline.t_s, timeline.storage_mb_s, color=colours["stall"], label="read from storage"
        )
    ax.set_ylim(bottom=0)
    ax.margins(y=0.15)
    ax.set_ylabel("MB/s")
    ax.set_xlabel("seconds")
    _over_time(ax, timeline, colours)


CHARTS: Final = (
    Chart(
        "step",
        "Where an average step's time went",
        "A step is one batch, from one request to the next.",
        _step,
        1.5,
    ),
    Chart(
        "stages",
        "What the workers did",
        "The stage without waits is what the others wait for.",
        _stages,
        2.1,
    ),
    Chart(
        "stall",
        "Waiting for data, and the GPU",
        "Vertical lines are ends of passes.",
        _stall,
        2.0,
    ),
    Chart(
        "queues",
        "How full the queues were",
        "Full queues wait for training; empty ones only say that nothing is left over.",
        _queues,
        2.0,
    ),
    Chart(
        "throughput",
        "Samples taken, and what each stage could do",
        "A stage's capacity is its rate divided by the share of time it worked.",
        _throughput,
        2.3,
    ),
    Chart(
        "bytes",
        "Bytes asked for, and bytes read from storage",
        "What was asked for and not read from storage came out of the page cache.",
        _bytes,
        2.0,
    ),
)
"""The charts from top to bottom."""


def draw(chart: Chart, ax: Axes, timeline: Timeline, colours: Palette) -> None:
    """Draws `chart` on `ax` in these colours, its frame included."""
    ax.set_facecolor(colours["panel"])
    ax.tick_params(colors=colours["muted"], labelsize=9, length=3)
    for side, spine in ax.spines.items():
        spine.set_color(colours["line"])
        spine.set_visible(side in ("left", "bottom"))
    chart.draw(ax, timeline, colours)
    for label in (ax.xaxis.label, ax.yaxis.label):
        label.set_color(colours["muted"])
        label.set_fontsize(9)
    if (legend := ax.get_legend()) is not None:
        for text in legend.get_texts():
            text.set_color(colours["ink"])


def _over_time(ax: Axes, timeline: Timeline, colours: Palette) -> None:
    for t_s in timeline.marks_s:
        ax.axvline(t_s, color=colours["muted"], lw=0.8, ls=":")
    ax.grid(axis="y", color=colours["line"], lw=0.6)
    ax.set_axisbelow(True)
    ax.set_xlim(0, max(timeline.t_s, default=1.0))
    _legend(ax)


def _bars(ax: Axes, names: Sequence[str]) -> None:
    ax.set_yticks(range(len(names)), names)
    ax.set_ylim(len(names) - 0.5, -0.5)  # the first on top


def _keys(ax: Axes, keys: Sequence[tuple[str, str]]) -> None:
    for label, colour in keys:
        ax.barh(0, 0, color=colour, label=label)
    _legend(ax)


def _legend(ax: Axes) -> None:
    """Above the chart, where it covers nothing; smaller if it would be wider than the chart."""
    labels = ax.get_legend_handles_labels()[1]
    letters = sum(len(label) + _KEY_LETTERS for label in labels)
    ax.legend(
        loc="lower left", bbox_to_anchor=(0, 1), ncols=max(len(labels), 1), frameon=False,
        fontsize=min(9.0, 9.0 * _LEGEND_LETTERS / max(letters, 1)),
        borderaxespad=0.1, handlelength=1.2, columnspacing=1.4,
    )  # fmt: skip
