"""Trying what was chosen on paper, and something larger where it stalls after all."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from prefetcher.pipeline.stream import Feed
from prefetcher.tuning.choose import MOST_STALL, Choice, Setup, choose
from prefetcher.tuning.probe import Probe, capacities, stall_pct, with_settings

_TRIES = 3  # of a few seconds each; what stalls still is not a matter of depth
_SHARES = (0.8, 0.6, 0.4, 0.2)  # of the pace; fine enough to plan with, at a few seconds each


@dataclass(frozen=True, slots=True)
class Trial:
    """A choice that was tried by a simulated training."""

    choice: Choice
    pace: float
    """Samples per second of the training."""
    stall_pct: float
    """What it waited."""

    @property
    def hardly_waits(self) -> bool:
        """Whether it waited for less than `MOST_STALL` of its time."""
        return self.stall_pct < 100 * MOST_STALL


@dataclass(frozen=True, slots=True)
class Tuned:
    """What came of it."""

    trials: Sequence[Trial]
    """At the demand, or as near to it as the stages come; at least one, the last is to be taken."""
    slower: Trial | None
    """If that one stalls: the same at the fastest pace tried at which it does not, if any."""

    @property
    def trial(self) -> Trial:
        """The one to be taken."""
        return self.trials[-1]

    @property
    def unstalled(self) -> float | None:
        """Samples per second of the fastest training that hardly waited; None if each did."""
        trial = self.trial if self.trial.hardly_waits else self.slower
        return None if trial is None else trial.pace


def tuned(
    feed: Feed,
    probes: Sequence[Probe],
    demand: float,
    memory: int,
    trying: Callable[[Choice, float], object] = lambda *_: None,
) -> Tuned:
    """Chooses by what the probes found, and tries it by a simulated training.

    Args:
        feed: What is read and how, but for threads and queues.
        probes: All of a survey.
        demand: Samples per second that training takes.
        memory: Bytes that queues and buffers may need.
        trying: Told of each choice and pace before they are tried, which takes some seconds.

    Raises:
        SettingsError: Not even the smallest queues fit into the memory.
        PrefetchError: Reading or the transform failed.
    """
    able = capacities(probes, feed.plan)

    def memory_of(setup: Setup) -> int:
        return with_settings(feed, **setup.settings).memory_bytes

    def larger(above: int) -> Choice:
        return choose(demand, able, memory_of, memory, above=above)

    def tried(choice: Choice, pace: float) -> Trial:
        trying(choice, pace)
        stall = stall_pct(with_settings(feed, **choice.setup.settings), pace)
        return Trial(choice, pace, stall)

    trials = settle(larger, lambda choice: tried(choice, choice.pace(demand)))
    return Tuned(trials, slowed(trials[-1], lambda pace: tried(trials[-1].choice, pace)))


def settle(choose_above: Callable[[int], Choice], tried: Callable[[Choice], Trial]) -> list[Trial]:
    """Tries choices, each larger than the one before, until training hardly waits.

    Args:
        choose_above: The best choice that needs more memory than so many bytes.
        tried: Tries a choice.

    Returns:
        What was tried, at least one; the last is to be taken.
    """
    trials: list[Trial] = []
    for _ in range(_TRIES):
        choice = choose_above(trials[-1].choice.memory_bytes if trials else 0)
        if trials and choice.memory_bytes <= trials[-1].choice.memory_bytes:
            break  # nothing larger fits
        trials.append(tried(choice))
        if trials[-1].hardly_waits:
            return trials
    # None was good enough: the one that waited least comes last.
    return sorted(trials, key=lambda trial: -trial.stall_pct)


def slowed(trial: Trial, tried: Callable[[float], Trial]) -> Trial | None:
    """The fastest of some slower paces at which training hardly waits.

    Stages that could do enough on paper may be late all the same, where a step is as short as a
    thread's turn with the interpreter.

    Args:
        trial: At the pace that was asked for.
        tried: Tries another pace.

    Returns:
        None if `trial` needs none, or none of them was slow enough.
    """
    if trial.hardly_waits:
        return None
    slower = (tried(share * trial.pace) for share in _SHARES)
    return next((one for one in slower if one.hardly_waits), None)
