"""Which logs are of ranks of one run, and what is told of it. Nothing large of a log is kept."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final

from prefetcher.report.compare import without_address
from prefetcher.report.reports import reports
from prefetcher.verdict.curve import Curve
from prefetcher.verdict.group import GroupVerdict, Rank, judge_group, rank_of
from prefetcher.verdict.stretch import Line

_OF_A_PROCESS: Final = (
    "readers", "batchers", "chunk_queue", "batch_queue", "retries", "transform",
)  # fmt: skip
"""Settings that may differ from rank to rank, as a transform that was given the rank does: they
change the pace and not which samples are read."""
_SKEW_S: Final = 60.0  # by which the clocks of hosts may differ


@dataclass(frozen=True, slots=True)
class Judged:
    """A log, judged: a thousand ranks' logs fit memory so, as their lines would not."""

    place: int
    """Which of the logs that were named this one is."""
    name: str
    pattern: str | None
    """What the names of all ranks' logs match; None if the name is not of that kind."""
    rank: Rank
    told: dict[str, Any]
    """The log's report, for programs."""


@dataclass(frozen=True, slots=True)
class Group:
    """The ranks of one run whose logs there are."""

    name: str
    members: tuple[Judged, ...]
    """In order of their index."""
    verdict: GroupVerdict

    @property
    def curves(self) -> dict[int, Curve]:
        """The ranks' curves by index, of those that have one."""
        known = ((each.rank.index, each.rank.curve) for each in self.members)
        return {index: curve for index, curve in known if curve is not None}

    def extremes(self) -> tuple[Judged, ...]:
        """The rank that the group waits for longest, and the one that waits least."""
        main = self.verdict.main
        if main is None:
            return self.members[:2]
        indices = dict.fromkeys((main.slowest.index, main.fastest.index))
        by_index = {each.rank.index: each for each in self.members}
        return tuple(by_index[index] for index in indices)

    def figures(self) -> dict[str, float | None]:
        """The figures that a check may ask for, by name; None where one is not available."""
        main, first = self.verdict.main, self.verdict.first
        return {
            "stall_pct": main.lost_pct if main else None,
            "first_stall_pct": first.lost_pct if first else None,
            "mean_stall_pct": main.mean_pct if main else None,
            "uneven_pct": main.uneven_pct if main else None,
            "samples_per_s": main.samples_per_s if main else None,
        }

    def as_json(self) -> dict[str, Any]:
        """Verdict and figures, for programs."""
        logs = {str(each.rank.index): each.name for each in self.members}
        return {
            "group": self.name,
            "logs": logs,
            "verdict": asdict(self.verdict),
            "figures": self.figures(),
        }


def judged(place: int, name: str, pattern: str | None, lines: Sequence[Line]) -> Judged:
    """The last run of a log, judged."""
    (report,) = reports([(name, lines)])
    return Judged(place, name, pattern, rank_of(lines), report.as_json())


def runs_of(logs: Sequence[Judged]) -> list[Judged | Group]:
    """The runs that these logs are of, in order of their first logs.

    Ranks are of one run if each is another of the same number of shares, they read the same file
    with the same settings, their names go together, and they ran at the same time.
    """
    found: list[list[Judged]] = []
    for log in logs:
        joined = next((run for run in found if _belongs(log, run)), None)
        if joined is None:
            found.append([log])
        else:
            joined.append(log)
    return [_run(logs) for logs in found]


def _run(logs: Sequence[Judged]) -> Judged | Group:
    if logs[0].rank.count == 1:
        return logs[0]
    members = tuple(sorted(logs, key=lambda log: log.rank.index))
    name = members[0].pattern or ", ".join(dict.fromkeys((members[0].name, members[-1].name)))
    return Group(name, members, judge_group([each.rank for each in members]))


def _belongs(log: Judged, run: Sequence[Judged]) -> bool:
    """Whether a log is of another rank of this run."""
    rank, first = log.rank, run[0].rank
    return (
        rank.count == first.count > 1
        and rank.index not in {each.rank.index for each in run}
        and (log.pattern == run[0].pattern or None in (log.pattern, run[0].pattern))
        and _data(rank.run) == _data(first.run)
        and all(_overlap(rank.curve, each.rank.curve) for each in run)
    )


def _data(run: Line) -> tuple[Any, dict[str, Any]]:
    """What a run trains on, and in which order."""
    settings = run.get("settings") or {}
    kept = {name: value for name, value in settings.items() if name not in _OF_A_PROCESS}
    return run.get("file"), {name: without_address(value) for name, value in kept.items()}


def _overlap(one: Curve | None, other: Curve | None) -> bool:
    """Whether they ran at the same time, as far as is known."""
    if one is None or other is None:
        return True
    return max(one.start_s, other.start_s) <= min(one.end_s, other.end_s) + _SKEW_S
