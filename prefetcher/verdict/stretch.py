"""A stretch of a run summed up: the lines of a log as one set of shares and rates."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

Line = Mapping[str, Any]

KINDS = ("read", "hdf5", "lock", "decode", "gather", "transform")
"""What a worker's time is booked to while it works, as in a log's `work_pct`."""

_GIL_TURN_S = 0.005  # CPython's switch interval: nobody sleeps longer at a stretch for the GIL
_ASKED_PCT = 1.0  # of stall, above which somebody asked although no batch came


@dataclass(frozen=True, slots=True)
class Stage:
    """The readers or the batchers; shares are of the time that all of them had."""

    workers: int
    samples_per_s: float
    busy_pct: float
    wait_in_pct: float
    wait_out_pct: float
    cpu_pct: float | None
    """None in a log that was written before CPU time was counted."""
    work_pct: Mapping[str, float]
    runqueue_pct: float | None = None
    """Ready to run, and waiting for a CPU; None where the system does not count that."""
    timeslices_per_s: float | None = None
    """How often its threads were given a CPU, all together; None likewise."""

    @property
    def capacity(self) -> float | None:
        """Samples per second if it never waited; None where it did too little to tell."""
        if self.busy_pct < 0.1 or not self.samples_per_s:
            return None
        return 100 * self.samples_per_s / self.busy_pct

    @property
    def on_cpu(self) -> float | None:
        """The part of its work, 0 to 1, that it spent on a CPU; None if that is not known."""
        if self.cpu_pct is None or not self.busy_pct:
            return None
        return min(1.0, self.cpu_pct / self.busy_pct)

    @property
    def queued(self) -> float | None:
        """The part of its work, 0 to 1, in which it waited for a CPU; None if that is not known."""
        if self.runqueue_pct is None or self.on_cpu is None:
            return None
        return min(1.0 - self.on_cpu, self.runqueue_pct / self.busy_pct)

    @property
    def asleep(self) -> float | None:
        """The part of its work in which it wanted no CPU: a lock, the GIL, a disk, a service."""
        if self.queued is None or self.on_cpu is None:
            return None
        return 1.0 - self.on_cpu - self.queued

    @property
    def at_most_for_gil(self) -> float | None:
        """The most of its work that can have gone to waiting for the GIL; None if not known.

        Who waits for it wakes up every 5 ms, and each time it wakes up it is given a CPU.
        """
        if self.timeslices_per_s is None or not self.busy_pct or not self.workers:
            return None
        share = self.timeslices_per_s * _GIL_TURN_S / self.workers
        return min(1.0, 100 * share / self.busy_pct)

    @property
    def main_kind(self) -> tuple[str, float]:
        """What most of the work was, and how much of it, 0 to 1; "" if it is not known."""
        kind = max(self.work_pct, key=lambda kind: self.work_pct[kind], default="")
        return kind, self.work_pct[kind] / self.busy_pct if kind and self.busy_pct else 0.0


@dataclass(frozen=True, slots=True)
class Stretch:
    """Some lines of kind "sample" as one; rates and shares are means over their time."""

    lines: int
    seconds: float
    samples_per_s: float
    stall_pct: float
    start_s: float
    """Seconds of waiting until the run's first chunk was there; part of no other figure here."""
    idle_pct: float
    """Share of the time in which nobody asked for data."""
    read: Stage
    batch: Stage
    process_cpu_pct: float | None
    machine_cpu_pct: float | None
    gil_ms: float | None
    """How late the monitor's thread ran, its wait for a CPU left out where that is known."""
    gpu_util_pct: float | None
    storage_bytes: int | None
    requested_bytes: int


def last_run(lines: Sequence[Line]) -> list[Line]:
    """The lines of the last run of a log that holds several, all its parts."""
    starts = [i for i, line in enumerate(lines) if line["kind"] == "run"]
    if not starts:
        return list(lines)
    run_id = lines[starts[-1]].get("run_id")
    return list(lines[next(i for i in starts if lines[i].get("run_id") == run_id) :])


def by_pass(lines: Sequence[Line]) -> tuple[Stretch | None, Stretch | None]:
    """The first pass, and the passes after it, of one run; None for one without lines.

    A line that reaches from one into the other counts as the first pass: it has cold reads in it.
    """
    samples, start_s = _begun(samples_of(lines), _start_s(lines))
    cut = first_pass_lines(samples)
    first, later = samples[:cut], samples[cut:]
    return (
        summed(first, start_s) if first else None,
        summed(later) if later else None,
    )


def samples_of(lines: Sequence[Line]) -> list[Line]:
    """The lines of kind "sample"; of a run that is shorter than an interval, one for all of it."""
    samples = [line for line in lines if line["kind"] == "sample"]
    return samples or [_as_sample(line) for line in lines if line["kind"] == "summary"][:1]


def first_pass_lines(samples: Sequence[Line]) -> int:
    """How many of these lines count as the first pass."""
    return next((i + 1 for i, line in enumerate(samples) if line["pass"] > 0), len(samples))


