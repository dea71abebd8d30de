"""The command line: ``prefetcher COMMAND``, one module for each command.

Data goes to stdout, progress and warnings to stderr. Exit codes: 0 done, 1 failed, 2 wrong usage,
3 partly done, 4 a check that was asked for did not pass, 130 interrupted.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Sequence
from importlib.metadata import version
from typing import NoReturn

from prefetcher.cli import convert, demo, inspect, manifest, output, report, top, tune
from prefetcher.errors import PrefetchError
from prefetcher.messages.text import visible

DONE = 0
FAILED = 1
INTERRUPTED = 130

_COMMANDS = {
    "demo": demo,
    "convert": convert,
    "inspect": inspect,
    "manifest": manifest,
    "tune": tune,
    "report": report,
    "top": top,
}


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one command.

    Args:
        argv: The words after ``prefetcher``; None takes those of this process.

    Returns:
        The exit code. Wrong usage does not return: argparse exits with 2.
    """
    arguments = _parser().parse_args(argv)
    run: Callable[[argparse.Namespace], int | None] = arguments.run
    try:
        with output.warnings_said():
            return run(arguments) or DONE
    except BrokenPipeError:
        # The reader of our output has gone, as `head` does. Without this the interpreter would
        # try to flush once more at its end, and complain. Rich does the same for its tables.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return FAILED
    except (PrefetchError, OSError) as error:
        output.say(f"prefetcher: {error}")
        return FAILED
    except KeyboardInterrupt:
        output.say("prefetcher: interrupted")
        return INTERRUPTED


class _Parser(argparse.ArgumentParser):
    """Says what is wrong with the words of a command: among them may be names of files, by `*`."""

    def error(self, message: str) -> NoReturn:
        """Ends the process with code 2."""
        super().error(visible(message))


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="prefetcher",
        description="Keeps an accelerator fed from an HDF5 file too big for memory.",
    )
    parser.add_argument("--version", action="version", version=version("prefetcher"))
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    for name, module in _COMMANDS.items():
        about = (module.__doc__ or "").splitlines()[0]
        command = commands.add_parser(name, help=about, description=about)
        module.add_arguments(command)
        command.add_argument("--json", action="store_true", help="print the result as JSON")
        command.set_defaults(run=module.run)
    return parser
