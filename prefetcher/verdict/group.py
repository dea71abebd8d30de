"""The verdict on several processes that train as one: who waits, and what all lose to it. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from prefetcher.verdict.curve import Curve, curve_of
from prefetcher.verdict.judge import Finding, Verdict, judge, limit_told
from prefetcher.verdict.stretch import Line, last_run
from prefetcher.verdict.waits import GroupFinding, group_findings

_EARLY_LINES: Final = 3  # so much sooner than the last log ends one that was broken off
_EARLY_S: Final = 5.0
_UNSURE: Final = 0.1  # of what was lost: from there on it is told how much more it may have been
_MOST_NAMED: Final = 8  # ranks, or stretches of them, in one sentence


@dataclass(frozen=True, slots=True)
class Rank:
    """One rank's log, judged on its own."""

    index: int
    count: int
    run: Line
    """The first line of its last run; empty if there is none."""
    verdict: Verdict
    curve: Curve | None
    """None where nothing was measured."""


@dataclass(frozen=True, slots=True)
class GroupVerdict:
    """The answer to "which rank waits, how uneven are they, and what did the group lose to it?"."""

    headline: str
    why: str
    """How that is known; "" where there is nothing to explain."""
    upper_bound: bool
    """Whether the ranks waited at most so long, because tf.data asks ahead of training."""
    count: int
    """Ranks of the run."""
    missing: tuple[int, ...]
    """Those of which there is no log, or nothing in it."""
    ended_early: tuple[int, ...]
    """Those whose logs end well before the last one does."""
    first: GroupFinding | None
    later: GroupFinding | None

    @property
    def main(self) -> GroupFinding | None:
        """The later passes if there are any: a long training is made of those."""
        return self.later or self.first


def rank_of(lines: Sequence[Line]) -> Rank:
    """The last run of a log, as one of the ranks that it may belong to."""
    lines = last_run(lines)
    run = next((line for line in lines if line["kind"] == "run"), {})
    shard = run.get("shard") or {"index": 0, "count": 1}
    return Rank(shard["index"], shard["count"], run, judge(lines), curve_of(lines))


def judge_group(ranks: Sequence[Rank]) -> GroupVerdict:
    """The verdict on the ranks of one run.

    Args:
        ranks: At least one; of each index one at most, and all of the same count.
    """
    known = {rank.index: rank for rank in sorted(ranks, key=lambda rank: rank.index) if rank.curve}
    curves = {index: rank.curve for index, rank in known.items() if rank.curve is not None}
    first, later = group_findings(curves) if curves else (None, None)
    count, main = ranks[0].count, later or first
    missing = tuple(index for index in range(count) if index not in known)
    upper = any(rank.verdict.upper_bound for rank in ranks)
    slowest = _own(known[main.slowest.index], main) if main else None
    return GroupVerdict(
        headline=_headline(main, slowest, count, known, upper=upper),
        why=_why(main, slowest) if main else "",
        upper_bound=upper,
        count=count,
        missing=missing,
        ended_early=_ended_early(curves),
        first=first,
        later=later,
    )


def numbers_told(numbers: Sequence[int]) -> str:
    """Ascending numbers in words: "0, 2 to 7 and 12"; a long list is cut."""
    stretches: list[list[int]] = []
    for number in numbers:
        if stretches and number == stretches[-1][-1] + 1:
            stretches[-1].append(number)
        else:
            stretches.append([number])
    told = [
        text
        for each in stretches
        for text in ([f"{each[0]} to {each[-1]}"] if len(each) > 2 else map(str, each))
    ]
    if len(told) > _MOST_NAMED:
        told = [*told[: _MOST_NAMED - 1], "others"]
    return " and ".join(filter(None, (", ".join(told[:-1]), told[-1])))


def ranks_told(numbers: Sequence[int]) -> str:
    """Ranks in words: "rank 1", or "ranks 1 and 3"."""
    return f"rank{'s' if len(numbers) > 1 else ''} {numbers_told(numbers)}"


def _own(rank: Rank, group: GroupFinding) -> Finding | None:
    """What was found of this rank alone in the same stretch."""
    later = group.stretch == "later passes"
    return (rank.verdict.later if later else rank.verdict.first) or rank.verdict.main


def _headline(
    main: GroupFinding | None,
    slowest: Finding | None,
    count: int,
    known: dict[int, Rank],
    *,
    upper: bool,
) -> str:
    if main is None:
        return "Nothing was measured: the logs hold no sample at the same time."
    group = f"group of {count:,} ranks"
    least = "at least " if len(known) < count else "at most " if upper else ""
    waited = f"waited {least}{main.lost_pct:.0f} % of the time"
    if main.level == "fine":
        return f"Data keeps up: the {group} {waited} for it."
    text = f"The {group} {waited} for data, {_for_whom(main)}"
    return f"{text}{''.join(_cause(main, slowest, known))}"


def _for_whom(main: GroupFinding) -> str:
    if len(main.ranks) == 1:
        return f"by rank {main.ranks[0].index} alone"
    if main.pattern == "even":
        return "all ranks alike"
    if main.pattern == "in turn":
        return f"now for one rank and now for another, longest for rank {main.slowest.index}"
    part = sum(rank.longest_pct for rank in main.ranks if rank.index in main.behind)
    return f"{part:.0f} % of it for {ranks_told(sorted(main.behind))}"


def _cause(main: GroupFinding, slowest: Finding | None, known: dict[int, Rank]) -> Iterator[str]:
    """What limits the rank that the group waits for, and what to change."""
    lone = len(main.behind) == 1 or main.pattern == "in turn"
    where = "" if main.pattern == "even" else " there" if lone else f" on rank {main.slowest.index}"
    if slowest is None or slowest.level not in ("moderate", "input-bound"):
        yield "."
        settings = known[main.slowest.index].run.get("settings") or {}
        depth = settings.get("batch_queue")
        if main.pattern == "in turn" and isinstance(depth, int):
            yield f" Change: batch_queue={depth} -> {2 * depth}, which evens out short waits."
        return
    yield f":{where} {limit_told(slowest)}."
    if slowest.advice:
        yield f" Change{where}: {slowest.advice}."


def _why(main: GroupFinding, slowest: Finding | None) -> str:
    """The ranks' own waits, what unevenness cost, and what the slowest rank's time went to."""
    told = [f"rank {main.slowest.index} waited {main.slowest.stall_pct:.1f} % of the time"]
    others = [rank.stall_pct for rank in main.ranks if rank is not main.slowest]
    if others:
        low, high = min(others), max(others)
        between = f"{low:.1f} %" if low == high else f"{low:.1f} to {high:.1f} %"
        told[0] += f" and the other{'s' if len(others) > 1 else ''} {between}"
        told.append(f"all wait for the slowest, so unevenness cost {main.uneven_pct:.1f} %")
    if main.behind:
        without = "it" if len(main.behind) == 1 else "these"
        told[-1] += f"; the others without {without} lost {main.others_pct:.1f} % at this pace"
    elif main.at_most_pct > (1 + _UNSURE) * main.lost_pct:
        told.append(
            "at each moment the longest wait counts: if they took turns within a line of the log, "
            f"up to {main.at_most_pct:.0f} % were lost"
        )
    if slowest is not None and slowest.cause is not None:
        told.append(slowest.why)
    return "; ".join(told)


def _ended_early(curves: dict[int, Curve]) -> tuple[int, ...]:
    last = max((curve.end_s for curve in curves.values()), default=0.0)
    return tuple(
        index
        for index, curve in curves.items()
        if last - curve.end_s > max(_EARLY_S, _EARLY_LINES * curve.interval_s)
    )
