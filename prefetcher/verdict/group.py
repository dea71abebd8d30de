"""The verdict on several processes that train as one: who waits, and what all lose to it. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from prefetcher.verdict.curve import Curve, curve_of
from prefetcher.verdict.judge import Finding, Verdict, judge, level_of, limit_told
from prefetcher.verdict.stretch import Line, last_run
from prefetcher.verdict.waits import GroupFinding, group_findings

_EARLY_LINES: Final = 3  # so much sooner than the last log ends one that was broken off
_EARLY_S: Final = 5.0
_UNSURE_PCT, _UNSURE_PART = 1.0, 0.1  # of the time, and of the loss: it is told if more may be lost
_BUSY: Final = ("read", "batch", "read and batch")
_NOTHING: Final = "Nothing was measured: the logs hold no sample at the same time."
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
    level: str
    """One of "idle" (nothing was measured), "fine", "moderate" and "input-bound"."""
    unsure: bool
    """Whether far more than `lost_pct` may have been lost, up to `at_most_pct`: no stage of the
    rank that was waited for longest is always busy, so ranks may have been late in turn."""
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
    said = _Said(main, known, count, upper) if main else None
    return GroupVerdict(
        headline=said.headline() if said else _NOTHING,
        why=said.why() if said else "",
        level=said.level if said else "idle",
        unsure=said is not None and said.unsure,
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


@dataclass(frozen=True, slots=True)
class _Said:
    """What is said of the stretch that counts."""

    main: GroupFinding
    known: Mapping[int, Rank]
    count: int
    upper: bool

    @property
    def slowest(self) -> Finding | None:
        """What was found of the rank alone that was waited for longest, in the same stretch."""
        verdict = self.known[self.main.slowest.index].verdict
        later = self.main.stretch == "later passes"
        return (verdict.later if later else verdict.first) or verdict.main

    @property
    def unsure(self) -> bool:
        """As of `GroupVerdict`.

        A rank with a stage that is always busy has no batch ready. So it is late at every step, and
        whoever is late less is so at the same time.
        """
        slowest, main = self.slowest, self.main
        more = main.at_most_pct - main.lost_pct > max(_UNSURE_PCT, _UNSURE_PART * main.lost_pct)
        return more and (slowest is None or slowest.limit not in _BUSY)

    @property
    def level(self) -> str:
        """As of `GroupVerdict`."""
        level = self.main.level
        unclear = self.unsure and level_of(self.main.at_most_pct) != "fine"
        return "moderate" if level == "fine" and unclear else level

    def headline(self) -> str:
        """Who waited how long for whom, why, and what to change."""
        group = f"group of {self.count:,} ranks"
        if self.level == "fine":
            return f"Data keeps up: the {group} waited {self._share()} of the time for it."
        text = f"The {group} waited {self._share()} of the time for data, {self._for_whom()}"
        return f"{text}{''.join(self._cause())}"

    def _share(self) -> str:
        lost, most = self.main.lost_pct, self.main.at_most_pct
        if len(self.known) < self.count:
            return f"at least {lost:.0f} %"
        if self.upper:
            return f"at most {most if self.unsure else lost:.0f} %"
        return f"{lost:.0f} to {most:.0f} %" if self.unsure else f"{lost:.0f} %"

    def _for_whom(self) -> str:
        main = self.main
        if len(main.ranks) == 1:
            return f"by rank {main.ranks[0].index} alone"
        if main.pattern == "behind":
            part = sum(rank.longest_pct for rank in main.ranks if rank.index in main.behind)
            return f"{part:.0f} % of it for {ranks_told(sorted(main.behind))}"
        if main.pattern == "in turn" or self.unsure:
            return f"now for one rank and now for another, longest for rank {main.slowest.index}"
        return "all ranks alike"

    def _cause(self) -> Iterator[str]:
        """What limits the rank that was waited for longest, and what to change."""
        main, slowest = self.main, self.slowest
        if slowest is None or slowest.level not in ("moderate", "input-bound"):
            yield "."
            queue = (self.known[main.slowest.index].run.get("settings") or {}).get("chunk_queue")
            if main.pattern != "behind" and isinstance(queue, int):
                yield f" Change: chunk_queue={queue} -> {2 * queue}, which evens out short waits."
            return
        lone = len(main.behind) == 1 or main.pattern == "in turn"
        where = f" on rank {main.slowest.index}" if main.behind else ""
        where = " there" if lone else where
        yield f":{where} {limit_told(slowest)}."
        if slowest.advice:
            yield f" Change{where}: {slowest.advice}."

    def why(self) -> str:
        """The ranks' own waits, what unevenness cost, and what the slowest's time went to."""
        main, slowest = self.main, self.slowest
        told = [f"rank {main.slowest.index} waited {main.slowest.stall_pct:.1f} % of the time"]
        others = [rank.stall_pct for rank in main.ranks if rank is not main.slowest]
        if others:
            low, high = min(others), max(others)
            between = f"{low:.1f} %" if low == high else f"{low:.1f} to {high:.1f} %"
            told[0] += f" and the other{'s' if len(others) > 1 else ''} {between}"
            told.append(f"all wait for the slowest, so unevenness cost {main.uneven_pct:.1f} %")
        if main.behind:
            without = "it" if len(main.behind) == 1 else "these"
            told.append(f"the others without {without} lost {main.others_pct:.1f} % at this pace")
        if self.unsure:
            told.append(
                f"up to {main.at_most_pct:.0f} % if ranks were late one after another within a "
                "line of the log (a Monitor with a shorter interval tells)"
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
