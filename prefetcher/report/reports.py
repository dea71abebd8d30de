"""One log, or two, read and judged: what every form of the report shows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from prefetcher.report.timeline import Timeline, timeline_of
from prefetcher.verdict.judge import Verdict, judge
from prefetcher.verdict.stretch import Line


@dataclass(frozen=True, slots=True)
class Report:
    """One log, read and judged."""

    name: str
    timeline: Timeline
    verdict: Verdict

    def figures(self) -> dict[str, float | None]:
        """The figures that a check may ask for, by name; None where one is not available."""
        main, timeline = self.verdict.main, self.timeline
        stretch = timeline.stretches[-1][1] if timeline.stretches else None
        first = self.verdict.first
        process = timeline.summary.get("process", {})
        return {
            "stall_pct": main and main.stall_pct,
            "first_stall_pct": first and first.stall_pct,
            "samples_per_s": main and main.samples_per_s,
            "gpu_util_pct": stretch and stretch.gpu_util_pct,
            "read_busy_pct": stretch and stretch.read.busy_pct,
            "batch_busy_pct": stretch and stretch.batch.busy_pct,
            "first_batch_s": timeline.summary.get("first_batch_s"),
            "rss_peak_bytes": process.get("rss_peak_bytes"),
            "ceiling_samples_per_s": timeline.ceiling,
        }

    def as_json(self) -> dict[str, Any]:
        """Verdict and figures, for programs."""
        return {"log": self.name, "verdict": asdict(self.verdict), "figures": self.figures()}


def reports(logs: Sequence[tuple[str, Sequence[Line]]]) -> list[Report]:
    """A report for each log, given as name and lines; a replay's gives the others their ceiling."""
    timelines = [timeline_of(lines) for _, lines in logs]
    ceiling = next((timeline.rate for timeline in timelines if timeline.is_replay), None)
    return [
        Report(
            name,
            timeline if timeline.is_replay else replace(timeline, ceiling=ceiling),
            judge(lines),
        )
        for (name, lines), timeline in zip(logs, timelines, strict=True)
    ]
