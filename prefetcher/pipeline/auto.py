"""What readers="auto" and batchers="auto" do: climb to as many threads as bring something.

Where training waited in a pass, the stage that limits gets one thread more for the next. What gains
3 % stays, what does not is taken back and not tried again. The order of the data is not touched by
this: it never depends on who reads.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from prefetcher.config import Workers
from prefetcher.pipeline.stats import StageStats, Stats
from prefetcher.verdict.judge import BUSY_PCT, EVEN_PCT, FINE_BELOW_PCT

GAIN_PCT = 3.0  # less is lost in noise

_SHORTEST_S = 2.0  # of passes that are judged: a shorter time says more of the machine than of us


@dataclass(frozen=True, slots=True)
class Pace:
    """How some whole passes went."""

    samples_per_s: float
    stall_pct: float
    read_busy_pct: float
    batch_busy_pct: float


@dataclass(frozen=True, slots=True)
class Decision:
    """What was decided at the end of a pass."""

    action: str
    """One of "try", "keep", "undo" and "stay"."""
    workers: Workers
    """From now on."""
    why: str

    def as_data(self) -> dict[str, object]:
        """For the log's event."""
        return {"action": self.action, **self.workers._asdict(), "why": self.why}


class Climber:
    """Decides, pass by pass, how many threads there shall be. Pure: it starts none.

    Args:
        start: Where it begins.
        most: As far as CPUs and memory allow it to go; a stage that is to stay as it is has its
            number of `start` here.
    """

    def __init__(self, start: Workers, most: Workers) -> None:
        self.workers = start
        self._most = most
        self._base: tuple[Workers, Pace] | None = None
        self._refused: set[Workers] = set()
        self._last_why = ""

    def passed(self, pace: Pace) -> list[Decision]:
        """What follows from how the last passes went with `workers`; may be nothing."""
        decisions = []
        if self._base is not None:
            before, base = self._base
            self._base = None
            decisions.append(self._judged(pace, before, base))
            if self.workers == before:
                return decisions
        decisions += self._next(pace)
        return decisions

    def _judged(self, pace: Pace, before: Workers, base: Pace) -> Decision:
        """Whether what was tried stays."""
        gain = 100 * (pace.samples_per_s / base.samples_per_s - 1)
        why = f"{base.samples_per_s:.0f} -> {pace.samples_per_s:.0f} samples/s, {gain:+.0f} %"
        if gain >= GAIN_PCT:
            return Decision("keep", self.workers, why)
        self._refused.add(self.workers)
        self.workers = before
        return Decision("undo", before, why)

    def _next(self, pace: Pace) -> Iterator[Decision]:
        wanted, why = self._wanted(pace)
        if wanted != self.workers:
            self._base = self.workers, pace
            self.workers = wanted
            self._last_why = ""
            yield Decision("try", wanted, why)
        elif why != self._last_why:  # the same answer after each pass would be noise
            self._last_why = why
            yield Decision("stay", wanted, why)

    def _wanted(self, pace: Pace) -> tuple[Workers, str]:
        """The threads to go on with, and why."""
        if pace.stall_pct < FINE_BELOW_PCT:
            return self.workers, "data keeps up"
        limits = _limits(pace)
        if not limits:
            return self.workers, "no stage is busy enough for another thread to help"
        wanted = Workers(
            *(
                min(now + (stage in limits), most)
                for stage, now, most in zip(Workers._fields, self.workers, self._most, strict=True)
            )
        )
        who = " and ".join(limits)
        if wanted == self.workers:
            return self.workers, f"the {who} are the limit, and there are as many as there may be"
        if wanted in self._refused:
            return self.workers, f"the {who} are the limit, and one more gained too little before"
        return wanted, f"training waited for data, and the {who} are the limit"


class Adjuster:
    """Measures passes by the counters, and asks a climber what follows.

    A stretch goes from a pass's first batch to its last: what happens between passes, such as a
    validation, is not in it. The first pass after a start is not judged, as it begins with a wait,
    and may read from a disk what later passes find in memory.
    """

    def __init__(self, climber: Climber) -> None:
        self._climber = climber
        self.restarted()

    @property
    def workers(self) -> Workers:
        """How many threads there shall be now."""
        return self._climber.workers

    def restarted(self) -> None:
        """The threads were started anew: what was measured so far is worth nothing."""
        self._warm = False
        self._began: Stats | None = None
        self._stretches: list[tuple[Stats, Stats]] = []

    def began(self, stats: Stats) -> None:
        """The first batch of a pass was handed out."""
        self._began = stats if self._warm else None

    def ended(self, stats: Stats) -> list[Decision]:
        """The last batch of a pass was handed out; the decisions, often none."""
        began, self._began = self._began, None
        self._warm = True
        if began is None:
            return []
        self._stretches.append((began, stats))
        if sum(end.running_s - begin.running_s for begin, end in self._stretches) < _SHORTEST_S:
            return []
        stretches, self._stretches = self._stretches, []
        return self._climber.passed(_pace(stretches))


def _limits(pace: Pace) -> list[str]:
    """The stages that the others wait for, by the verdict's rule; both if they are as busy."""
    busy = {"readers": pace.read_busy_pct, "batchers": pace.batch_busy_pct}
    busiest = max(busy.values())
    if busiest < BUSY_PCT:
        return []
    return [stage for stage, pct in busy.items() if pct >= BUSY_PCT and busiest - pct < EVEN_PCT]


def _pace(stretches: list[tuple[Stats, Stats]]) -> Pace:
    seconds = sum(end.running_s - begin.running_s for begin, end in stretches)
    return Pace(
        samples_per_s=sum(end.samples - begin.samples for begin, end in stretches) / seconds,
        stall_pct=100 * sum(end.stall_s - begin.stall_s for begin, end in stretches) / seconds,
        read_busy_pct=_busy_pct([(begin.read, end.read) for begin, end in stretches]),
        batch_busy_pct=_busy_pct([(begin.batch, end.batch) for begin, end in stretches]),
    )


def _busy_pct(stretches: list[tuple[StageStats, StageStats]]) -> float:
    """Share of the time that all workers had in which they worked."""
    had_s = sum(end.had_s - begin.had_s for begin, end in stretches)
    return 100 * sum(end.busy_s - begin.busy_s for begin, end in stretches) / max(had_s, 1e-9)
