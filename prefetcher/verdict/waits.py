"""What several processes that train as one lost to waiting: all wait for the slowest.

In synchronous training a step ends when the slowest rank's step does. So what the group loses at a
moment is what the rank waits that waits longest then, and not the mean. Pure functions of curves.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from prefetcher.verdict.curve import Curve, Floats
from prefetcher.verdict.judge import level_of

_MOST_CELLS: Final = 100_000  # moments that are told apart: a day of seconds
_NEARLY_ALL_PCT: Final = 80.0  # of the lost time: who waited longest in so much of it is behind
_MOST_BEHIND: Final = 4  # ranks; more are no exception
_WORTH_PCT: Final = 1.0  # of the lost time: below it a rank among many is not worth a word
_ALIKE_PCT: Final = 2.0  # of the time: unevenness that costs no more is no trouble
_ALIKE_PART: Final = 0.2  # of what was lost, likewise


@dataclass(frozen=True, slots=True)
class RankWaits:
    """What one rank waited in a stretch of the group's run."""

    index: int
    stall_pct: float
    """Share of the time in which this rank itself waited for data."""
    longest_pct: float
    """Share of the group's lost time in which this rank waited longest."""


@dataclass(frozen=True, slots=True)
class GroupFinding:
    """What the ranks together lost in a stretch of their run."""

    stretch: str
    """Which one: "first pass" or "later passes"."""
    seconds: float
    samples_per_s: float
    """Of all ranks together."""
    lost_pct: float
    """Share of the time in which the group stood still for data: at each moment what that rank
    waited that waited longest."""
    at_most_pct: float
    """The same if no two ranks waited at the same instant: within a line a log does not tell."""
    mean_pct: float
    """The mean of what the ranks themselves waited."""
    others_pct: float
    """The same as `lost_pct` without the ranks `behind`, at the same pace. At a quicker one the
    others may have to wait, too."""
    uneven_pct: float
    """Share of the time that was lost because they did not wait alike: what is above the mean."""
    level: str
    """One of "fine", "moderate" and "input-bound", by `lost_pct`."""
    pattern: str
    """"even": all waited alike. "behind": nearly always for the ranks `behind`. "in turn": now for
    one and now for another."""
    behind: tuple[int, ...]
    """The ranks that the others waited for, the longest first; empty for the other patterns."""
    ranks: tuple[RankWaits, ...]
    """In order of their index."""

    @property
    def slowest(self) -> RankWaits:
        """The rank that the group waited for longest."""
        return max(self.ranks, key=lambda rank: (rank.longest_pct, rank.stall_pct))

    def waited_for(self, most: int) -> list[RankWaits]:
        """The ranks that the group waited for, the longest first; all of them if they are few.

        Args:
            most: how many there may be.
        """
        by_part = sorted(self.ranks, key=lambda rank: (-rank.longest_pct, -rank.stall_pct))
        if len(by_part) <= most:
            return by_part
        return [rank for rank in by_part[:most] if rank.longest_pct >= _WORTH_PCT] or by_part[:1]

    @property
    def fastest(self) -> RankWaits:
        """The rank that waited least."""
        return min(self.ranks, key=lambda rank: (rank.stall_pct, rank.longest_pct))


def group_findings(
    curves: Mapping[int, Curve],
) -> tuple[GroupFinding | None, GroupFinding | None]:
    """The first pass, and the passes after it; None for one without time.

    What counts is the time in which all ranks ran, from when each of them had its first chunk.

    Args:
        curves: At least one, by the rank's index, in order.
    """
    all_of_them = curves.values()
    end = min(curve.end_s for curve in all_of_them)
    start = max(curve.ready_s for curve in all_of_them)
    if start >= end:  # shorter than a line, or one of them never had data
        start = max(curve.start_s for curve in all_of_them)
    cut = min(max(start, *(curve.first_until_s for curve in all_of_them)), end)
    return (
        _finding("first pass", curves, start, cut),
        _finding("later passes", curves, cut, end),
    )


def longest_waits(
    curves: Sequence[Curve], edges: Floats
) -> tuple[Floats, Floats, NDArray[np.int64]]:
    """Who waited longest in each stretch between two moments.

    Curve after curve, so that a thousand of them take no more memory than one.

    Returns:
        Seconds of the one that waited longest; seconds of all together, but no more than there
        were; and the place in `curves` of the one that waited longest. (edges - 1,) each.
    """
    longest = np.full(len(edges) - 1, -1.0)
    together, who = np.zeros(len(longest)), np.zeros(len(longest), np.int64)
    for place, curve in enumerate(curves):
        waited = curve.waited(edges)
        who[waited > longest] = place
        longest = np.maximum(longest, waited)
        together += waited
    return longest, np.minimum(together, np.diff(edges)), who


def _finding(
    name: str, curves: Mapping[int, Curve], start: float, end: float
) -> GroupFinding | None:
    if end <= start:
        return None
    seconds, ranks = end - start, list(curves.values())
    width = max(seconds / _MOST_CELLS, *(curve.interval_s for curve in ranks))
    edges = np.linspace(start, end, 1 + max(1, round(seconds / max(width, 1e-9))))
    longest, together, who = longest_waits(ranks, edges)
    lost = float(longest.sum())
    parts = np.bincount(who, longest, len(ranks)) / max(lost, 1e-9)
    own = [float(curve.waited(edges[[0, -1]])[0]) / seconds for curve in ranks]
    waits = [
        RankWaits(index, _pct(stall), _pct(part))
        for index, stall, part in zip(curves, own, parts.tolist(), strict=True)
    ]
    above = max(0.0, lost / seconds - sum(own) / len(own))
    pattern, behind = _pattern(waits, 100 * lost / seconds, 100 * above)
    others = [curve for index, curve in curves.items() if index not in behind]
    return GroupFinding(
        stretch=name,
        seconds=round(seconds, 3),
        samples_per_s=round(sum(curve.handed_out(start, end) for curve in ranks) / seconds, 1),
        lost_pct=_pct(lost / seconds),
        at_most_pct=_pct(float(together.sum()) / seconds),
        mean_pct=_pct(sum(own) / len(own)),
        others_pct=_pct(float(longest_waits(others, edges)[0].sum()) / seconds),
        uneven_pct=_pct(above),
        level=level_of(_pct(lost / seconds)),
        pattern=pattern,
        behind=behind,
        ranks=tuple(waits),
    )


def _pattern(
    waits: Sequence[RankWaits], lost_pct: float, uneven_pct: float
) -> tuple[str, tuple[int, ...]]:
    """How the ranks' waits go together, and who is behind."""
    if uneven_pct <= max(_ALIKE_PCT, _ALIKE_PART * lost_pct):
        return "even", ()
    by_part = sorted(waits, key=lambda rank: -rank.longest_pct)
    parts = np.cumsum([rank.longest_pct for rank in by_part])
    enough = 1 + int(np.searchsorted(parts, _NEARLY_ALL_PCT))
    if enough > min(_MOST_BEHIND, len(waits) // 2):
        return "in turn", ()
    return "behind", tuple(rank.index for rank in by_part[:enough])


def _pct(part: float) -> float:
    return round(100 * part, 1)
