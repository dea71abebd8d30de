"""Runs side by side: drawn on the same scales, and with what was set differently said first."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from prefetcher.messages.text import visible
from prefetcher.report.timeline import Timeline

_FAR: Final = 4.0  # a rate that is so many times the fastest curve would press that flat
_ROOM: Final = 1.15  # above the highest line
_LONGEST: Final = 40  # letters of a value
_ADDRESS: Final = re.compile(r" at 0x[0-9a-fA-F]+")
_OF_THE_RUN: Final = ("backend", "version", "host")


@dataclass(frozen=True, slots=True)
class Scale:
    """Where the axes end. One for all runs that are compared, or their curves could not be."""

    step_ms: float
    """The longest average step."""
    seconds: float
    """The end of the longest run."""
    samples_per_s: float
    mb_s: float
    far_samples_per_s: float
    """A rate above this is told in words only."""

    @classmethod
    def of(cls, timelines: Sequence[Timeline]) -> Scale:
        """The scale that all of these fit."""
        steps = (ms for timeline in timelines for _, ms, _ in timeline.steps)
        taken = _top(value for timeline in timelines for value in timeline.samples_per_s)
        rates = [rate for timeline in timelines for rate in timeline.rates.values()]
        near = _top((taken, *(rate for rate in rates if rate <= _FAR * taken)))
        megabytes = (
            value
            for timeline in timelines
            for curve in (timeline.asked_mb_s, timeline.storage_mb_s)
            for value in curve
        )
        return cls(
            step_ms=_top(steps) or 1.0,
            seconds=_top(t_s for timeline in timelines for t_s in timeline.t_s) or 1.0,
            samples_per_s=_ROOM * near or 1.0,
            mb_s=_ROOM * _top(megabytes) or 1.0,
            far_samples_per_s=_FAR * taken,
        )


@dataclass(frozen=True, slots=True)
class Difference:
    """Something that was set differently."""

    name: str
    values: tuple[str, ...]
    """One for each run."""


def differences(timelines: Sequence[Timeline]) -> list[Difference]:
    """What was not the same in all runs, the settings first; empty for a single one.

    What one of them does not know of itself is no difference: a replay has no readers.
    """
    known = [_set(timeline.run) for timeline in timelines]
    names = [name for name in (known[0] if known else ()) if all(name in one for one in known)]
    found = (Difference(name, tuple(_shown(one[name]) for one in known)) for name in names)
    return [difference for difference in found if len(set(difference.values)) > 1]


def _set(run: Mapping[str, Any]) -> dict[str, Any]:
    """What a run was set to, and where it ran."""
    settings, cpus = run.get("settings") or {}, run.get("cpus_allowed") or {}
    replayed = settings.get("replay")
    return {
        "data from": f"memory, {replayed} batches" if replayed else "the file",
        **settings,
        "ranks": (run.get("shard") or {}).get("count", 1),
        **{name: run[name] for name in _OF_THE_RUN if name in run},
        "CPUs": min((n for n in (cpus.get("affinity"), cpus.get("quota")) if n), default="unknown"),
        "GPU": ", ".join(str(card["name"]) for card in run.get("gpu") or ()) or "none",
    }


def without_address(value: object) -> str:
    """A setting as text; where a function lay in memory is no part of it."""
    return _ADDRESS.sub("", visible(value))


def _shown(value: object) -> str:
    text = without_address(value)
    return text if len(text) <= _LONGEST else text[: _LONGEST - 3] + "..."


def _top(values: Iterable[float]) -> float:
    """The largest of those that are known; NaN is not."""
    return max((value for value in values if value == value), default=0.0)  # noqa: PLR0124
