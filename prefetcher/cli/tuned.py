"""What `prefetcher tune` found, for people and for programs."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any, Final

from rich import box
from rich.table import Table

from prefetcher.cli import output
from prefetcher.cli.columns import as_python
from prefetcher.config import Settings
from prefetcher.pipeline.stream import Feed
from prefetcher.tuning.choose import SPARE, Choice
from prefetcher.tuning.probe import Probe
from prefetcher.tuning.trial import Trial, Tuned
from prefetcher.verdict.judge import FINE_BELOW_PCT
from prefetcher.verdict.stretch import KINDS

DEFAULTS: Final = Settings("", "x", None)
"""What need not be in the line to paste."""

_COLD: Final = 0.05  # of the file: from here on storage had a part in the figures


@dataclass(frozen=True)
class Result:
    """All that was found."""

    feed: Feed
    transform: str | None
    demand: float
    memory: int
    probes: Sequence[Probe]
    tuned: Tuned

    @property
    def choice(self) -> Choice:
        """The choice that stands."""
        return self.tuned.trial.choice

    @property
    def met(self) -> bool:
        """Whether the demand is met with something to spare, on paper and when it was tried."""
        return self.choice.limit is None and self.tuned.trial.stall_pct < FINE_BELOW_PCT

    @property
    def trials(self) -> list[Trial]:
        """All that were made."""
        slower = self.tuned.slower
        return [*self.tuned.trials, *([slower] if slower else [])]

    @cached_property
    def python(self) -> str:
        """The line that wraps the file."""
        settings, setup = self.feed.settings, self.choice.setup
        words = [repr(settings.file), f"x={as_python(settings.x)}", f"y={as_python(settings.y)}"]
        words += [
            f"{name}={getattr(settings, name)}"
            for name in ("batch_size", "chunk_size", "allow_external")
            if getattr(settings, name) != getattr(DEFAULTS, name)
        ]
        if self.transform:
            words.append(f"transform={self.transform.rpartition(':')[2]}")
        words.append(str(setup))
        return f"prefetcher.PrefetchSequence({', '.join(words)})"

    def as_json(self) -> dict[str, Any]:
        """The same for programs."""
        choice, trial, unstalled = self.choice, self.tuned.trial, self.tuned.unstalled
        return {
            "file": str(self.feed.settings.file),
            "demand_samples_per_s": round(self.demand, 1),
            "met": self.met,
            "limit": choice.limit,
            "reaches_samples_per_s": round(choice.reaches, 1),
            "settings": choice.setup.settings,
            "reasons": list(choice.reasons),
            "memory_bytes": choice.memory_bytes,
            "memory_limit_bytes": self.memory,
            "tried_samples_per_s": round(trial.pace, 1),
            "stall_pct": round(trial.stall_pct, 2),
            "without_stall_samples_per_s": unstalled and round(unstalled, 1),
            "trials": [
                {
                    "settings": trial.choice.setup.settings,
                    "samples_per_s": round(trial.pace, 1),
                    "stall_pct": round(trial.stall_pct, 2),
                }
                for trial in self.trials
            ],
            "probes": [_finite(asdict(probe)) for probe in self.probes],
            "python": self.python,
        }


def show(result: Result) -> None:
    """Prints it for people: the table, the reasons, the line to paste."""
    console = output.data()
    for line in _head(result):
        console.print(line, markup=False, soft_wrap=True)
    console.print(_table(result.probes, plain=not console.is_terminal))
    for line in _tail(result):
        console.print(line, markup=False, soft_wrap=True)


def _head(result: Result) -> Iterator[str]:
    plan, feed = result.feed.plan, result.feed
    yield (
        f"{feed.where}: {output.size(feed.sample_bytes)} a sample, {plan.batch_size} samples a "
        f"batch, {plan.chunk_size} a chunk"
    )
    yield (
        f"Training takes {result.demand:,.0f} samples/s, a batch in "
        f"{1000 * plan.batch_size / result.demand:.3g} ms; with 20 % to spare that is "
        f"{SPARE * result.demand:,.0f}"
    )
    yield ""


def _table(probes: Sequence[Probe], *, plain: bool) -> Table:
    """What each probe's threads could do, in samples per second, and what of it costs most."""
    works = [(probe.read.by_work, probe.batch.by_work) for probe in probes]
    kinds = [
        kind
        for kind in KINDS
        if any(map(math.isfinite, (work[kind] for pair in works for work in pair)))
    ]
    table = Table(box=None if plain else box.SIMPLE_HEAD, pad_edge=not plain)
    table.add_column("samples/s of", style="bold")
    for name in ("in all", *(f"{kind} alone" for kind in kinds)):
        table.add_column(name, justify="right")
    for probe in probes:
        readers, batchers = probe.workers
        if batchers == 1:
            row = [probe.read.capacity, *(probe.read.by_work[kind] for kind in kinds)]
            table.add_row(f"{readers} readers", *map(_figure, row))
    for probe in (probes[0], *(probe for probe in probes if probe.workers.batchers > 1)):
        row = [probe.batch.capacity, *(probe.batch.by_work[kind] for kind in kinds)]
        table.add_row(f"{probe.workers.batchers} batchers", *map(_figure, row))
    return table


def _tail(result: Result) -> Iterator[str]:
    """The lines below the table."""
    choice = result.choice
    yield ""
    yield from _remarks(result)
    yield from choice.reasons
    yield (
        f"memory: {output.size(choice.memory_bytes)} at most, of {output.size(result.memory)} "
        "that may be used"
    )
    for trial in result.trials:
        setup = trial.choice.setup
        yield (
            f"tried chunk_queue={setup.chunk_queue}, batch_queue={setup.batch_queue} at "
            f"{trial.pace:,.0f} samples/s: training would have waited "
            f"{trial.stall_pct:.1f} % of the time"
        )
    if choice.limit is not None:
        yield (
            f"The demand is not met: {choice.reaches:,.0f} samples/s can be had, "
            f"{choice.reaches / SPARE:,.0f} with something to spare, and the limit is "
            f"{choice.limit}."
        )
    elif not result.met:
        pace = result.tuned.unstalled
        yield (
            "The demand is not met: it should be enough, but was not when it was tried; training "
            f"hardly waits at {'no pace tried' if pace is None else f'{pace:,.0f} samples/s'}."
        )
    yield ""
    yield result.python


def _remarks(result: Result) -> Iterator[str]:
    """Where the bytes came from, as the next run may find them elsewhere."""
    from_storage = sum(probe.storage_bytes or 0 for probe in result.probes)
    if from_storage >= _COLD * result.feed.shards.size:
        yield (
            f"{output.size(from_storage)} came from storage, the rest out of the page cache: once "
            "more shows whether a second run is faster"
        )


def _figure(value: float) -> str:
    return f"{value:,.0f}" if math.isfinite(value) else "-"


def _finite(value: Any) -> Any:
    """The same with null for what is infinite, as JSON knows no infinity."""
    if isinstance(value, Mapping):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple) and not hasattr(value, "_asdict"):
        return [_finite(item) for item in value]
    if hasattr(value, "_asdict"):
        return value._asdict()
    return None if isinstance(value, float) and not math.isfinite(value) else value
