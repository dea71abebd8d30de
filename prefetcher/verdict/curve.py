"""When one rank waited for data, on a clock that all ranks share. Pure, and small to keep."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime

import numpy as np
from numpy.typing import NDArray

from prefetcher.verdict.stretch import Line, first_pass_lines, samples_of

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class Curve:
    """What a rank had waited and handed out at each moment; in seconds of its host's UTC clock.

    Attributes:
        t_s: Moments, ascending (2 * lines,): where each sample of the log begins and ends.
        stall_s: Seconds waited until then, (2 * lines,).
        samples: Samples handed out until then, (2 * lines,).
        ready_s: When its first chunk was there.
        first_until_s: When the last line ended that counts as the first pass.
        interval_s: Seconds of a line, the median.
    """

    t_s: Floats
    stall_s: Floats
    samples: Floats
    ready_s: float
    first_until_s: float
    interval_s: float

    @property
    def start_s(self) -> float:
        """When its first line began."""
        return float(self.t_s[0])

    @property
    def end_s(self) -> float:
        """When its last line ended."""
        return float(self.t_s[-1])

    def waited(self, edges: Floats) -> Floats:
        """Seconds waited between these moments, one number fewer than there are moments."""
        return np.diff(np.interp(edges, self.t_s, self.stall_s))

    def handed_out(self, start_s: float, end_s: float) -> float:
        """Samples handed out between two moments."""
        return float(np.diff(np.interp([start_s, end_s], self.t_s, self.samples))[0])


def curve_of(lines: Sequence[Line]) -> Curve | None:
    """The curve of one run's lines; None where nothing was measured."""
    samples = samples_of(lines)
    if not samples:
        return None
    origin = _origin(lines)
    seconds = np.array([float(line["dt_s"]) for line in samples])
    ends = origin + np.array([float(line["t_s"]) for line in samples])
    moments = np.stack([ends - seconds, ends], axis=1).reshape(-1)
    return Curve(
        t_s=np.maximum.accumulate(moments),
        stall_s=_until(seconds, ((line["stall_pct"] or 0.0) / 100 for line in samples)),
        samples=_until(seconds, (line["samples_per_s"] or 0.0 for line in samples)),
        ready_s=_ready_s(lines, origin, float(moments[0])),
        first_until_s=float(ends[first_pass_lines(samples) - 1]),
        interval_s=float(np.median(seconds)),
    )


def _origin(lines: Sequence[Line]) -> float:
    """When `t_s` was 0. Later parts count on from there, whatever their host's clock does."""
    run = next((line for line in lines if line["kind"] == "run" and "time" in line), None)
    if run is None:
        return 0.0
    return datetime.fromisoformat(run["time"]).timestamp() - float(run.get("t_s", 0.0))


def _until(seconds: Floats, rates: Iterable[float]) -> Floats:
    """What came together at the beginning and at the end of each line."""
    amounts = seconds * np.fromiter(rates, np.float64, len(seconds))
    ends = np.cumsum(amounts)
    return np.stack([ends - amounts, ends], axis=1).reshape(-1)


def _ready_s(lines: Sequence[Line], origin: float, otherwise: float) -> float:
    """When the run's first chunk was there: waiting for it can be spared by no setting."""
    told = {line["name"]: line["t_s"] for line in reversed(lines) if line["kind"] == "event"}
    at = next((told[name] for name in ("first_chunk", "first_batch") if name in told), None)
    return otherwise if at is None else origin + at
