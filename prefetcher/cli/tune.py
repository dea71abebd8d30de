"""Find the fewest threads and the shortest queues that feed a model from a file on this machine."""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from importlib import import_module
from pathlib import Path
from typing import Any, Final

import psutil
from rich import box
from rich.table import Table

from prefetcher.cli import output
from prefetcher.cli.names import guess
from prefetcher.config import Settings, Transform
from prefetcher.errors import SettingsError
from prefetcher.feed import feed_of
from prefetcher.hdf5.shards import describe_all
from prefetcher.monitor import read_log
from prefetcher.monitor.limits import cpus_allowed, memory_allowed
from prefetcher.monitor.stretch import KINDS
from prefetcher.monitor.verdict import FINE_BELOW_PCT
from prefetcher.pipeline.stream import Feed
from prefetcher.tuning.choose import SPARE, Choice, Setup, choose
from prefetcher.tuning.demand import pace_of
from prefetcher.tuning.probe import Probe, capacities, stall_pct, survey, with_settings
from prefetcher.tuning.trial import Trial, settle

NOT_MET: Final = 4
"""The exit code of a demand that cannot be met, like that of every check that does not pass."""

_MOST_THREADS: Final = 8  # a chunk's reading is cut into parts for as many
_DEFAULTS: Final = Settings("", "x", None)
_COLD: Final = 0.05  # of the file: from here on storage had a part in the figures


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds this command's options."""
    parser.add_argument("file", metavar="FILE", help="an HDF5 file, a pattern, or a manifest")
    parser.add_argument("--x", metavar="NAME", help="the inputs' dataset (default: a guess)")
    parser.add_argument(
        "--y", metavar="NAME", help="the targets' dataset (default: a guess if --x is one)"
    )
    demand = parser.add_mutually_exclusive_group(required=True)
    demand.add_argument(
        "--step-ms", type=_positive, metavar="MS", help="how long a training step of a batch takes"
    )
    demand.add_argument(
        "--demand", type=_positive, metavar="N", help="samples per second that training takes"
    )
    demand.add_argument(
        "--log", type=Path, metavar="LOG", help="take the pace from the log of an earlier run"
    )
    parser.add_argument(
        "--memory",
        type=output.byte_count,
        metavar="SIZE",
        help='for queues and buffers, such as "2GB" (default: half of what is available)',
    )
    parser.add_argument(
        "--transform",
        metavar="MODULE:FUNCTION",
        help="the transform of the training; the module is looked for here first",
    )
    for name, what in (("batch", "a batch"), ("chunk", "a chunk")):
        parser.add_argument(
            f"--{name}-size",
            type=output.at_least(1),
            default=getattr(_DEFAULTS, f"{name}_size"),
            metavar="N",
            help=f"samples in {what} (default: %(default)s)",
        )


def run(arguments: argparse.Namespace) -> int:
    """Probes, chooses, tries it and prints; returns `NOT_MET` if the demand is not met, else 0."""
    feed = feed_of(_settings(arguments))
    demand = _demand(arguments)
    memory = arguments.memory or min(psutil.virtual_memory().available, memory_allowed()) // 2
    probes = _probed(feed, demand)
    batches = min(feed.plan.batches_per_chunk, feed.plan.num_batches)
    able = capacities(probes, feed.plan.batch_size, batches)
    trials = settle(
        lambda above: choose(
            demand, able, lambda s: _with(feed, s).memory_bytes, memory, above=above
        ),
        lambda choice: _tried(feed, choice, demand),
    )
    result = Result(feed, arguments.transform, demand, memory, probes, trials)
    if arguments.json:
        output.write_json(result.as_json())
    else:
        _print(result)
    return 0 if result.met else NOT_MET


@dataclass(frozen=True)
class Result:
    """All that was found."""

    feed: Feed
    transform: str | None
    demand: float
    memory: int
    probes: Sequence[Probe]
    trials: Sequence[Trial]

    @property
    def choice(self) -> Choice:
        """The choice that stands."""
        return self.trials[-1].choice

    @property
    def stall_pct(self) -> float:
        """What training waited with it."""
        return self.trials[-1].stall_pct

    @property
    def pace(self) -> float:
        """Samples per second at which it was tried."""
        return _pace(self.choice, self.demand)

    @property
    def met(self) -> bool:
        """Whether the demand is met with something to spare, on paper and when it was tried."""
        return self.choice.limit is None and self.stall_pct < FINE_BELOW_PCT

    @cached_property
    def python(self) -> str:
        """The line that wraps the file."""
        settings, setup = self.feed.settings, self.choice.setup
        words = [repr(settings.file), f"x={settings.x!r}", f"y={settings.y!r}"]
        words += [
            f"{name}={getattr(settings, name)}"
            for name in ("batch_size", "chunk_size")
            if getattr(settings, name) != getattr(_DEFAULTS, name)
        ]
        if self.transform:
            words.append(f"transform={self.transform.rpartition(':')[2]}")
        words.append(_listed(setup))
        return f"prefetcher.PrefetchSequence({', '.join(words)})"

    def as_json(self) -> dict[str, Any]:
        """The same for programs."""
        choice = self.choice
        return {
            "file": str(self.feed.settings.file),
            "demand_samples_per_s": round(self.demand, 1),
            "met": self.met,
            "limit": choice.limit,
            "reaches_samples_per_s": round(choice.reaches, 1),
            "settings": _words(choice.setup),
            "reasons": list(choice.reasons),
            "memory_bytes": choice.memory_bytes,
            "memory_limit_bytes": self.memory,
            "tried_samples_per_s": round(self.pace, 1),
            "stall_pct": round(self.stall_pct, 2),
            "trials": [
                {"settings": _words(trial.choice.setup), "stall_pct": round(trial.stall_pct, 2)}
                for trial in self.trials
            ],
            "probes": [_finite(asdict(probe)) for probe in self.probes],
            "python": self.python,
        }


