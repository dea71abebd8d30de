"""Follow a monitor's log in the terminal: stages, queues, GPU, and the verdict so far."""

from __future__ import annotations

import argparse
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from rich.console import Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from prefetcher.cli import output
from prefetcher.monitor import read_log
from prefetcher.verdict.judge import judge
from prefetcher.verdict.stretch import KINDS, Line, gpu_util_pct, last_run

_EVERY_S = 1.0
"""Between two looks at the log: as often as a monitor writes by default."""
_BAR = 24


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds this command's options."""
    parser.add_argument("log", type=Path, metavar="LOG", help="the log of a monitor")
    parser.add_argument("--once", action="store_true", help="show it as it is now, and end")


def run(arguments: argparse.Namespace) -> None:
    """Shows the log until its run has ended, or Ctrl-C.

    Where no terminal is watching, and with ``--json``, it is shown once.
    """
    lines = last_run(read_log(arguments.log))
    console = output.data()
    if arguments.json:
        output.write_json(_state(lines))
    elif arguments.once or not console.is_terminal:
        console.print(view(lines))
    else:
        with Live(view(lines), console=console, auto_refresh=False) as live:
            for newer in _growing(arguments.log, lines):
                live.update(view(newer), refresh=True)


def _growing(path: Path, lines: Sequence[Line]) -> Iterator[Sequence[Line]]:
    """The lines again and again while the run goes on; they may be written on another host."""
    pause = threading.Event()  # never set: a wait that Ctrl-C ends
    while not lines or lines[-1]["kind"] != "summary":
        pause.wait(_EVERY_S)
        lines = last_run(read_log(path))
        yield lines


def _state(lines: Sequence[Line]) -> dict[str, Any]:
    """The last sample, and the verdict so far."""
    last = next((line for line in reversed(lines) if line["kind"] == "sample"), None)
    ended = bool(lines) and lines[-1]["kind"] == "summary"
    return {"ended": ended, "verdict": judge(lines).headline, "sample": last}


def view(lines: Sequence[Line]) -> Group:
    """What the terminal shows of one run's lines."""
    state = _state(lines)
    rows = Table.grid(padding=(0, 2))
    for cells in _rows(state["sample"]) if state["sample"] else ():
        rows.add_row(*cells)
    status = "ended" if state["ended"] else "running"
    return Group(Text(f"{status}: {state['verdict']}", style="bold"), rows)


def _rows(sample: Line) -> Iterator[tuple[str, str, str]]:
    """Name, bar and words of every gauge in a sample."""
    at = f"pass {sample['pass']}, position {sample['position']}, {sample['t_s']:.0f} s"
    yield "samples/s", f"{sample['samples_per_s'] or 0:,.0f}", at
    yield _gauge("stall", sample["stall_pct"], "of the time somebody waited for a batch")
    for name, stage in (
        ("readers", sample["stage"]["read"]),
        ("batchers", sample["stage"]["batch"]),
    ):
        yield _gauge(f"{stage['workers']} {name}", stage["busy_pct"], _work(stage))
    for name, queue in sample["queue"].items():
        full = 100 * queue["depth"] / (queue["capacity"] or 1)
        yield _gauge(f"{name} queue", full, f"{queue['depth']} of {queue['capacity']}")
    yield _gauge("GPU", gpu_util_pct(sample), "")
    cpu, memory = sample["process"]["cpu_pct"], sample["process"]["rss_bytes"]
    told = "not available" if memory is None else output.size(memory)
    yield _gauge("machine's CPUs", sample["machine"]["cpu_pct"], f"this process {cpu} % of one")
    yield "memory", told, ""


def _work(stage: Line) -> str:
    work = stage.get("work_pct") or {}
    parts = [f"{kind} {work[kind]:.0f}" for kind in KINDS if (work.get(kind) or 0) >= 0.5]
    waits = [("for input", stage["wait_in_pct"]), ("for room", stage["wait_out_pct"])]
    parts += [f"waits {what} {share:.0f}" for what, share in waits if (share or 0) >= 0.5]
    return ", ".join(parts)


def _gauge(name: str, percent: float | None, words: str) -> tuple[str, str, str]:
    if percent is None:
        return name, "not available", words
    filled = round(min(percent, 100.0) / 100 * _BAR)
    return name, f"{'█' * filled}{'·' * (_BAR - filled)} {percent:5.1f} %", words
