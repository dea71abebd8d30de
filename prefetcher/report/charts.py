"""The report's charts: each draws one question's answer on an axis it is given."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from prefetcher.report.compare import Scale
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

_LETTER_PT: Final = 5.9  # how wide a letter of size 9 is, on average
_KEY_LETTERS: Final = 6  # a key and its margins are as wide
_NARROW_IN: Final = 5.0  # what is no wider is for a telephone
_BESIDE_IN: Final = 0.9  # for the names and numbers of an axis


@dataclass(frozen=True, slots=True)
class Style:
    """How charts are drawn."""

    colours: Palette
    scale: Scale
    width_in: float
    """Of the chart with all that is beside it."""

    @property
    def narrow(self) -> bool:
        """Whether it is for a telephone."""
        return self.width_in <= _NARROW_IN

    @property
    def width_pt(self) -> float:
        """About how wide the chart itself will be, in points."""
        return 72 * (self.width_in - _BESIDE_IN)


Draw = Callable[["Axes", Timeline, Style], None]


@dataclass(frozen=True, slots=True)
class Chart:
    """One chart: its heading, how to read it, how to draw it, and its height in inches."""

    name: str
    title: str
    note: str
    draw: Draw
    height: float
    taller: float = 0.3
    """Inches more where it is narrow, for the keys that do not fit beside each other."""
    without_gpu: str = ""
    """The heading where no card was seen, if it is another one."""

    def heading(self, timeline: Timeline) -> str:
        """The heading over a run."""
        return self.title if timeline.has_gpu or not self.without_gpu else self.without_gpu


def _step(ax: Axes, timeline: Timeline, style: Style) -> None:
    """A bar for each stretch, as long as its average step."""
    between, letters = ("\n", 21) if style.narrow else (", ", 34)
    for row, (_, step_ms, stall_pct) in enumerate(timeline.steps):
        stall_ms = step_ms * min(stall_pct, 100.0) / 100
        ax.barh(row, stall_ms, color=style.colours["stall"], height=0.6)
        ax.barh(row, step_ms - stall_ms, left=stall_ms, color=style.colours["good"], height=0.6)
        ax.annotate(
            f"{step_ms:.3g} ms{between}{stall_pct:.1f} % of it waiting", (step_ms, row), (6, 0),
            textcoords="offset points", va="center", color=style.colours["ink"], fontsize=9,
        )  # fmt: skip
    beside = (letters * _LETTER_PT + 12) / style.width_pt  # room for a text behind the longest bar
    ax.set_xlim(0, style.scale.step_ms / (1 - min(beside, 0.8)))
    _bars(ax, [name for name, _, _ in timeline.steps])
    _keys(ax, {"waiting for data": "stall", "training and all else": "good"}, style)
    ax.set_xlabel("milliseconds")


def _stages(ax: Axes, timeline: Timeline, style: Style) -> None:
    """A bar of 100 % for each stage of each stretch, split into what its workers did."""
    between = ",\n" if style.narrow else ", "
    rows = [
        (f"{label}{between}{name}", stage)
        for name, stretch in timeline.stretches
        for label, stage in (("readers", stretch.read), ("batchers", stretch.batch))
    ]
    used = [kind for kind in KINDS if any(stage.work_pct.get(kind, 0) >= 0.5 for _, stage in rows)]
    for row, (_, stage) in enumerate(rows):
        left = 0.0
        for width, colour in _pieces(stage, used):
            ax.barh(row, width, left=left, color=style.colours[colour], height=0.66)
            left += width
    _bars(ax, [name for name, _ in rows])
    kinds = {kind: kind for kind in used}
    _keys(ax, kinds | {"waits for input": "wait", "waits for room": "room"}, style)
    ax.set_xlim(0, 100)
    ax.set_xlabel("% of the workers' time")


def _pieces(stage: Stage, kinds: Sequence[str]) -> list[tuple[float, str]]:
    """Widths of a stage's bar, each with the name of its colour."""
    work = [(stage.work_pct.get(kind, 0.0), kind) for kind in kinds]
    unsplit = stage.busy_pct - sum(width for width, _ in work)
    return [
        *work,
        (max(0.0, unsplit), "gather"),
        (stage.wait_in_pct, "wait"),
        (stage.wait_out_pct, "room"),
    ]


def _stall(ax: Axes, timeline: Timeline, style: Style) -> None:
    ax.fill_between(
        timeline.t_s, timeline.stall_pct, step="pre", color=style.colours["stall"], alpha=0.35, lw=0
    )
    ax.plot(
        timeline.t_s,
        timeline.stall_pct,
        color=style.colours["stall"],
        label="stall",
        ds="steps-pre",
    )
    if timeline.has_gpu:
        ax.plot(
            timeline.t_s, timeline.gpu_util_pct, color=style.colours["gpu"], label="GPU utilization"
        )
    ax.set_ylim(0, 105)
    ax.set_ylabel("%")
    _over_time(ax, timeline, style)


