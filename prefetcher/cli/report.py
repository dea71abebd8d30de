"""Say whether training waited for data, why, and what to change; with charts on a page."""

from __future__ import annotations

import argparse
import glob
import operator
import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Final

from prefetcher.cli import output
from prefetcher.cli.shown import Shown, shown_of
from prefetcher.errors import FileMissingError, SettingsError
from prefetcher.messages.text import visible
from prefetcher.monitor.ranks import pattern_of
from prefetcher.report.figures import can_draw
from prefetcher.report.page import page
from prefetcher.report.picture import write_png

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
    parser.add_argument(
        "logs",
        type=Path,
        nargs="+",
        metavar="LOG",
        help="the log of a monitor, or those of all ranks of a run ('run.*of2.jsonl'); another "
        "run's are shown beside them",
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
        help=f'such as "stall_pct>20": exit with {CHECK_FAILED} if that is so of the first run',
    )


def run(arguments: argparse.Namespace) -> int:
    """Judges the logs; returns `CHECK_FAILED` if the condition of ``--fail-if`` is met, else 0."""
    paths = list(_named(arguments.logs))
    page_path = arguments.html or _default_page(arguments, paths)
    asked = {"--html": page_path, "--png": arguments.png}
    output.keep_apart(paths, {flag: path for flag, path in asked.items() if path is not None})
    shown = shown_of(paths)
    failed = arguments.fail_if is not None and _holds(arguments.fail_if, shown)
    if arguments.json:
        output.write_json(shown.as_json(failed=failed))
    else:
        for line in shown.lines():
            output.data().print(visible(line), markup=False, soft_wrap=True)
    _write(shown, page_path, arguments.png, charts_asked=bool(arguments.html or arguments.png))
    if failed:
        output.say(f"prefetcher: {arguments.fail_if} is so")
    return CHECK_FAILED if failed else 0


def _named(paths: Sequence[Path]) -> Iterator[Path]:
    """The logs that were named; a pattern that no shell took names all that match."""
    for path in paths:
        if path.exists() or not glob.has_magic(str(path)):
            yield path
        elif matching := sorted(glob.glob(str(path))):  # noqa: PTH207  # it may be absolute
            yield from map(Path, matching)
        else:
            raise FileMissingError(f"{path}: expected logs, found no file that matches")


def _default_page(arguments: argparse.Namespace, paths: Sequence[Path]) -> Path | None:
    """Where the page goes of which nothing was said; None if another form was asked for."""
    if arguments.json or arguments.png or arguments.fail_if:
        return None
    pattern = pattern_of(paths[0].name)
    name = paths[0].name if pattern is None else pattern.replace("*", "")  # of all ranks together
    page_path = paths[0].with_name(name).with_suffix(".html")
    # A log may have that name; then the page is called after all of it.
    return page_path.with_name(f"{name}.html") if page_path in paths else page_path


def _write(shown: Shown, page_path: Path | None, png: Path | None, *, charts_asked: bool) -> None:
    """Writes the charts. A page that nobody asked for is left out where it cannot be drawn."""
    if not charts_asked and not can_draw():
        if page_path is not None:
            output.say("No charts: they need matplotlib, pip install 'prefetcher[report]'")
        return
    if page_path is not None:
        page_path.write_text(page(shown.drawn, shown.groups), encoding="utf-8")
        output.say(f"The charts are in {page_path}")
    if png is not None:
        write_png(shown.drawn, png, shown.groups)
        output.say(f"The charts are in {png}")


def _holds(condition: str, shown: Shown) -> bool:
    """Whether a condition such as "stall_pct>20" is met."""
    name, figures = shown.checked()
    parts = _CONDITION.fullmatch(condition)
    if parts is None or parts[1] not in figures:
        raise SettingsError(
            f"--fail-if {condition!r}: write NAME>NUMBER, with >, >=, < or <= and one of the names "
            f"{', '.join(figures)}"
        )
    figure = figures[parts[1]]
    if figure is None:
        raise SettingsError(f"--fail-if {condition!r}: {name} does not say {parts[1]}")
    return _COMPARISONS[parts[2]](figure, float(parts[3]))
