"""What the accounting and the monitor cost: the same sequence with and without them, in turn."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from statistics import median, quantiles
from time import perf_counter, process_time
from typing import Any
from unittest import mock

import prefetcher
from bench.attempt import attempt, pictures
from bench.part import Options, Part, Result, markdown, rotated
from prefetcher.clock import Clock, State

FILE = "contiguous"
"""Where nothing is decoded, so that what is counted is the largest part of the time."""
TURNS, QUICK_TURNS = 40, 6
BARE, COUNTED, MONITORED = "without either", "accounting", "accounting and monitor"


class StillClock(Clock):
    """A clock that counts nothing: what the pipeline would be without its accounting."""

    __slots__ = ()

    def begin(self) -> None:
        """Does not become the thread's clock, so `doing` finds none."""

    def switch(self, state: State | None) -> State | None:
        """Books nothing."""
        del state
        return None


def measure(options: Options) -> Result:
    """All three ways in one process, pass by pass in turn."""
    result = Result({})
    path, turns = str(pictures(options, FILE)), QUICK_TURNS if options.quick else TURNS
    found = attempt(result, "overhead", "bench.overhead:in_turn", path=path, turns=turns)
    result.data = found or {}
    return result


def in_turn(path: str, turns: int) -> dict[str, Any]:
    """Seconds and CPU seconds of each way's passes; the neighbours of a moment are compared."""
    taken: dict[str, list[tuple[float, float]]] = {BARE: [], COUNTED: [], MONITORED: []}
    with ExitStack() as stack:
        log = Path(stack.enter_context(tempfile.TemporaryDirectory())) / "run.jsonl"
        with _still_clocks():
            bare = stack.enter_context(_sequence(path))
        ways = {
            BARE: bare,
            COUNTED: stack.enter_context(_sequence(path)),
            MONITORED: stack.enter_context(_sequence(path, monitor=log)),
        }
        for sequence in ways.values():  # their memory is fresh in the first two passes
            _passed(sequence)
            _passed(sequence)
        for turn in range(turns):
            for name in rotated(list(ways), turn):
                taken[name].append(_passed(ways[name]))
    return {
        "file": FILE,
        "turns": turns,
        "passes": {name: _summary(taken[name], taken[BARE]) for name in ways},
    }


@contextmanager
def _still_clocks() -> Iterator[None]:
    with mock.patch("prefetcher.pipeline.stats.Clock", StillClock):
        yield


def _sequence(path: str, **settings: Any) -> prefetcher.PrefetchSequence:
    return prefetcher.PrefetchSequence(path, "images", "ids", readers=2, **settings)


def _passed(sequence: prefetcher.PrefetchSequence) -> tuple[float, float]:
    """A pass over it: seconds, and CPU seconds of the process."""
    begun, cpu = perf_counter(), process_time()
    for index in range(len(sequence)):
        sequence[index]
    return perf_counter() - begun, process_time() - cpu


def _summary(passes: list[tuple[float, float]], bare: list[tuple[float, float]]) -> dict[str, Any]:
    """Medians, and how much more than the bare pass of the same turn it took, in percent."""
    more = [
        [100 * (mine[i] / its[i] - 1) for mine, its in zip(passes, bare, strict=True)]
        for i in (0, 1)
    ]
    return {
        "seconds": median(seconds for seconds, _ in passes),
        "cpu_s": median(cpu for _, cpu in passes),
        "seconds_more_pct": _quartiles(more[0]),
        "cpu_more_pct": _quartiles(more[1]),
    }


def _quartiles(values: list[float]) -> list[float]:
    """Lower quartile, median, upper quartile."""
    return [round(value, 2) for value in quantiles(values, n=4)]


def tables(data: Mapping[str, Any]) -> str:
    """What each way takes, and how much more than without."""
    if not data:
        return ""
    about = (
        f"Passes over {data['file']} with 2 readers and nothing else to do, {data['turns']} of "
        "each in turn; medians, and in brackets the quartiles of what a pass took more than the "
        "bare one of its turn.\n"
    )
    rows = [
        [
            name,
            f"{of_way['seconds']:.3f}",
            _more(of_way["seconds_more_pct"]),
            f"{of_way['cpu_s']:.3f}",
            _more(of_way["cpu_more_pct"]),
        ]
        for name, of_way in data["passes"].items()
    ]
    return f"{about}\n{markdown(['way', 's', 'more, %', 'CPU s', 'more, %'], rows)}"


def _more(quartiles: list[float]) -> str:
    low, middle, high = quartiles
    return f"{middle:+.1f} ({low:+.1f} to {high:+.1f})"


PART = Part("overhead", "What accounting and monitor cost", measure, tables)
