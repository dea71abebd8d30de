"""One run of a log as the curves and the figures that a report shows."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import isnan, nan
from typing import Any

from prefetcher.verdict.stretch import Line, Stretch, by_pass, gpu_util_pct, last_run

_EPOCH_MARKS = ("epoch_end", "pass_end")  # the callback's marks say more, where there are any


@dataclass(frozen=True, slots=True)
class Timeline:
    """The last run of a log. Curves have a value for each sample, NaN where it is not known."""

    run: Mapping[str, Any]
    summary: Mapping[str, Any]
    """The run's last one; empty while it goes on."""
    unavailable: Mapping[str, str]
    stretches: Sequence[tuple[str, Stretch]]
    marks_s: Sequence[float]
    """When epochs ended, or passes where nobody told of epochs."""
    decisions: Sequence[tuple[float, Mapping[str, Any]]]
    """What `readers="auto"` or `batchers="auto"` decided, and when."""
    t_s: Sequence[float]
    stall_pct: Sequence[float]
    gpu_util_pct: Sequence[float]
    samples_per_s: Sequence[float]
    depth_pct: Mapping[str, Sequence[float]]
    capacity: Mapping[str, int]
    asked_mb_s: Sequence[float]
    storage_mb_s: Sequence[float]
    cost_ms: float | None
    """The monitor's own CPU time for one sample, the mean."""
    ceiling: float | None = None
    """Samples per second of the same training fed from memory, by another log."""

    @property
    def _settings(self) -> Mapping[str, Any]:
        return self.run.get("settings") or {}

    @property
    def ranks(self) -> int:
        """How many processes train as one; 1 where this is alone."""
        return int((self.run.get("shard") or {}).get("count", 1))

    @property
    def batch_size(self) -> int:
        """Samples in a batch of this process: its share of the settings' `batch_size`."""
        return max(1, int(self._settings.get("batch_size") or 1) // self.ranks)

    @property
    def is_replay(self) -> bool:
        """Whether the run was fed from memory, by `prefetcher.replay`."""
        return bool(self._settings.get("replay"))

    @property
    def has_gpu(self) -> bool:
        """Whether a card's utilization was ever read."""
        return not all(map(isnan, self.gpu_util_pct))

    @property
    def has_storage(self) -> bool:
        """Whether reads from storage were counted."""
        return not all(map(isnan, self.storage_mb_s))

    @property
    def rate(self) -> float | None:
        """Samples per second in the stretch that counts."""
        return self.stretches[-1][1].samples_per_s if self.stretches else None

    @property
    def steps(self) -> list[tuple[str, float, float]]:
        """For each stretch its name, milliseconds of an average step, and percent of it waited."""
        return [
            (name, 1000 * self.batch_size / stretch.samples_per_s, stretch.stall_pct)
            for name, stretch in self.stretches
            if stretch.samples_per_s
        ]

    @property
    def rates(self) -> dict[str, float]:
        """Samples per second that "read" and "batch" could do, and a run "without loading" did."""
        found = {
            "read": self._stage_capacity("read"),
            "batch": self._stage_capacity("batch"),
            "without loading": self.ceiling,
        }
        return {name: rate for name, rate in found.items() if rate is not None}

    def _stage_capacity(self, stage: str) -> float | None:
        """What a stage could do, by the last stretch that tells; None if none does."""
        known = (getattr(stretch, stage).capacity for _, stretch in reversed(self.stretches))
        return next((rate for rate in known if rate is not None), None)


def timeline_of(lines: Sequence[Line]) -> Timeline:
    """The last run in the lines of a log."""
    lines = last_run(lines)
    samples = [line for line in lines if line["kind"] == "sample"]
    first, later = by_pass(lines)
    named = (("first pass", first), ("later passes", later))

    def curve(reading: Callable[[Line], float | None]) -> list[float]:
        return [nan if (value := reading(line)) is None else value for line in samples]

    def mb_s(name: str) -> list[float]:
        amounts = curve(lambda line: line["process"][name])
        seconds = [line["dt_s"] or nan for line in samples]
        return [amount / 1e6 / taken for amount, taken in zip(amounts, seconds, strict=True)]

    def depth(name: str) -> list[float]:
        return curve(
            lambda line: 100 * _queue(line, name)["depth"] / (_queue(line, name)["capacity"] or 1)
        )

    costs = [line["monitor"]["cost_ms"] for line in samples]
    return Timeline(
        run=next((line for line in lines if line["kind"] == "run"), {}),
        summary=next((line for line in reversed(lines) if line["kind"] == "summary"), {}),
        unavailable=_unavailable(lines),
        stretches=[(name, stretch) for name, stretch in named if stretch is not None],
        marks_s=_marks(lines),
        decisions=[(line["t_s"], line["data"]) for line in _events(lines, "tune")],
        t_s=curve(lambda line: line["t_s"]),
        stall_pct=curve(lambda line: line["stall_pct"]),
        gpu_util_pct=curve(gpu_util_pct),
        samples_per_s=curve(lambda line: line["samples_per_s"]),
        depth_pct={name: depth(name) for name in ("chunk", "batch")},
        capacity={
            name: _queue(samples[-1], name)["capacity"] if samples else 0
            for name in ("chunk", "batch")
        },
        asked_mb_s=mb_s("read_requested_bytes"),
        storage_mb_s=mb_s("read_storage_bytes"),
        cost_ms=sum(costs) / len(costs) if costs else None,
    )


def _queue(line: Line, name: str) -> Mapping[str, int]:
    queue: Mapping[str, int] = line["queue"][name]
    return queue


def _unavailable(lines: Sequence[Line]) -> dict[str, str]:
    found: dict[str, str] = {}
    for line in lines:
        if line["kind"] == "run":
            found |= line.get("unavailable") or {}
    for line in _events(lines, "unavailable"):
        found |= line["data"]
    return found


def _marks(lines: Sequence[Line]) -> list[float]:
    found = ([line["t_s"] for line in _events(lines, name)] for name in _EPOCH_MARKS)
    return next(filter(None, found), [])


def _events(lines: Sequence[Line], name: str) -> list[Line]:
    return [line for line in lines if line["kind"] == "event" and line["name"] == name]
