"""Measures everything a reader of the README would doubt, and writes it down.

JSON, a Markdown page and plots go to the results folder. Exit codes: 0 all was measured, 2 wrong
usage, 3 something failed (it is told, and the rest was measured), 4 a system lost or doubled rows.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from time import perf_counter
from typing import Any

from bench import machine, page
from bench.part import QUICK, Options, Part, Result
from prefetcher.cli import output

RESULTS = Path(__file__).parent / "results"
FILES = Path(tempfile.gettempdir()) / "prefetcher-bench"
PARTS = (
    "reading", "article", "fit", "accelerator", "shuffling", "growth", "resuming", "overhead",
    "many_files",
    "shapes", "scale",
)  # fmt: skip
"""In the order in which they run and are told."""
PARTLY, WRONG_ROWS = 3, 4


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the parts that were asked for; returns the exit code."""
    parser = _parser()
    arguments = parser.parse_args(argv)
    if unknown := set(arguments.parts) - set(PARTS):
        parser.error(f"no part is called {', '.join(unknown)}: there are {', '.join(PARTS)}")
    kept = arguments.out / f"{arguments.name}.json"
    told = json.loads(kept.read_text()) if kept.exists() else {"name": arguments.name, "parts": {}}
    code = 0
    if not arguments.render:
        code = _measure_all(arguments.parts or PARTS, _options(arguments), told, kept)
    written = page.write(told, [_part(name) for name in PARTS if name in told["parts"]], kept)
    if arguments.json:
        output.write_json(told)
    else:
        sys.stdout.write(written.read_text())
    output.say(f"Kept in {kept} and {written.name}")
    return code


def _parser() -> argparse.ArgumentParser:
    count = output.at_least(1)
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    add = parser.add_argument
    add("parts", nargs="*", metavar="PART", help=f"{', '.join(PARTS)}; all, if none is named")
    add("--quick", action="store_true", help="less of everything: enough to see that it works")
    add("--samples", type=count, help="weight of each file in 49 kB pictures")
    add("--rounds", type=count, help="times that everything is measured; medians are told")
    add("--scale", type=float, help="share of the article's 81,282 training samples")
    add("--only", metavar="TEXT", help="reading: only files with this in their name; of an "
        "earlier run of this name the other files' figures stay")  # fmt: skip
    add("--alone", action="store_true", default=None, help="reading: leave the peers out")
    add("--dir", type=Path, default=FILES, help="folder of the files, kept for the next time")
    add("--out", type=Path, default=RESULTS, help="folder for the results")
    add("--name", default=machine.run_name(), help="of the results; parts measured earlier under "
        "this name stay (default: %(default)s)")  # fmt: skip
    add("--render", action="store_true", help="measure nothing, write page and plots anew")
    add("--json", action="store_true", help="print the results as JSON")
    return parser


def _options(arguments: argparse.Namespace) -> Options:
    arguments.dir.mkdir(parents=True, exist_ok=True)
    asked = {
        name: getattr(arguments, name) for name in ("samples", "rounds", "scale", "only", "alone")
    }
    chosen: dict[str, Any] = dict(QUICK) if arguments.quick else {}
    chosen |= {name: value for name, value in asked.items() if value is not None}
    return Options(arguments.dir, **chosen)


def _part(name: str) -> Part:
    part: Part = importlib.import_module(f"bench.{name}").PART
    return part


def _measure_all(names: Sequence[str], options: Options, told: dict[str, Any], kept: Path) -> int:
    """Measures part after part; what is measured is kept at once, as the next may be broken off."""
    code = 0
    kept.parent.mkdir(parents=True, exist_ok=True)
    for name in names:
        part = _part(name)
        output.say(f"{part.name}: {part.about}")
        entry = _measured(part, options)
        told["parts"][name] = _joined(part, told["parts"].get(name), entry, options)
        kept.write_text(json.dumps(told, indent=1) + "\n")
        for line in entry["failed"] + entry["wrong_rows"]:
            output.say(f"bench: {line}")
        code = max(code, WRONG_ROWS if entry["wrong_rows"] else PARTLY if entry["failed"] else 0)
    return code


def _joined(
    part: Part, earlier: dict[str, Any] | None, entry: dict[str, Any], options: Options
) -> dict[str, Any]:
    """What is told of a part: where only some of it was measured again, the rest stays."""
    if not (earlier and options.only and part.joined and entry["data"]):
        return entry
    again = f"{options.only}: measured again"
    return {
        **earlier,
        "data": part.joined(earlier["data"], entry["data"]),
        "notes": [
            *(note for note in earlier["notes"] if not note.startswith(again)),
            f"{again}, {entry['time'][:16]}, {options.rounds} rounds",
        ],
        "failed": earlier["failed"] + entry["failed"],
        "wrong_rows": earlier["wrong_rows"] + entry["wrong_rows"],
    }


def _measured(part: Part, options: Options) -> dict[str, Any]:
    """A part's figures, or its error: the other parts shall be measured all the same."""
    before, started = machine.facts(), perf_counter()
    os.sync()  # the disk would otherwise still be writing what was written before
    try:
        result = part.measure(options)
    except Exception as error:  # noqa: BLE001
        result = Result({}, failed=[f"{part.name}: {type(error).__name__}: {error}"])
    return {
        "time": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": before,
        "options": {name: value for name, value in asdict(options).items() if name != "folder"},
        "seconds": round(perf_counter() - started, 1),
        **asdict(result),
    }


if __name__ == "__main__":
    sys.exit(main())
