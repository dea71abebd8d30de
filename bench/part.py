"""What a part of the bench is: a measurement, its tables and its plots."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Options:
    """What was asked for on the command line; every part takes from it what concerns it.

    Attributes:
        folder: Where the measured files lie; what is drawn once is kept for the next time.
        samples: Weight of each file in pictures of 49 kB. 12,800 are 0.6 GB: four chunks, and
            more than the processor's caches.
        rounds: Times that everything is measured, interleaved; medians are told.
        scale: Share of the article's 81,282 training samples.
        quick: Whether to measure less of everything: enough to see that it works.
        only: Only files with this in their name are read.
        alone: Whether the peers are left out.
    """

    folder: Path
    samples: int = 12_800
    rounds: int = 5
    scale: float = 0.02
    quick: bool = False
    only: str = ""
    alone: bool = False


QUICK = {"samples": 3200, "rounds": 1, "scale": 0.01, "quick": True}
"""What `--quick` changes, where nothing else was asked for."""


@dataclass
class Result:
    """What a measurement gave.

    Attributes:
        data: The figures, of types that JSON knows; `Part.tables` and `Part.plots` take them.
        failed: What failed, one line each, with its error; the rest was measured all the same.
        wrong_rows: Who lost, doubled or mixed up rows: its speed would mean nothing.
        notes: What the reader of the tables must know: who was left out, and why.
    """

    data: dict[str, Any]
    failed: list[str] = field(default_factory=list)
    wrong_rows: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def _no_plots(data: Mapping[str, Any], folder: Path, stem: str) -> list[Path]:
    del data, folder, stem
    return []


@dataclass(frozen=True)
class Part:
    """One part of the bench; its module has it under the name ``PART``.

    Attributes:
        name: What it is called on the command line: its module's name.
        about: Its heading: what is measured, in a few words.
        measure: Measures; every system in processes of its own, see `bench.child`.
        tables: Markdown of the figures, without a heading. Also called for kept results.
        plots: Draws ``STEM-PART.png``, or several, into the folder; gives their paths.
        joined: Puts into the first figures, of all, the second, of some that were measured again.
    """

    name: str
    about: str
    measure: Callable[[Options], Result]
    tables: Callable[[Mapping[str, Any]], str]
    plots: Callable[[Mapping[str, Any], Path, str], list[Path]] = _no_plots
    joined: Callable[[Mapping[str, Any], Mapping[str, Any]], dict[str, Any]] | None = None


def rotated(names: Sequence[str], turn: int) -> list[str]:
    """Every name, from another one on in each round: none always follows the same neighbour."""
    start = turn % len(names)
    return [*names[start:], *names[:start]]


def markdown(header: list[str], rows: list[list[str]]) -> str:
    """A Markdown table; all columns but the first are aligned to the right."""
    lines = [header, ["---"] + ["--:"] * (len(header) - 1), *rows]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in lines) + "\n"