def _words(setup: Setup) -> dict[str, int]:
    """A setup as keywords of a sequence."""
    depths = {"chunk_queue": setup.chunk_queue, "batch_queue": setup.batch_queue}
    return {**setup.workers._asdict(), **depths}


def _pace(choice: Choice, demand: float) -> float:
    """What is asked for, or what can be had with something to spare."""
    return min(demand, choice.reaches / SPARE)


def _tried(feed: Feed, choice: Choice, demand: float) -> float:
    pace = _pace(choice, demand)
    output.say(f"Trying {_listed(choice.setup)} at {pace:,.0f} samples/s ...")
    return stall_pct(_with(feed, choice.setup), pace)


def _listed(setup: Setup) -> str:
    return ", ".join(f"{name}={value}" for name, value in _words(setup).items())


def _with(feed: Feed, setup: Setup) -> Feed:
    return with_settings(feed, **_words(setup))


def _settings(arguments: argparse.Namespace) -> Settings:
    x, y = arguments.x, arguments.y
    if x is None:
        found = guess(describe_all(arguments.file).files[0].datasets)
        if found is None:
            raise SettingsError(f"{arguments.file} has nothing to batch: name a dataset with --x")
        x, y = found.x, y or found.y
    return Settings(
        arguments.file,
        x,
        y,
        batch_size=arguments.batch_size,
        chunk_size=arguments.chunk_size,
        transform=_function(arguments.transform) if arguments.transform else None,
    )


def _function(words: str) -> Transform:
    """The function that "module:function" names."""
    module, _, name = words.partition(":")
    sys.path.insert(0, str(Path.cwd()))
    try:
        function: Transform = getattr(import_module(module), name)
    except (ImportError, AttributeError, ValueError) as error:
        raise SettingsError(
            f"--transform {words!r} cannot be had ({error}): write MODULE:FUNCTION, such as "
            "train:augment for the function `augment` in train.py"
        ) from error
    return function


def _demand(arguments: argparse.Namespace) -> float:
    """Samples per second that the training takes."""
    if arguments.log is not None:
        return pace_of(read_log(arguments.log), arguments.log.name)
    if arguments.step_ms is not None:
        return float(1000 * arguments.batch_size / arguments.step_ms)
    return float(arguments.demand)


def _probed(feed: Feed, demand: float) -> list[Probe]:
    most = max(1, min(_MOST_THREADS, math.floor(cpus_allowed())))
    probes = []
    with output.progress(f"Probing {feed.shards.name}", most) as advance:
        for probe in survey(feed, most, SPARE * demand):
            probes.append(probe)
            advance(int(probe.workers.batchers == 1))
    return probes


def _print(result: Result) -> None:
    console = output.data()
    for line in _head(result):
        console.print(line, markup=False, soft_wrap=True)
    console.print(_table(result.probes, plain=not console.is_terminal))
    for line in _tail(result):
        console.print(line, markup=False, soft_wrap=True)


def _head(result: Result) -> Iterator[str]:
    plan, feed = result.feed.plan, result.feed
    yield (
        f"{feed.where}: {output.size(feed.row_bytes)} a sample, {plan.batch_size} samples a batch, "
        f"{plan.chunk_size} a chunk"
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
            f"{_pace(trial.choice, result.demand):,.0f} samples/s: training would have waited "
            f"{trial.stall_pct:.1f} % of the time"
        )
    if choice.limit is not None:
        yield (
            f"The demand is not met: {choice.reaches:,.0f} samples/s can be had, "
            f"{choice.reaches / SPARE:,.0f} with something to spare, and the limit is "
            f"{choice.limit}."
        )
    elif not result.met:
        yield "The demand is not met: it should be enough, but was not when it was tried."
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


def _positive(text: str) -> float:
    value = float(text)
    if not 0 < value < math.inf:
        raise argparse.ArgumentTypeError(f"{text} is not above 0")
    return value
