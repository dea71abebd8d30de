"""Sheets to draw on. matplotlib is optional and takes a second, so it is imported when needed."""

from __future__ import annotations

from typing import TYPE_CHECKING

from prefetcher.errors import SettingsError
from prefetcher.report.charts import Palette

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def can_draw() -> bool:
    """Whether matplotlib is installed. Without it there are no charts; all else works."""
    try:
        import matplotlib.figure  # noqa: F401
    except ImportError:
        return False
    return True


def sheet(width: float, height: float, colours: Palette) -> Figure:
    """An empty figure, so many inches wide and high.

    Raises:
        SettingsError: matplotlib is not installed.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise SettingsError(
            "a report's charts need matplotlib: pip install 'prefetcher[report]'. Without it, "
            "--json and --fail-if still work"
        ) from error
    return Figure((width, height), facecolor=colours["panel"], layout="constrained")
