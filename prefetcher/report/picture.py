"""The report as one picture, on white: what goes into a message or a talk."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

from prefetcher.messages.text import visible
from prefetcher.report.charts import CHARTS, LIGHT, Style, draw, legend_rows
from prefetcher.report.compare import Scale, differences
from prefetcher.report.figures import sheet
from prefetcher.report.groups import Group
from prefetcher.report.rank_rows import TITLE, draw_rows, rows_of
from prefetcher.report.reports import Report
from prefetcher.verdict.group import ranks_told

if TYPE_CHECKING:
    from matplotlib.figure import Figure, SubFigure

_WIDTH_IN: Final = 7.6
_MARGIN_IN: Final = 0.15
_DPI: Final = 130
_SIZE: Final = 11  # of the letters in a head
_LINE_IN: Final = 0.2  # of a head, from line to line
_KEYS_PT: Final = 14.0  # a row of keys between a chart and its title
_TITLE_IN: Final = 0.85  # above a chart, for its title and legend


def write_png(found: Sequence[Report], path: Path, groups: Sequence[Group] = ()) -> None:
    """Writes headlines and charts as a picture, on white.

    Args:
        found: The logs that are shown, of a group some of its ranks' only.
        path: Where the picture goes.
        groups: What is said of several ranks together, above those.

    Raises:
        SettingsError: matplotlib is not installed.
        OSError: The file cannot be written.
    """
    picture(found, groups).savefig(path, format="png", dpi=_DPI)


def picture(found: Sequence[Report], groups: Sequence[Group] = ()) -> Figure:
    """Headlines and charts of all reports side by side, on white; above them those of groups.

    Raises:
        SettingsError: matplotlib is not installed.
    """
    drawn = ((group.name, rows_of(group.verdict, group.curves)) for group in groups)
    of_groups = [(name, rows) for name, rows in drawn if rows is not None]
    heights = [rows.height_in + _TITLE_IN for _, rows in of_groups]
    heights += [chart.height + _TITLE_IN for chart in CHARTS]
    width, below = _WIDTH_IN * len(found), sum(heights)
    figure = sheet(width, below, LIGHT)  # first of all it has to be there
    above = [line for group in groups for line in _group_head(group, width)]
    heads = [list(_head(found, column)) for column in range(len(found))]
    head_in = _LINE_IN * (len(above) + max(map(len, heads))) + 2 * _MARGIN_IN
    figure.set_size_inches(width, head_in + below)
    # The layout of the charts sees nothing of the head, or a long one would squeeze them.
    top, bottom = figure.subfigures(2, 1, squeeze=False, height_ratios=[head_in, below])[:, 0]
    _write_head(top, head_in, _MARGIN_IN / width, above)
    for column, lines in enumerate(heads):
        left = (column * _WIDTH_IN + _MARGIN_IN) / width
        _write_head(top, head_in, left, lines, below=len(above))
    grid = bottom.add_gridspec(len(heights), len(found), height_ratios=heights)
    scale = Scale.of([report.timeline for report in found])
    for row, (name, rows) in enumerate(of_groups):
        ax = bottom.add_subplot(grid[row, :])
        draw_rows(ax, rows, Style(LIGHT, scale, width))
        title = TITLE if len(of_groups) == 1 else f"{TITLE}: {visible(name)}"
        ax.set_title(title, loc="left", color=LIGHT["ink"], fontsize=_SIZE, pad=8, parse_math=False)
    style = Style(LIGHT, scale, _WIDTH_IN)
    for column, report in enumerate(found):
        for row, chart in enumerate(CHARTS, len(of_groups)):
            ax = bottom.add_subplot(grid[row, column])
            draw(chart, ax, report.timeline, style)
            ax.set_title(
                chart.heading(report.timeline), loc="left", color=LIGHT["ink"], fontsize=_SIZE,
                pad=8 + _KEYS_PT * legend_rows(ax, style),
            )  # fmt: skip
    return figure


def _group_head(group: Group, width_in: float) -> Iterator[tuple[str, str]]:
    """The lines above everything: which ranks, the headline and how it is known."""
    yield from _lines(group.name, "bold", width_in)
    yield from _lines(group.verdict.headline, "normal", width_in)
    if group.verdict.why:
        yield from _lines(f"Because {group.verdict.why}", "normal", width_in)
    if group.verdict.missing:
        missing = ranks_told(group.verdict.missing)
        yield from _lines(f"No log of {missing}: more may have been lost", "normal", width_in)
    yield "", "normal"


def _head(found: Sequence[Report], column: int) -> Iterator[tuple[str, str]]:
    """The lines above a column, each with its weight: log, headline, what was set differently."""
    report = found[column]
    yield from _lines(report.name, "bold")
    yield from _lines(report.verdict.headline, "normal")
    different = differences([each.timeline for each in found])
    if different:
        told = ", ".join(f"{each.name}={each.values[column]}" for each in different)
        yield from _lines(f"Set differently here: {told}", "normal")


def _lines(text: str, weight: str, width_in: float = _WIDTH_IN) -> Iterator[tuple[str, str]]:
    """The text in lines that fit a column; a word that is longer than one is broken."""
    line = ""
    for piece in _pieces(visible(text), weight, width_in):
        if line and not _fits(line + piece, weight, width_in):
            yield line.strip(), weight
            line = ""
        line += piece
    yield line.strip(), weight


def _pieces(text: str, weight: str, width_in: float) -> Iterator[str]:
    """Words with the space behind them, or letters of a word that is too long."""
    for word in text.split():
        if _fits(word, weight, width_in):
            yield f"{word} "
        else:
            yield from f"{word} "


def _fits(text: str, weight: str, width_in: float) -> bool:
    from matplotlib.font_manager import FontProperties
    from matplotlib.textpath import text_to_path

    font = FontProperties(size=_SIZE, weight=weight)
    width_pt, _, _ = text_to_path.get_text_width_height_descent(text.strip(), font, ismath=False)
    return bool(width_pt <= 72 * (width_in - 2 * _MARGIN_IN))


def _write_head(
    top: SubFigure, height_in: float, left: float, lines: Sequence[tuple[str, str]], below: int = 0
) -> None:
    """Writes the lines, from the one on that is so many lines below the top."""
    for row, (line, weight) in enumerate(lines, below):
        top.text(
            left,
            1 - (_MARGIN_IN + _LINE_IN * row) / height_in,
            line,
            va="top",
            color=LIGHT["ink"],
            fontsize=_SIZE,
            weight=weight,
            parse_math=False,  # a name may have dollars in it
        )
