"""What `prefetcher report` shows of some logs: whose they are, which are drawn, what is printed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from prefetcher.errors import SettingsError
from prefetcher.monitor import read_lines, read_log
from prefetcher.monitor.ranks import pattern_of
from prefetcher.report.compare import Difference, differences
from prefetcher.report.groups import Group, Judged, judged, runs_of
from prefetcher.report.reports import Report, reports
from prefetcher.verdict.group import ranks_told

_MOST_RUNS: Final = 2  # side by side
_MOST_RANKS: Final = 8  # that have a line each


@dataclass(frozen=True, slots=True)
class Shown:
    """Logs, and the runs that they are of."""

    logs: Sequence[Judged]
    runs: Sequence[Judged | Group]
    reports: Mapping[int, Report]
    """Of those logs that are drawn, by their place; one or two."""

    @property
    def groups(self) -> list[Group]:
        """Those runs that have several ranks."""
        return [run for run in self.runs if isinstance(run, Group)]

    @property
    def drawn(self) -> list[Report]:
        """What is drawn, from left to right."""
        return list(self.reports.values())

    def checked(self) -> tuple[str, Mapping[str, float | None]]:
        """The first run's name, and its figures."""
        run = self.runs[0]
        if isinstance(run, Group):
            return run.name, run.figures()
        return run.name, self.reports[run.place].figures()

    def as_json(self, *, failed: bool) -> dict[str, Any]:
        """Everything, for programs."""
        drawn = {place: report.as_json() for place, report in self.reports.items()}
        return {
            "failed": failed,
            "groups": [group.as_json() for group in self.groups],
            "reports": [drawn.get(log.place, log.told) for log in self.logs],
            "differences": {each.name: each.values for each in self._differences()},
        }

    def lines(self) -> Iterator[str]:
        """Everything, for people."""
        for run in self.runs:
            yield from _of_group(run) if isinstance(run, Group) else _of_log(run)
        alone = len(self.runs) == 1  # ranks that run on several hosts are no difference
        different = [each for each in self._differences() if not (alone and each.name == "host")]
        told = ", ".join(f"{each.name} {' and '.join(each.values)}" for each in different)
        if not alone:
            yield f"Set differently: {told or 'nothing'}"
        elif told:
            yield f"Set differently on {' and '.join(each.name for each in self.drawn)}: {told}"

    def _differences(self) -> list[Difference]:
        return differences([report.timeline for report in self.drawn])


def shown_of(paths: Sequence[Path]) -> Shown:
    """Reads and judges the logs, one after another: a thousand do not fit memory together.

    Raises:
        SettingsError: They are of more runs than can be shown.
        FileError: One of them cannot be read, or is no log.
    """
    logs = [
        judged(place, path.name, pattern_of(path.name), read_log(path))
        for place, path in enumerate(paths)
    ]
    runs = runs_of(logs)
    if len(runs) > _MOST_RUNS:
        raise SettingsError(
            f"these are logs of {len(runs)} runs, and {_MOST_RUNS} can be shown beside each other: "
            f"{', '.join(run.name for run in runs[:3])}, ... Ranks of one run have another index "
            "each, the same file and settings, and run at the same time"
        )
    drawn = _drawn(runs)
    found = reports([(log.name, read_lines(paths[log.place]).lines) for log in drawn])
    return Shown(logs, runs, {log.place: report for log, report in zip(drawn, found, strict=True)})


def _drawn(runs: Sequence[Judged | Group]) -> list[Judged]:
    """The log of each run that says most of it; of a single group also the other extreme."""
    each = [run.extremes() if isinstance(run, Group) else (run,) for run in runs]
    return list(each[0]) if len(each) == 1 else [logs[0] for logs in each]


def _of_log(log: Judged) -> Iterator[str]:
    verdict = log.rank.verdict
    yield f"{log.name}: {verdict.headline}"
    if verdict.main is not None and verdict.main.cause is not None:
        yield f"  because {verdict.main.why} (confidence: {verdict.main.confidence})"
    for note in verdict.notes:
        yield f"  note: {note}"


def _of_group(group: Group) -> Iterator[str]:
    verdict = group.verdict
    yield f"{group.name}: {verdict.headline}"
    if verdict.why:
        yield f"  because {verdict.why}"
    yield from _ranks(group)
    if verdict.missing:
        yield f"  no log of {ranks_told(verdict.missing)}: the group may have lost more"
    if verdict.ended_early:
        yield f"  the log of {ranks_told(verdict.ended_early)} ends before the others do"
    for note in dict.fromkeys(note for each in group.members for note in each.rank.verdict.notes):
        yield f"  note: {note}"


def _ranks(group: Group) -> Iterator[str]:
    """What each rank waited, the longest first; of many ranks those that were waited for."""
    if (main := group.verdict.main) is None:
        return
    hosts = {each.rank.index: each.rank.run.get("host") for each in group.members}
    worst = main.waited_for(_MOST_RANKS)
    for rank in worst:
        host = hosts[rank.index]
        yield (
            f"  rank {rank.index}{f' on {host}' if host else ''}: waited {rank.stall_pct:.1f} %, "
            f"longest of all in {rank.longest_pct:.0f} % of the lost time"
        )
    if rest := [rank.stall_pct for rank in main.ranks if rank not in worst]:
        yield f"  {len(rest):,} more: waited {min(rest):.1f} to {max(rest):.1f} %"
