"""The verdict: is training waiting for data, why, and what to change. A pure function of a log."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from prefetcher.verdict.causes import (
    UNEXPLAINED,
    Cause,
    Machine,
    cause_in_batching,
    cause_in_reading,
)
from prefetcher.verdict.stretch import Line, Stretch, by_pass, last_run

FINE_BELOW_PCT = 5.0
BOUND_ABOVE_PCT = 20.0
"""The thresholds of TensorBoard's input analyzer, so that the two agree."""

BUSY_PCT = 70.0  # a stage that works less than this is not what the others wait for
EVEN_PCT = 10.0  # two busy stages that differ by less limit together
_BOTH_WAIT_PCT = 15.0  # two neighbours that both wait for each other so long need room between
_IDLE_PCT = 90.0
_CLEAR_PCT = 85.0
_ENOUGH_LINES = 5


@dataclass(frozen=True, slots=True)
class Finding:
    """What limited one stretch of a run."""

    stretch: str
    """Which one: "first pass" or "later passes"."""
    seconds: float
    samples_per_s: float
    stall_pct: float
    """Share of the time in which whoever asked for a batch waited, after the first batch."""
    level: str
    """One of "idle", "fine", "moderate" and "input-bound"."""
    limit: str
    """One of "training", "read", "batch", "read and batch", "chunk queue", "batch queue" and
    "unexplained"."""
    cause: str | None
    """Such as "disk", "decoding", "transform", "GIL", "CPU quota", "HDF5's lock", "unexplained"."""
    why: str
    """How that is known."""
    advice: str | None
    """What to change, as a line to paste where there is one."""
    confidence: str
    """One of "high", "medium" and "low"."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """The answer to "is my accelerator waiting, why, and what do I change?"."""

    headline: str
    upper_bound: bool
    """Whether training waited at most this long, because tf.data asks ahead of it."""
    first: Finding | None
    """The first pass, which may have to read from storage."""
    later: Finding | None
    """The passes after it, which may find the file in the page cache."""
    notes: tuple[str, ...] = ()
    """What is odd beside the pace: numbers that are packed and read as they are stored."""

    @property
    def main(self) -> Finding | None:
        """The later passes if there are any: a long training is made of those."""
        return self.later or self.first


def judge(lines: Sequence[Line]) -> Verdict:
    """The verdict on the last run in a log.

    Args:
        lines: what `read_log` returned, also of a log that still grows.
    """
    lines = last_run(lines)
    run = next((line for line in lines if line["kind"] == "run"), {})
    machine = Machine.of(run)
    first, later = by_pass(lines)
    findings = (
        _finding("first pass", first, machine) if first else None,
        _finding("later passes", later, machine) if later else None,
    )
    upper = run.get("wait_scope") == "upper_bound"
    return Verdict(_headline(*findings, upper=upper), upper, *findings, tuple(_notes(run)))


def _notes(run: Line) -> Iterator[str]:
    """What explains an odd loss, not a slow pass."""
    for packed in (run.get("file") or {}).get("packed") or ():
        name, packing = packed["name"], packed["packing"]
        yield (
            f"{name} is packed ({packing}) and was read as it is stored: Unpacked({name!r}) gives "
            "its values"
        )


def _finding(name: str, stretch: Stretch, machine: Machine) -> Finding:
    level = _level(stretch)
    if level in ("idle", "fine"):
        limit, cause = "training", _no_cause(stretch, level)
    else:
        limit, cause = _limit(stretch, machine)
    return Finding(
        stretch=name,
        seconds=round(stretch.seconds, 3),
        samples_per_s=round(stretch.samples_per_s, 1),
        stall_pct=stretch.stall_pct,
        level=level,
        limit=limit,
        cause=cause.name or None,
        why=cause.why,
        advice=cause.remedy,
        confidence=_confidence(stretch, limit, cause),
    )


def _level(stretch: Stretch) -> str:
    level = level_of(stretch.stall_pct)
    return "idle" if level == "fine" and stretch.idle_pct >= _IDLE_PCT else level


def level_of(stall_pct: float) -> str:
    """One of "fine", "moderate" and "input-bound", for a share of the time that was waited."""
    if stall_pct > BOUND_ABOVE_PCT:
        return "input-bound"
    return "moderate" if stall_pct >= FINE_BELOW_PCT else "fine"


def _no_cause(stretch: Stretch, level: str) -> Cause:
    if level == "idle":
        return Cause("", f"nobody asked for data in {stretch.idle_pct:.0f} % of the time", None)
    return Cause("", "batches were ready when they were asked for", None)


def _limit(stretch: Stretch, machine: Machine) -> tuple[str, Cause]:
    """The stage that the others wait for, by its busy share: depths look alike in many cases."""
    read, batch = stretch.read.busy_pct, stretch.batch.busy_pct
    if max(read, batch) < BUSY_PCT:
        return _between(stretch, machine)
    if min(read, batch) >= BUSY_PCT and abs(read - batch) < EVEN_PCT:
        return "read and batch", _both(stretch, machine)
    if read > batch:
        return "read", cause_in_reading(stretch, machine)
    return "batch", cause_in_batching(stretch, machine)


def _both(stretch: Stretch, machine: Machine) -> Cause:
    """Readers and batchers are equally busy, so more of one alone would bring nothing."""
    causes = cause_in_reading(stretch, machine), cause_in_batching(stretch, machine)
    readers, batchers = (
        machine.setting("readers", stretch.read.workers),
        machine.setting("batchers", stretch.batch.workers),
    )
    remedy = f"readers={readers} -> {readers + 1} and batchers={batchers} -> {batchers + 1}"
    return Cause(
        " and ".join(dict.fromkeys(cause.name for cause in causes)),
        "; ".join(cause.why for cause in causes),
        remedy if machine.spare(stretch) >= 1 else None,
        sure=all(cause.sure for cause in causes),
    )


def _between(stretch: Stretch, machine: Machine) -> tuple[str, Cause]:
    """No stage is busy and yet there is a stall: they wait for each other in turn."""
    read, batch = stretch.read, stretch.batch
    if min(read.wait_out_pct, batch.wait_in_pct) >= _BOTH_WAIT_PCT:
        chunks = machine.setting("chunk_queue", 1)
        why = "readers wait for room in the chunk queue while batchers wait for chunks"
        return "chunk queue", Cause(
            "too few chunks", why, f"chunk_queue={chunks} -> {chunks + 1}", sure=False
        )
    if min(batch.wait_out_pct, stretch.stall_pct) >= _BOTH_WAIT_PCT:
        depth = machine.setting("batch_queue", 1)
        why = (
            "batchers wait for room in the batch queue at times, and training for batches at others"
        )
        return "batch queue", Cause(
            "too few batches", why, f"batch_queue={depth} -> {2 * depth}", sure=False
        )
    why = f"readers work {read.busy_pct:.0f} % and batchers {batch.busy_pct:.0f} % of the time"
    return UNEXPLAINED, Cause(UNEXPLAINED, why, None, sure=False)


def _confidence(stretch: Stretch, limit: str, cause: Cause) -> str:
    if cause.name == UNEXPLAINED or stretch.lines < 3:
        return "low"
    busiest = max(stretch.read.busy_pct, stretch.batch.busy_pct)
    clear = limit == "training" or busiest >= _CLEAR_PCT
    return "high" if clear and cause.sure and stretch.lines >= _ENOUGH_LINES else "medium"


def _headline(first: Finding | None, later: Finding | None, *, upper: bool) -> str:
    main = later or first
    if main is None:
        return "Nothing was measured: the log holds no sample."
    text = _sentence(main, upper=upper)
    if first and later and first.level != later.level:
        text += f" In the first pass it was {first.stall_pct:.0f} %"
        text += f" ({first.cause})." if first.cause else "."
    if main.advice and main.level in ("moderate", "input-bound"):
        text += f" Change: {main.advice}."
    return text


def _sentence(finding: Finding, *, upper: bool) -> str:
    if finding.level == "idle":
        return f"Nothing to judge: {finding.why}."
    waited = f"{'at most ' if upper else ''}{finding.stall_pct:.0f} % of the time"
    if finding.level == "fine":
        return f"Data keeps up: training waited {waited} for it."
    return f"Training waited {waited} for data: {limit_told(finding)}."


def limit_told(finding: Finding) -> str:
    """What limits a stretch that waited, in words: "the readers are the limit (decoding)"."""
    who = {
        "read": "the readers are the limit",
        "batch": "the batchers are the limit",
        "read and batch": "readers and batchers are the limit together",
        "chunk queue": "the chunk queue is too short",
        "batch queue": "the batch queue is too short",
        UNEXPLAINED: "the figures do not explain why",
    }[finding.limit]
    cause = f" ({finding.cause})" if finding.limit in ("read", "batch", "read and batch") else ""
    return f"{who}{cause}"
