"""What commands write: data to stdout, everything about the work to stderr.

Names and attributes of files, and what a log holds, may be a stranger's. A terminal acts on some
characters (ESC begins a command), so none of them is printed as it is, by any command.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import re
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from time import monotonic
from typing import Any, Protocol

from rich.console import Console, ConsoleOptions, RenderableType
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.segment import Segment
from rich.text import Text

from prefetcher.errors import SettingsError
from prefetcher.messages.text import visible

PLAIN_LINE_SECONDS = 5.0
"""Between two lines of progress where no terminal is watching: rare enough for a log file."""
PLAIN_WIDTH = 240
"""Columns of a table that goes to a file or a pipe: no cell is cut there."""


_LAYOUT = "\n\t"
"""What is no command to a terminal and may be in a text of ours."""


class _SafeConsole(Console):
    """A console that prints no character of any text that a terminal would act on."""

    def render_str(self, text: str, *args: Any, **keywords: Any) -> Text:
        """Strings, also in cells: before their width is taken."""
        return super().render_str(visible(text, _LAYOUT), *args, **keywords)

    def render(
        self, renderable: RenderableType, options: ConsoleOptions | None = None
    ) -> Iterator[Segment]:
        """All else. Segments of control are rich's own: colours and the cursor's way."""
        for text, style, control in super().render(renderable, options):
            yield Segment(text if control else visible(text, _LAYOUT), style, control)


def data() -> Console:
    """Where results go: stdout, with colours and tables only on a terminal."""
    width = None if sys.stdout.isatty() else PLAIN_WIDTH
    return _SafeConsole(file=sys.stdout, highlight=False, width=width)


def notes() -> Console:
    """Where everything about the work goes: stderr."""
    return _SafeConsole(file=sys.stderr, highlight=False)


def say(text: str) -> None:
    """Writes one line about the work, as it is: no markup, no wrapping."""
    notes().print(text, markup=False, soft_wrap=True)


class _Said(logging.Handler):
    """Says what the package's own logger warns of."""

    def emit(self, record: logging.LogRecord) -> None:
        """Says one record."""
        say(f"prefetcher: {record.getMessage()}")


@contextmanager
def warnings_said() -> Iterator[None]:
    """What the package's logger warns of in the block is said, as an error would be."""
    logger, handler = logging.getLogger("prefetcher"), _Said(logging.WARNING)
    logger.addHandler(handler)
    try:
        yield
    finally:
        logger.removeHandler(handler)


def keep_apart(read: Iterable[Path], written: Mapping[str, Path]) -> None:
    """Refuses to write over what is read: before anything is written.

    Args:
        read: The files that a command reads.
        written: Those that it is about to write, by what the user calls them: "--html", "OUT".

    Raises:
        SettingsError: One of them, or the stream of results, is a file that is read, under whatever
            name: a link to it is the same file.
    """
    for path in read:
        for name, out in written.items():
            if _same_file(path, out):
                raise SettingsError(
                    f"{name} {out}: that is the file that is read, and it would be lost; "
                    "write to another one"
                )
        if _is_stdout(path):
            raise SettingsError(f"the output goes to {path}, which is read: send it elsewhere")


def _same_file(one: Path, other: Path) -> bool:
    try:
        return one.samefile(other)
    except OSError:  # one of them is not there, and a link may lead to where it is not
        return one.resolve() == other.resolve()


def _is_stdout(path: Path) -> bool:
    """Whether the shell sent our output into that file."""
    try:
        return os.path.samestat(os.fstat(sys.stdout.fileno()), path.stat())
    except (OSError, ValueError):  # no file, or a stdout that is none
        return False


def write_json(result: Mapping[str, Any]) -> None:
    """Writes a result as JSON to stdout."""
    sys.stdout.write(json.dumps(result, indent=2, allow_nan=False) + "\n")
    sys.stdout.flush()  # a reader that left is noticed here, not when the interpreter ends


def size(count: float) -> str:
    """A number of bytes for people: three figures, decimal units."""
    for unit in ("bytes", "kB", "MB", "GB", "TB"):
        if count < 999.5:  # from there on three figures would read 1e+03
            return f"{count:.3g} {unit}"
        count /= 1000
    return f"{count:.3g} PB"


