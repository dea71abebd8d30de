"""The Markdown page of a run: every part's heading, tables, plots and notes."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from bench.part import Part


def write(told: dict[str, Any], parts: list[Part], kept: Path) -> Path:
    """Writes page and plots beside the JSON.

    Args:
        told: The run: its name, and an entry for each part.
        parts: Those that have an entry, in their order.
        kept: The JSON's path.

    Returns:
        The page's path.
    """
    path = kept.with_suffix(".md")
    sections = [_section(part, told["parts"][part.name], kept) for part in parts]
    path.write_text("\n".join([f"# {told['name']}\n", *sections]))
    return path


def _section(part: Part, entry: dict[str, Any], kept: Path) -> str:
    return "\n".join(_paragraphs(part, entry, kept))


def _paragraphs(part: Part, entry: dict[str, Any], kept: Path) -> Iterator[str]:
    yield f"## {part.about}\n"
    yield f"{_circumstances(entry)}\n"
    if entry["data"]:
        yield part.tables(entry["data"])
        for plot in part.plots(entry["data"], kept.parent, kept.stem):
            yield f"![{part.about}]({plot.name})\n"
    lines = entry["notes"] + [f"**Failed**: {line}" for line in entry["failed"]]
    lines += [f"**Rows lost, doubled or mixed up**: {line}" for line in entry["wrong_rows"]]
    if lines:
        yield "\n".join(f"- {line}" for line in lines) + "\n"


def _circumstances(entry: dict[str, Any]) -> str:
    facts, options = entry["machine"], entry["options"]
    return (
        f"`python -m bench`{' --quick' if options['quick'] else ''}, {entry['time'][:10]}, "
        f"{facts['processor']}, {facts['cpus_allowed']} CPUs, Python {facts['python']}, "
        f"medians of {options['rounds']} rounds, load before {facts['load_before'][0]}, "
        f"{entry['seconds'] / 60:.1f} minutes."
    )