def _begun(samples: list[Line], start_s: float) -> tuple[list[Line], float]:
    """The lines from the one on that saw the first batch, and what of `start_s` is in them."""
    begun = [line for line in samples if line["position"] is not None]
    if not begun:  # no batch ever came, and that is what there is to judge
        return samples, 0.0
    return begun, start_s - sum(line["dt_s"] for line in samples if line["position"] is None)


def summed(samples: Sequence[Line], start_s: float = 0.0) -> Stretch:
    """Lines as one stretch, the `start_s` seconds of waiting for the first chunk left out.

    Args:
        samples: at least one line of kind "sample".
        start_s: seconds of waiting in the first of them that no setting could have avoided.
    """
    seconds = sum(line["dt_s"] for line in samples)
    stall_s = sum((line["stall_pct"] or 0.0) / 100 * line["dt_s"] for line in samples)
    start_s = min(max(start_s, 0.0), stall_s)
    counted = max(seconds - start_s, 1e-9)

    def mean(reading: Callable[[Line], float | None]) -> float | None:
        return _mean((reading(line), line["dt_s"]) for line in samples)

    def idle(line: Line) -> bool:
        return not line["samples_per_s"] and (line["stall_pct"] or 0.0) < _ASKED_PCT

    return Stretch(
        lines=len(samples),
        seconds=seconds,
        samples_per_s=(mean(lambda line: line["samples_per_s"]) or 0.0) * seconds / counted,
        stall_pct=round(100 * (stall_s - start_s) / counted, 1),
        start_s=start_s,
        idle_pct=100 * sum(line["dt_s"] for line in samples if idle(line)) / max(seconds, 1e-9),
        read=_stage([line["stage"]["read"] for line in samples], samples),
        batch=_stage([line["stage"]["batch"] for line in samples], samples),
        process_cpu_pct=mean(lambda line: line["process"]["cpu_pct"]),
        machine_cpu_pct=mean(lambda line: line["machine"]["cpu_pct"]),
        gil_ms=mean(lambda line: _gil_ms(line["monitor"])),
        gpu_util_pct=mean(gpu_util_pct),
        storage_bytes=_sum(line["process"]["read_storage_bytes"] for line in samples),
        requested_bytes=_sum(line["process"]["read_requested_bytes"] for line in samples) or 0,
    )


def gpu_util_pct(line: Line) -> float | None:
    """The mean over the cards of one line; None without one."""
    return _mean((card["util_pct"], 1.0) for card in line["gpu"] or ())


def _stage(stages: Sequence[Line], samples: Sequence[Line]) -> Stage:
    def mean(reading: Callable[[Line], float | None]) -> float | None:
        return _mean(
            (reading(stage), line["dt_s"]) for stage, line in zip(stages, samples, strict=True)
        )

    kinds = [kind for kind in KINDS if all(kind in stage.get("work_pct", ()) for stage in stages)]
    return Stage(
        workers=stages[-1]["workers"],
        samples_per_s=mean(lambda stage: stage.get("samples_per_s")) or 0.0,
        busy_pct=mean(lambda stage: stage["busy_pct"]) or 0.0,
        wait_in_pct=mean(lambda stage: stage["wait_in_pct"]) or 0.0,
        wait_out_pct=mean(lambda stage: stage["wait_out_pct"]) or 0.0,
        cpu_pct=mean(lambda stage: stage.get("cpu_pct")),
        work_pct={
            kind: mean(lambda stage, kind=kind: stage["work_pct"][kind]) or 0.0  # type: ignore[misc]
            for kind in kinds
        },
        runqueue_pct=mean(lambda stage: stage.get("runqueue_pct")),
        timeslices_per_s=mean(lambda stage: stage.get("timeslices_per_s")),
    )


def _gil_ms(monitor: Line) -> float | None:
    late_ms = monitor.get("late_ms")
    return None if late_ms is None else late_ms - (monitor.get("runqueue_ms") or 0.0)


def _as_sample(summary: Line) -> Line:
    """A summary in the shape of a sample, for runs that ended before the first one."""
    return {
        **summary,
        "dt_s": summary["duration_s"],
        "pass": 0,
        "machine": {"cpu_pct": None},
        "monitor": {},
        "gpu": None,
    }


def _start_s(lines: Sequence[Line]) -> float:
    """Seconds of waiting until there was a chunk, by the events that tell of it."""
    told = {line["name"]: line["data"] for line in reversed(lines) if line["kind"] == "event"}
    if "waited_s" in told.get("first_chunk", {}):
        return float(told["first_chunk"]["waited_s"])
    return float(told.get("first_batch", {}).get("after_s", 0.0))


def _mean(weighted: Iterable[tuple[float | None, float]]) -> float | None:
    """The mean of what is available; None if nothing is."""
    known = [(value, weight) for value, weight in weighted if value is not None]
    total = sum(weight for _, weight in known)
    return sum(value * weight for value, weight in known) / total if total else None


def _sum(values: Iterable[int | None]) -> int | None:
    known = [value for value in values if value is not None]
    return sum(known) if known else None
