"""Say whether training waited for data, why, and what to change; with charts on a page."""

from __future__ import annotations

import argparse
import operator
import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Final

from prefetcher.cli import output
from prefetcher.errors import SettingsError
from prefetcher.messages.text import visible
from prefetcher.monitor import read_log
from prefetcher.report.compare import differences
from prefetcher.report.figures import can_draw
from prefetcher.report.page import page
from prefetcher.report.picture import write_png
from prefetcher.report.reports import Report, reports

CHECK_FAILED: Final = 4
"""The exit code of a check that did not pass, as everywhere in this command line."""

_COMPARISONS: Final[dict[str, Callable[[float, float], bool]]] = {
    ">=": operator.ge,
    "<=": operator.le,
    ">": operator.gt,
    "<": operator.lt,
}
_CONDITION: Final = re.compile(r"\s*(\w+)\s*(>=|<=|>|<)\s*([\d.]+(?:e\d+)?)\s*")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds this command's options."""
    parser.add_argument("log", type=Path, metavar="LOG", help="the log of a monitor")
    parser.add_argument(
        "other", type=Path, nargs="?", metavar="OTHER", help="another log, shown beside the first"
    )
    parser.add_argument(
        "--html",
        type=Path,
        metavar="FILE",
        help="where the page goes (default: beside LOG, if no other form is asked for)",
    )
    parser.add_argument("--png", type=Path, metavar="FILE", help="write the charts as a picture")
    parser.add_argument(
        "--fail-if",
        metavar="CONDITION",
        help=f'such as "stall_pct>20": exit with {CHECK_FAILED} if that is so of LOG',
    )


def run(arguments: argparse.Namespace) -> int:
    """Judges the logs; returns `CHECK_FAILED` if the condition of ``--fail-if`` is met, else 0."""
    paths = [path for path in (arguments.log, arguments.other) if path is not None]
    page_path = arguments.html or _default_page(arguments, paths)
    asked = {"--html": page_path, "--png": arguments.png}
    output.keep_apart(paths, {flag: path for flag, path in asked.items() if path is not None})
    found = reports([(path.name, read_log(path)) for path in paths])
    failed = arguments.fail_if is not None and _holds(arguments.fail_if, found[0])
    if arguments.json:
        output.write_json(_as_json(found, failed=failed))
    else:
        _print(found)
    _write(found, page_path, arguments.png, charts_asked=bool(arguments.html or arguments.png))
    if failed:
        output.say(f"prefetcher: {arguments.fail_if} is so")
    return CHECK_FAILED if failed else 0


def _default_page(arguments: argparse.Namespace, paths: Sequence[Path]) -> Path | None:
    """Where the page goes of which nothing was said; None if another form was asked for."""
    if arguments.json or arguments.png or arguments.fail_if:
        return None
    page_path: Path = arguments.log.with_suffix(".html")
    # A log may have that name; then the page is called after all of it.
    return page_path.with_name(f"{arguments.log.name}.html") if page_path in paths else page_path


def _as_json(found: Sequence[Report], *, failed: bool) -> dict[str, Any]:
    different = differences([report.timeline for report in found])
    return {
        "failed": failed,
        "reports": [report.as_json() for report in found],
        "differences": {each.name: each.values for each in different},
    }


def _print(found: Sequence[Report]) -> None:
    for line in (*(line for report in found for line in _lines(report)), *_compared(found)):
        output.data().print(visible(line), markup=False, soft_wrap=True)


def _lines(report: Report) -> Iterator[str]:
    yield f"{report.name}: {report.verdict.headline}"
    main = report.verdict.main
    if main is not None and main.cause is not None:
        yield f"  because {main.why} (confidence: {main.confidence})"


def _compared(found: Sequence[Report]) -> Iterator[str]:
    """What was set differently, where there are two."""
    if len(found) < 2:
        return
    different = differences([report.timeline for report in found])
    told = ", ".join(f"{each.name} {' and '.join(each.values)}" for each in different)
    yield f"Set differently: {told or 'nothing'}"


def _write(
    found: Sequence[Report], page_path: Path | None, png: Path | None, *, charts_asked: bool
) -> None:
    """Writes the charts. A page that nobody asked for is left out where it cannot be drawn."""
    if not charts_asked and not can_draw():
        if page_path is not None:
            output.say("No charts: they need matplotlib, pip install 'prefetcher[report]'")
        return
    if page_path is not None:
        page_path.write_text(page(found), encoding="utf-8")
        output.say(f"The charts are in {page_path}")
    if png is not None:
        write_png(found, png)
        output.say(f"The charts are in {png}")


def _holds(condition: str, report: Report) -> bool:
    """Whether a condition such as "stall_pct>20" is met."""
    figures = report.figures()
    parts = _CONDITION.fullmatch(condition)
    if parts is None or parts[1] not in figures:
        raise SettingsError(
            f"--fail-if {condition!r}: write NAME>NUMBER, with >, >=, < or <= and one of the names "
            f"{', '.join(figures)}"
        )
    figure = figures[parts[1]]
    if figure is None:
        raise SettingsError(f"--fail-if {condition!r}: {report.name} does not say {parts[1]}")
    return _COMPARISONS[parts[2]](figure, float(parts[3]))
