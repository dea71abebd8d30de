"""The chart of a group: when each rank waited for data, and when the group stood still for one."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from prefetcher.report.charts import Style, frame
from prefetcher.verdict.curve import Curve, Floats
from prefetcher.verdict.group import GroupVerdict
from prefetcher.verdict.waits import GroupFinding, longest_waits

if TYPE_CHECKING:
    from matplotlib.axes import Axes

TITLE: Final = "When each rank waited for data"
NOTE: Final = (
    "The higher, the more of that time it waited. All wait for the slowest, so the first row is "
    "what the group lost."
)
_CELLS: Final = 240  # over the whole run: a chart has not many more points than that
_MOST_ROWS: Final = 8  # of single ranks; the others share one
_ROW_IN: Final = 0.36
_HEIGHT: Final = 0.85  # of a row, for 100 %


@dataclass(frozen=True, slots=True)
class Row:
    """One row of the chart: a rank, or several together."""

    name: str
    stall_pct: Floats
    """In each cell of time; NaN where no rank of the row was there."""


@dataclass(frozen=True, slots=True)
class Rows:
    """What the chart shows."""

    edges_s: Floats
    """Of the cells, seconds since the first rank began."""
    rows: tuple[Row, ...]

    @property
    def height_in(self) -> float:
        """Inches that the chart takes."""
        return 0.75 + _ROW_IN * len(self.rows)


def rows_of(verdict: GroupVerdict, curves: Mapping[int, Curve]) -> Rows | None:
    """The group first, then its ranks: those that it waited for longest, if there are many.

    None where nothing was measured.
    """
    main = verdict.main
    if main is None:
        return None
    start = min(curve.start_s for curve in curves.values())
    end = max(curve.end_s for curve in curves.values())
    edges = np.linspace(start, end, _CELLS + 1)
    return Rows(edges - start, tuple(_rows(main, curves, edges)))


def _rows(main: GroupFinding, curves: Mapping[int, Curve], edges: Floats) -> Iterator[Row]:
    yield _together("the group", curves, edges)
    shown = main.waited_for(_MOST_ROWS)
    for rank in sorted(shown, key=lambda rank: rank.index):
        curve = curves[rank.index]
        yield _together(f"rank {rank.index}, {rank.stall_pct:.0f} %", {rank.index: curve}, edges)
    kept = {rank.index for rank in shown}
    rest = {index: curve for index, curve in curves.items() if index not in kept}
    if rest:
        yield _together(f"{len(rest):,} others", rest, edges)


def _together(name: str, curves: Mapping[int, Curve], edges: Floats) -> Row:
    """In each cell what the one waited that waited longest."""
    longest, _, _ = longest_waits(list(curves.values()), edges)
    there = np.zeros(len(longest), np.bool_)
    for curve in curves.values():
        there |= (edges[1:] > curve.start_s) & (edges[:-1] < curve.end_s)
    return Row(name, np.where(there, 100 * longest / np.diff(edges), np.nan))


def draw_rows(ax: Axes, rows: Rows, style: Style) -> None:
    """Draws the rows from top to bottom, the group first; with the frame of all charts."""
    for place, row in enumerate(rows.rows):
        base = -float(place)
        top = base + _HEIGHT * np.clip(row.stall_pct, 0, 100) / 100
        # A step for each cell: the last value is repeated at the last edge.
        ax.fill_between(
            rows.edges_s, base, np.append(top, top[-1]), step="post", lw=0,
            color=style.colours["stall"], alpha=1.0 if place == 0 else 0.55,
        )  # fmt: skip
        ax.axhline(base, color=style.colours["line"], lw=0.8)
    ax.set_yticks([-float(place) + _HEIGHT / 2 for place in range(len(rows.rows))])
    ax.set_yticklabels([row.name for row in rows.rows])
    ax.set_ylim(1.0 - len(rows.rows) - 0.06, 1.0)
    ax.set_xlim(0, rows.edges_s[-1])
    ax.set_xlabel("seconds")
    frame(ax, style)
