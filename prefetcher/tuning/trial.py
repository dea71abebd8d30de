"""Trying what was chosen on paper, and something larger where it stalls after all."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from prefetcher.pipeline.stream import Feed
from prefetcher.tuning.choose import MOST_STALL, Choice, Setup, choose
from prefetcher.tuning.probe import Probe, capacities, stall_pct, with_settings

_TRIES = 3  # of a few seconds each; what stalls still is not a matter of depth


@dataclass(frozen=True, slots=True)
class Trial:
    """A choice, and what training waited with it."""

    choice: Choice
    stall_pct: float


def tuned(
    feed: Feed,
    probes: Sequence[Probe],
    demand: float,
    memory: int,
    trying: Callable[[Choice], object] = lambda _: None,
) -> list[Trial]:
    """Chooses by what the probes found, and tries it by a simulated training.

    Args:
        feed: What is read and how, but for threads and queues.
        probes: All of a survey.
        demand: Samples per second that training takes.
        memory: Bytes that queues and buffers may need.
        trying: Told of each choice before it is tried, which takes some seconds.

    Returns:
        What was tried, at least one; the last is to be taken.

    Raises:
        SettingsError: Not even the smallest queues fit into the memory.
        PrefetchError: Reading or the transform failed.
    """
    able = capacities(probes, feed.plan)

    def memory_of(setup: Setup) -> int:
        return with_settings(feed, **setup.settings).memory_bytes

    def stall(choice: Choice) -> float:
        trying(choice)
        return stall_pct(with_settings(feed, **choice.setup.settings), choice.pace(demand))

    return settle(lambda above: choose(demand, able, memory_of, memory, above=above), stall)


def settle(
    choose_above: Callable[[int], Choice], stall_pct_of: Callable[[Choice], float]
) -> list[Trial]:
    """Tries choices, each larger than the one before, until training hardly waits.

    Args:
        choose_above: The best choice that needs more memory than so many bytes.
        stall_pct_of: Runs a choice, and says what training waited.

    Returns:
        What was tried, at least one; the last is to be taken.
    """
    trials: list[Trial] = []
    for _ in range(_TRIES):
        choice = choose_above(trials[-1].choice.memory_bytes if trials else 0)
        if trials and choice.memory_bytes <= trials[-1].choice.memory_bytes:
            break  # nothing larger fits
        trials.append(Trial(choice, stall_pct_of(choice)))
        if trials[-1].stall_pct < 100 * MOST_STALL:
            return trials
    # None was good enough: the one that waited least comes last.
    return sorted(trials, key=lambda trial: -trial.stall_pct)
