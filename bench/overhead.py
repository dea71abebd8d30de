"""What the accounting and the monitor cost: the same sequence with and without them, in turn."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from statistics import median, quantiles
from time import perf_counter, process_time
from typing import Any
from unittest import mock

import prefetcher
from bench.attempt import attempt, pictures
from bench.part import Options, Part, Result, markdown, rotated
from prefetcher.clock import Clock, State, doing

FILE = "contiguous"
"""Where nothing is decoded, so that what is counted is the largest part of the time."""
TURNS, QUICK_TURNS = 15, 3
WARM, PASSES = 2, 8
"""Passes that meet fresh memory, and those that are timed: about a second."""
BARE, COUNTED, MONITORED = "without either", "accounting", "accounting and monitor"
BLOCKS = 100_000
"""Times that nothing is done, to know what it costs to say so."""


class StillClock(Clock):
    """A clock that counts nothing: what the pipeline would be without its accounting."""

    __slots__ = ()

    def begin(self) -> None:
        """Does not become the thread's clock, so `doing` finds none."""

    def switch(self, state: State | None) -> State | None:
        """Books nothing."""
        del state
        return None


class CountingClock(Clock):
    """A clock that also counts how often it is switched."""

    __slots__ = ("switches",)

    def __init__(self) -> None:
        super().__init__()
        self.switches = 0

    def switch(self, state: State | None) -> State | None:
        """Counts, and books as always."""
        self.switches += 1
        return super().switch(state)


def measure(options: Options) -> Result:
    """The three ways, each alone in a stretch of passes, turn after turn; and the cost by count."""
    result = Result({})
    path, turns = str(pictures(options, FILE)), QUICK_TURNS if options.quick else TURNS
    found = attempt(result, "overhead", "bench.overhead:in_turn", path=path, turns=turns)
    counted = attempt(result, "overhead by count", "bench.overhead:by_count", path=path)
    if found and counted:
        result.data = found | {"by_count": counted}
    return result


def in_turn(path: str, turns: int) -> dict[str, Any]:
    """Seconds and CPU seconds of each way's stretches; the neighbours of a moment are compared.

    One at a time: others that were open beside it would read ahead in its time, and out of it.
    """
    taken: dict[str, list[tuple[float, float]]] = {BARE: [], COUNTED: [], MONITORED: []}
    with tempfile.TemporaryDirectory() as folder:
        for turn in range(turns):
            for name in rotated(list(taken), turn):
                log = Path(folder) / f"{turn}.jsonl" if name == MONITORED else None
                with _clocks(StillClock if name == BARE else Clock), _sequence(path, log) as opened:
                    taken[name].append(_stretch(opened))
    return {
        "file": FILE,
        "turns": turns,
        "ways": {name: _summary(taken[name], taken[BARE]) for name in taken},
    }


def by_count(path: str) -> dict[str, float]:
    """Switches in a pass times the cost of one, as a share of the pass's CPU time."""
    made: list[CountingClock] = []

    def clock() -> CountingClock:
        made.append(CountingClock())
        return made[-1]

    with _clocks(clock), _sequence(path) as opened:
        _passed(opened, WARM)
        before = sum(each.switches for each in made)
        _, cpu_s = _passed(opened, PASSES)
        switches = (sum(each.switches for each in made) - before) / PASSES
        batches = len(opened)
    switch_s = _doing_s() / 2  # one as the block begins, one as it ends
    return {
        "switches_per_batch": switches / batches,
        "switch_us": 1e6 * switch_s,
        "share_pct": 100 * switches * switch_s / (cpu_s / PASSES),
    }


def _doing_s() -> float:
    """What it costs to say what a worker does."""
    Clock().begin()
    begun = perf_counter()
    for _ in range(BLOCKS):
        with doing(State.READ):
            pass
    return (perf_counter() - begun) / BLOCKS


@contextmanager
def _clocks(kind: Callable[[], Clock]) -> Iterator[None]:
    with mock.patch("prefetcher.pipeline.stats.Clock", kind):
        yield


def _sequence(path: str, monitor: Path | None = None) -> prefetcher.PrefetchSequence:
    return prefetcher.PrefetchSequence(path, "images", "ids", readers=2, monitor=monitor)


def _stretch(sequence: prefetcher.PrefetchSequence) -> tuple[float, float]:
    _passed(sequence, WARM)
    return _passed(sequence, PASSES)


def _passed(sequence: prefetcher.PrefetchSequence, passes: int) -> tuple[float, float]:
    """Some passes over it: seconds, and CPU seconds of the process."""
    begun, cpu = perf_counter(), process_time()
    for _ in range(passes):
        for index in range(len(sequence)):
            sequence[index]
    return perf_counter() - begun, process_time() - cpu


def _summary(
    stretches: list[tuple[float, float]], bare: list[tuple[float, float]]
) -> dict[str, Any]:
    """Medians, and how much more than the bare stretch of the same turn it took, in percent."""
    more = [
        [100 * (mine[i] / its[i] - 1) for mine, its in zip(stretches, bare, strict=True)]
        for i in (0, 1)
    ]
    return {
        "seconds": median(seconds for seconds, _ in stretches),
        "cpu_s": median(cpu for _, cpu in stretches),
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
        f"{PASSES} passes over {data['file']} with 2 readers and nothing else to do, "
        f"{data['turns']} times each in turn; medians, and in brackets the quartiles of what they "
        "took more than the bare ones of their turn.\n"
    )
    rows = [
        [
            name,
            f"{of_way['seconds']:.3f}",
            _more(of_way["seconds_more_pct"]),
            f"{of_way['cpu_s']:.3f}",
            _more(of_way["cpu_more_pct"]),
        ]
        for name, of_way in data["ways"].items()
    ]
    counted = data["by_count"]
    told = (
        f"By count: {counted['switches_per_batch']:.1f} switches of a clock for a batch, "
        f"{counted['switch_us']:.2f} us each, are {counted['share_pct']:.2f} % of the CPU time.\n"
    )
    table = markdown(["way", "s", "more, %", "CPU s", "more, %"], rows)
    return f"{about}\n{table}\n{told}"


def _more(quartiles: list[float]) -> str:
    low, middle, high = quartiles
    return f"{middle:+.1f} ({low:+.1f} to {high:+.1f})"


PART = Part("overhead", "What accounting and monitor cost", measure, tables)
