"""Say whether training waited for data, why, and what to change; with charts on a page."""

from __future__ import annotations

import argparse
import operator
import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Final

from prefetcher.cli import output
from prefetcher.errors import SettingsError
from prefetcher.monitor import read_log
from prefetcher.report.page import Report, page, reports, write_png

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
        help="where the page goes (default: LOG.html, if no other form is asked for)",
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
    found = reports([(path.name, read_log(path)) for path in paths])
    failed = arguments.fail_if is not None and _holds(arguments.fail_if, found[0])
    if arguments.json:
        output.write_json({"failed": failed, "reports": [report.as_json() for report in found]})
    else:
        _print(found)
    _write(arguments, found)
    if failed:
        output.say(f"prefetcher: {arguments.fail_if} is so")
    return CHECK_FAILED if failed else 0


def _print(found: Sequence[Report]) -> None:
    for report in found:
        for line in _lines(report):
            output.data().print(line, markup=False, soft_wrap=True)


def _lines(report: Report) -> Iterator[str]:
    yield f"{report.name}: {report.verdict.headline}"
    main = report.verdict.main
    if main is not None and main.cause is not None:
        yield f"  because {main.why} (confidence: {main.confidence})"


def _write(arguments: argparse.Namespace, found: Sequence[Report]) -> None:
    another_form = arguments.json or arguments.png or arguments.fail_if
    html = arguments.html or (None if another_form else arguments.log.with_suffix(".html"))
    if html is not None:
        html.write_text(page(found), encoding="utf-8")
        output.say(f"The charts are in {html}")
    if arguments.png is not None:
        write_png(found, arguments.png)
        output.say(f"The charts are in {arguments.png}")


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
