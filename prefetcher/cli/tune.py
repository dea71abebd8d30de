"""Find the fewest threads and the shortest queues that feed a model from a file on this machine."""

from __future__ import annotations

import argparse
import math
import sys
from importlib import import_module
from pathlib import Path
from typing import Final

import psutil

from prefetcher.arguments import Transform
from prefetcher.cli import names, output
from prefetcher.cli.tuned import Result, show
from prefetcher.config import Settings
from prefetcher.errors import SettingsError
from prefetcher.feed import feed_of
from prefetcher.hdf5.shards import describe_all
from prefetcher.machine.limits import cpus_allowed, memory_allowed
from prefetcher.monitor import read_log
from prefetcher.order.chunk import MOST_READERS
from prefetcher.pipeline.stream import Feed
from prefetcher.tuning.choose import SPARE, Choice
from prefetcher.tuning.demand import pace_of
from prefetcher.tuning.probe import Probe, survey
from prefetcher.tuning.trial import tuned

NOT_MET: Final = 4
"""The exit code of a demand that cannot be met, like that of every check that does not pass."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds this command's options."""
    parser.add_argument("file", metavar="FILE", help="an HDF5 file, a pattern, or a manifest")
    parser.add_argument(
        "--x", metavar="NAME", help="the inputs' dataset (default: as `prefetcher inspect` says)"
    )
    parser.add_argument(
        "--y", metavar="NAME", help="the targets' dataset (default: the same, if --x is left out)"
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
    output.add_sizes(parser)
    output.add_allow_external(parser)


def run(arguments: argparse.Namespace) -> int:
    """Probes, chooses, tries it and prints; returns `NOT_MET` if the demand is not met, else 0."""
    feed = feed_of(_settings(arguments))
    demand = _demand(arguments)
    memory = arguments.memory or min(psutil.virtual_memory().available, memory_allowed()) // 2
    probes = _probed(feed, demand)

    def trying(choice: Choice, pace: float) -> None:
        output.say(f"Trying {choice.setup} at {pace:,.0f} samples/s ...")

    found = tuned(feed, probes, demand, memory, trying)
    result = Result(feed, arguments.transform, demand, memory, probes, found)
    if arguments.json:
        output.write_json(result.as_json())
    else:
        show(result)
    return 0 if result.met else NOT_MET


def _settings(arguments: argparse.Namespace) -> Settings:
    x, y = arguments.x, arguments.y
    if x is None:
        shards = describe_all(arguments.file, allow_external=arguments.allow_external)
        found = names.proposed(shards).choice
        if found is None:
            raise SettingsError(f"{arguments.file} has nothing to batch: name a dataset with --x")
        found_x, found_y = found.asked
        x, y = found_x, y or found_y
    return Settings(
        arguments.file,
        x,
        y,
        batch_size=arguments.batch_size,
        chunk_size=arguments.chunk_size,
        transform=_function(arguments.transform) if arguments.transform else None,
        allow_external=arguments.allow_external,
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
    most = min(MOST_READERS, cpus_allowed())
    probes = []
    with output.progress(f"Probing {feed.shards.name}", most) as advance:
        for probe in survey(feed, most, SPARE * demand):
            probes.append(probe)
            advance(int(probe.workers.batchers == 1))
    return probes


def _positive(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 < value < math.inf:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number above 0, such as 12 or 0.5")
    return value