def at_least(smallest: int) -> Callable[[str], int]:
    """An argparse type: a whole number that is not below `smallest`."""

    def number(text: str) -> int:
        value = int(text)
        if value < smallest:
            raise argparse.ArgumentTypeError(f"{value} is too few, write {smallest} or more")
        return value

    return number


def add_sizes(parser: argparse.ArgumentParser) -> None:
    """Adds --batch-size and --chunk-size, as a sequence has them."""
    parser.add_argument(
        "--batch-size",
        type=at_least(1),
        default=32,
        metavar="N",
        help="samples in a batch (default: %(default)s)",
    )
    parser.add_argument(
        "--chunk-size",
        type=at_least(1),
        metavar="N",
        help="samples in a chunk (default: 3200, or more where storage chunks are long)",
    )


def add_allow_external(parser: argparse.ArgumentParser) -> None:
    """Adds --allow-external, as a sequence has it."""
    parser.add_argument(
        "--allow-external",
        action="store_true",
        help="follow links and storage out of the file: only if you trust who made it",
    )


def byte_count(text: str) -> int:
    """An argparse type: a size such as "2GB", "500 MB", "1.5GiB" or a bare number of bytes."""
    found = re.fullmatch(r"\s*([\d.]+)\s*([kmgt]?)(i?)b?\s*", text, re.IGNORECASE)
    try:
        number = float(found[1]) if found else 0.0
    except ValueError:
        number = 0.0
    if not found or number <= 0:
        raise argparse.ArgumentTypeError(f"{text!r} is no size: write one such as 2GB or 500MB")
    return int(number * (1024 if found[3] else 1000) ** " kmgt".index(found[2].lower() or " "))


class Advance(Protocol):
    """Tells a progress display that more is done."""

    def __call__(self, items: int, note: str = "") -> None:
        """Counts `items` more, 0 or above; says `note`, if one is given."""


@contextmanager
def progress(label: str, total: int) -> Iterator[Advance]:
    """Shows how far a long work has come, on stderr.

    A bar on a terminal, with the notes above it; elsewhere a line for each note, every
    `PLAIN_LINE_SECONDS` and at the end.
    """
    console = notes()
    if not console.is_terminal:
        plain = _PlainProgress(label, total)
        yield plain
        plain.finish()
        return
    columns = (
        TextColumn("{task.description}"),
        BarColumn(bar_width=None),
        MofNCompleteColumn(),
        TimeRemainingColumn(compact=True),
    )
    with Progress(*columns, console=console, expand=True) as bar:
        task = bar.add_task(label, total=total)

        def advance(items: int, note: str = "") -> None:
            bar.update(task, advance=items)
            if note:
                bar.console.print(note, markup=False)

        yield advance


class _PlainProgress:
    """Says how far the work has come in a line now and then."""

    def __init__(self, label: str, total: int) -> None:
        self._label = label
        self._total = total
        self._done = 0
        self._unsaid = True
        self._said_at = monotonic()

    def __call__(self, items: int, note: str = "") -> None:
        self._done += items
        self._unsaid = True
        if note or monotonic() - self._said_at >= PLAIN_LINE_SECONDS:
            self._say(note)

    def finish(self) -> None:
        """Says how far the work came, unless the last line did."""
        if self._unsaid:
            self._say()

    def _say(self, note: str = "") -> None:
        say(f"{self._label}: {self._done:,} of {self._total:,} {note}".rstrip())
        self._unsaid = False
        self._said_at = monotonic()


@contextmanager
def quiet() -> Iterator[None]:
    """Keeps what native libraries write to stderr out of sight, unless the block raises.

    TensorFlow's import writes a dozen lines about drivers that are not there, from C++ and before
    any of its settings can stop it.
    """
    sys.stderr.flush()
    kept = os.dup(2)
    with tempfile.TemporaryFile() as swallowed:
        os.dup2(swallowed.fileno(), 2)
        try:
            yield
        except BaseException:
            swallowed.seek(0)
            os.write(kept, swallowed.read())
            raise
        finally:
            sys.stderr.flush()
            os.dup2(kept, 2)
            os.close(kept)
