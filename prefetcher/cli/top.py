"""Follow a monitor's log in the terminal: stages, queues, GPU, and the verdict so far."""

from __future__ import annotations

import argparse
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console, ConsoleOptions, RenderResult
from rich.live import Live
from rich.text import Text

from prefetcher.cli import output
from prefetcher.monitor import Log, read_lines
from prefetcher.monitor.log import plain
from prefetcher.verdict.judge import judge
from prefetcher.verdict.stretch import KINDS, Line, gpu_util_pct, last_run

_EVERY_S = 1.0
"""Between two looks at the log: as often as a monitor writes by default."""
_NAME, _FIGURE, _GAP = 14, 7, 2
"""Letters of a gauge's name, of its figure, and between them."""
_BAR, _SHORTEST_BAR = 24, 10
"""Letters of a bar where no terminal says how wide it is, and in one where words need the room."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds this command's options."""
    parser.add_argument("log", type=Path, metavar="LOG", help="the log of a monitor")
    parser.add_argument("--once", action="store_true", help="show it as it is now, and end")


def run(arguments: argparse.Namespace) -> None:
    """Shows the log until its run has ended, or Ctrl-C.

    Where no terminal is watching, and with ``--json``, it is shown once.
    """
    log = read_lines(arguments.log)
    console = output.data()
    if arguments.json:
        output.write_json(_state(last_run(log.lines)))
        if log.damaged:
            output.say(f"prefetcher: {log.left_out}")
    elif arguments.once or not console.is_terminal:
        console.print(View(log))
    else:
        with Live(View(log), console=console, auto_refresh=False) as live:
            for newer in _growing(arguments.log, log):
                live.update(View(newer), refresh=True)


def _growing(path: Path, log: Log) -> Iterator[Log]:
    """The log again and again while its run goes on; it may be written on another host."""
    pause = threading.Event()  # never set: a wait that Ctrl-C ends
    while not log.lines or log.lines[-1]["kind"] != "summary":
        pause.wait(_EVERY_S)
        log = read_lines(path)
        yield log


def _state(lines: Sequence[Line]) -> dict[str, Any]:
    """The last sample, and the verdict so far, in JSON's types."""
    last = next((line for line in reversed(lines) if line["kind"] == "sample"), None)
    ended = bool(lines) and lines[-1]["kind"] == "summary"
    return {"ended": ended, "verdict": judge(lines).headline, "sample": plain(last)}


@dataclass(frozen=True, slots=True)
class Gauge:
    """One line of the display."""

    name: str
    told: str
    """What stands in the place of a bar; "" for a bar."""
    percent: float
    words: tuple[tuple[float, str], ...]
    """What is said behind it, each part with its weight: the lightest are left out first."""

    def line(self, bar: int, words: int) -> str:
        """As it is shown with so many letters for the bar and for the words."""
        filled = round(min(self.percent, 100.0) / 100 * bar)
        figure = "" if self.told else f"{self.percent:5.1f} %"
        shown = self.told or f"{'█' * filled}{'·' * (bar - filled)}"
        parts = (f"{self.name:<{_NAME}}", f"{shown:<{bar}}", f"{figure:>{_FIGURE}}")
        return (" " * _GAP).join((*parts, _cut(self.words, words))).rstrip()


class View:
    """What the terminal shows of the last run in a log, as wide as the terminal is."""

    def __init__(self, log: Log) -> None:
        lines = last_run(log.lines)
        state = _state(lines)
        self._headline = f"{'ended' if state['ended'] else 'running'}: {state['verdict']}"
        self._gauges = list(_gauges(state["sample"])) if state["sample"] else []
        self._left_out = log.left_out

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """For rich: each gauge is one line, whatever the width."""
        bar, words = self._widths(options.max_width if console.is_terminal else None)
        yield Text(self._headline, style="bold")
        for gauge in self._gauges:
            yield Text(gauge.line(bar, words), no_wrap=True, overflow="crop")
        if self._left_out:
            yield Text(self._left_out)

    def _widths(self, width: int | None) -> tuple[int, int]:
        """Letters for the bars and for the words; the bars get what the words leave."""
        words = max((len(_cut(gauge.words, None)) for gauge in self._gauges), default=0)
        if width is None:
            return _BAR, words
        room = width - _NAME - _FIGURE - 3 * _GAP
        bar = max(room - words, min(_BAR, room // 4), _SHORTEST_BAR)
        return bar, max(room - bar, 0)


def _gauges(sample: Line) -> Iterator[Gauge]:
    """Every gauge of a sample."""
    at = f"pass {sample['pass']}, position {sample['position']}, {sample['t_s']:.0f} s"
    yield Gauge("samples/s", f"{sample['samples_per_s'] or 0:,.0f}", 0.0, _said(at))
    yield _gauge("stall", sample["stall_pct"], _said("of the time somebody waited for a batch"))
    for name, stage in (
        ("readers", sample["stage"]["read"]),
        ("batchers", sample["stage"]["batch"]),
    ):
        yield _gauge(f"{stage['workers']} {name}", stage["busy_pct"], _work(stage))
    for name, queue in sample["queue"].items():
        full = 100 * queue["depth"] / (queue["capacity"] or 1)
        yield _gauge(f"{name} queue", full, _said(f"{queue['depth']} of {queue['capacity']}"))
    yield _gauge("GPU", gpu_util_pct(sample), ())
    cpu, memory = sample["process"]["cpu_pct"], sample["process"]["rss_bytes"]
    ours = () if cpu is None else _said(f"this process {cpu:.0f} % of one")
    yield _gauge("machine's CPUs", sample["machine"]["cpu_pct"], ours)
    yield Gauge("memory", "not available" if memory is None else output.size(memory), 0.0, ())


def _gauge(name: str, percent: float | None, words: tuple[tuple[float, str], ...]) -> Gauge:
    return Gauge(name, "not available" if percent is None else "", percent or 0.0, words)


def _said(text: str) -> tuple[tuple[float, str], ...]:
    return ((0.0, text),)


def _work(stage: Line) -> tuple[tuple[float, str], ...]:
    """What a stage did, with how much of its time."""
    work = stage.get("work_pct") or {}
    did = [(kind, work.get(kind)) for kind in KINDS]
    did += [(f"waits for {what}", stage[f"wait_{way}_pct"]) for what, way in _WAITS]
    return tuple((share, f"{what} {share:.0f}") for what, share in did if share and share >= 0.5)


_WAITS = (("input", "in"), ("room", "out"))


def _cut(words: Sequence[tuple[float, str]], width: int | None) -> str:
    """The words in a line; where that is too wide, the lightest are left out and "..." says so."""
    kept = list(words)
    while True:
        text = ", ".join([part for _, part in kept] + ["..."] * (len(kept) < len(words)))
        if width is None or len(text) <= width or not kept:
            return text if width is None else text[:width]
        kept.remove(min(kept))