def _queues(ax: Axes, timeline: Timeline, style: Style) -> None:
    for name, colour in (("chunk", "read"), ("batch", "transform")):
        depths, capacity = timeline.depth_pct[name], timeline.capacity[name]
        label = f"{name} queue (of {capacity})"
        ax.plot(timeline.t_s, depths, color=style.colours[colour], label=label, ds="steps-pre")
    ax.set_ylim(-3, 105)
    ax.set_ylabel("% full")
    _over_time(ax, timeline, style)


def _throughput(ax: Axes, timeline: Timeline, style: Style) -> None:
    ax.plot(timeline.t_s, timeline.samples_per_s, color=style.colours["ink"], label="samples taken")
    told = {
        "read": ("readers could", "read"),
        "batch": ("batchers could", "transform"),
        "without loading": ("without loading", "gpu"),
    }
    for name, rate in timeline.rates.items():
        label, colour = f"{told[name][0]} {rate:,.0f}", style.colours[told[name][1]]
        if rate <= style.scale.far_samples_per_s:
            ax.axhline(rate, color=colour, ls="--", lw=1.3, label=label)
        else:
            ax.plot([], [], " ", label=f"{label}, far above")
    ax.set_ylim(0, style.scale.samples_per_s)
    ax.set_ylabel("samples/s")
    _over_time(ax, timeline, style)


def _bytes(ax: Axes, timeline: Timeline, style: Style) -> None:
    ax.plot(
        timeline.t_s, timeline.asked_mb_s, color=style.colours["read"], label="asked for, decoded"
    )
    if timeline.has_storage:
        ax.plot(
            timeline.t_s,
            timeline.storage_mb_s,
            color=style.colours["stall"],
            label="read from storage",
        )
    ax.set_ylim(0, style.scale.mb_s)
    ax.set_ylabel("MB/s")
    _over_time(ax, timeline, style)


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
        taller=1.2,
    ),
    Chart(
        "stall",
        "Waiting for data, and the GPU",
        "Vertical lines are ends of passes.",
        _stall,
        2.0,
        without_gpu="Waiting for data",
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


def draw(chart: Chart, ax: Axes, timeline: Timeline, style: Style) -> None:
    """Draws `chart` on `ax` in these colours and to this scale, its frame included."""
    chart.draw(ax, timeline, style)
    frame(ax, style)


def frame(ax: Axes, style: Style) -> None:
    """What all charts have in common around what they show."""
    ax.set_facecolor(style.colours["panel"])
    ax.tick_params(colors=style.colours["muted"], labelsize=9, length=3)
    for side, spine in ax.spines.items():
        spine.set_color(style.colours["line"])
        spine.set_visible(side in ("left", "bottom"))
    for label in (ax.xaxis.label, ax.yaxis.label):
        label.set_color(style.colours["muted"])
        label.set_fontsize(9)
    if (legend := ax.get_legend()) is not None:
        for text in legend.get_texts():
            text.set_color(style.colours["ink"])


def _over_time(ax: Axes, timeline: Timeline, style: Style) -> None:
    for t_s in timeline.marks_s:
        ax.axvline(t_s, color=style.colours["muted"], lw=0.8, ls=":")
    ax.grid(axis="y", color=style.colours["line"], lw=0.6)
    ax.set_axisbelow(True)
    ax.set_xlim(0, style.scale.seconds)
    ax.set_xlabel("seconds")
    _legend(ax, style)


def _bars(ax: Axes, names: Sequence[str]) -> None:
    ax.set_yticks(range(len(names)), names)
    ax.set_ylim(max(len(names), 1) - 0.5, -0.5)  # the first on top


def _keys(ax: Axes, keys: Mapping[str, str], style: Style) -> None:
    for label, colour in keys.items():
        ax.barh(0, 0, color=style.colours[colour], label=label)
    _legend(ax, style)


def _legend(ax: Axes, style: Style) -> None:
    """Above the chart, where it covers nothing."""
    ax.legend(
        loc="lower left", bbox_to_anchor=(0, 1), ncols=_legend_columns(ax, style), frameon=False,
        fontsize=9, borderaxespad=0.1, handlelength=1.2, columnspacing=1.4,
    )  # fmt: skip


def legend_rows(ax: Axes, style: Style) -> int:
    """How many rows of keys there are above a chart that was drawn."""
    return -(-len(_labels(ax)) // _legend_columns(ax, style))


def _legend_columns(ax: Axes, style: Style) -> int:
    """All keys in a row, or as many as fit if that would be wider than the chart."""
    widths = [(len(label) + _KEY_LETTERS) * _LETTER_PT for label in _labels(ax)]
    if sum(widths) <= style.width_pt:
        return max(len(widths), 1)
    return max(int(style.width_pt / max(widths)), 1)


def _labels(ax: Axes) -> list[str]:
    return [str(label) for label in ax.get_legend_handles_labels()[1]]
