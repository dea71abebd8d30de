"""Why a stage is the limit, told from how its time was spent, and what to change.

Each rule is a fact about one number or two. Where none fits the answer is `UNEXPLAINED`, because a
guess costs its reader more time than no answer.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from prefetcher.verdict.stretch import Stage, Stretch

UNEXPLAINED = "unexplained"

_ON_CPU = 0.6  # of its work: below this a stage mostly waited inside its own work
_MOST_OF_IT = 0.5  # of a stage's work: below this no one thing is the cause
_QUEUED = (
    2 / 3
)  # of its work off the CPU: who sleeps for the rest gains by more threads in any case
_TURNS = 0.2  # of the work spent waiting for HDF5's lock: from here on readers take turns
_GIL_MS = 4.0  # CPython hands the GIL on after 5 ms: a thread that is late so often waits for it
_FULL_PCT = 90.0  # of the CPUs allowed: nothing is left for one thread more
_SPARE = 1.2  # a stage should do 20 % more than is asked of it, or every hiccup is a stall
_SCALING = 0.9  # of a second worker's work is gained; measured for readers that decode
_COLD = 0.01  # of the bytes asked for: less than any filter leaves, more than the page cache does
_WORTH = 0.03  # a smaller gain than 3 % is lost in noise


@dataclass(frozen=True, slots=True)
class Machine:
    """What the run was allowed, and its settings, by the log's line "run"."""

    affinity: float | None
    quota: float | None
    settings: Mapping[str, Any]

    @classmethod
    def of(cls, run: Mapping[str, Any]) -> Machine:
        """The machine of a line "run"; an empty line knows nothing."""
        allowed = run.get("cpus_allowed") or {}
        return cls(allowed.get("affinity"), allowed.get("quota"), run.get("settings") or {})

    @property
    def cpus(self) -> float | None:
        """CPUs' worth of time that may be used."""
        return min((n for n in (self.affinity, self.quota) if n), default=None)

    def spare(self, stretch: Stretch) -> float:
        """CPUs that the process left unused; infinite where that is not known."""
        if self.cpus is None or stretch.process_cpu_pct is None:
            return math.inf
        return max(0.0, self.cpus - stretch.process_cpu_pct / 100)

    def setting(self, name: str, otherwise: int) -> int:
        """A setting of the sequence that is a number."""
        value = self.settings.get(name)
        return value if isinstance(value, int) else otherwise


@dataclass(frozen=True, slots=True)
class Cause:
    """What a stage's time went to, how that is known, and a remedy (None if there is none)."""

    name: str
    why: str
    remedy: str | None
    sure: bool = True
    """Whether the figures leave no other reading."""


def cause_in_reading(stretch: Stretch, machine: Machine) -> Cause:
    """Why the readers are the limit."""
    stage = stretch.read
    kind, part = stage.main_kind
    inside_h5py = (stage.work_pct.get("hdf5", 0) + stage.work_pct.get("lock", 0)) / stage.busy_pct
    if inside_h5py >= _MOST_OF_IT:
        return _inside_h5py(stretch, machine)
    if not kind or part < _MOST_OF_IT or stage.on_cpu is None:
        return _unexplained(stage)
    if stage.on_cpu >= _ON_CPU:
        names = {
            "read": ("page cache", "copying rows out of the page cache"),
            "decode": ("decoding", "decoding storage chunks"),
            "gather": ("gathering", "moving rows to their places"),
        }
        return _working(*names[kind], stretch, machine, "readers")
    return _held_up_in_reading(stretch, machine)


def cause_in_batching(stretch: Stretch, machine: Machine) -> Cause:
    """Why the batchers are the limit."""
    stage = stretch.batch
    kind, part = stage.main_kind
    if not kind or part < _MOST_OF_IT or stage.on_cpu is None:
        return _unexplained(stage)
    what = "the transform" if kind == "transform" else "taking batches out of chunks"
    name = "transform" if kind == "transform" else "gathering"
    if stage.on_cpu >= _ON_CPU:
        return _working(name, what, stretch, machine, "batchers")
    if held_up := _no_cpu(stage, "batchers", stretch, machine) or _gil(stage, "batchers", stretch):
        return held_up
    if kind != "transform":
        return _unexplained(stage)
    return Cause(
        name,
        f"{what} is {part:.0%} of the batchers' work, and it mostly waits for something itself",
        more_workers("batchers", stretch, machine, on_cpu=False),
        sure=False,
    )


def more_workers(
    setting: str, stretch: Stretch, machine: Machine, *, on_cpu: bool = True
) -> str | None:
    """The line to change, with what it should bring; None where it would bring nothing."""
    stage, other = (
        (stretch.read, stretch.batch) if setting == "readers" else (stretch.batch, stretch.read)
    )
    now = machine.setting(setting, stage.workers)
    rate, capacity = stretch.samples_per_s, stage.capacity
    if not capacity or not rate or now < 1:
        return None
    stalled = min(stretch.stall_pct / 100, 0.9)  # beyond that, who knows what training could take
    ceiling = min(rate / (1 - stalled), other.capacity or math.inf)
    room = now + machine.spare(stretch) + 0.5 if on_cpu else math.inf
    enough = max(now + 1, math.ceil(now * _SPARE * ceiling / capacity))
    wanted = math.floor(min(enough, room, 4 * now))
    scaled = 1 + _SCALING * (wanted / now - 1)  # also of what it did, should it have had to wait
    reached = min(min(capacity, rate) * scaled, ceiling)
    gain = reached / rate - 1
    if wanted <= now or gain < _WORTH:
        return None
    return f"{setting}={now} -> {wanted}: estimated +{_rounded(100 * gain)} %"


def _held_up_in_reading(stretch: Stretch, machine: Machine) -> Cause:
    """Why readers that have work are mostly not on a CPU."""
    stage = stretch.read
    reads = stage.main_kind[0] == "read"
    from_disk = reads and _from_storage(stretch)
    starved = _no_cpu(stage, "readers", stretch, machine)
    if starved and (stage.queued is not None or not from_disk):
        return starved
    if reads:  # a network file system may not count as storage
        return _disk(stretch, machine, sure=from_disk)
    return _gil(stage, "readers", stretch) or _unexplained(stage)


def _working(name: str, what: str, stretch: Stretch, machine: Machine, setting: str) -> Cause:
    stage = stretch.read if setting == "readers" else stretch.batch
    remedy = more_workers(setting, stretch, machine)
    if remedy is None and _cpus_full(stretch, machine):
        remedy = _no_cpu_left(name, setting)
    why = f"{what} is {stage.main_kind[1]:.0%} of the {setting}' work, and it keeps its CPU busy"
    return Cause(name, why, remedy)


def _no_cpu_left(name: str, setting: str) -> str:
    """What is left to do where one thread more would only share the CPUs."""
    if name == "decoding":
        text = "every allowed CPU is busy: store the data with a faster filter, such as lz4"
    else:
        text = "every allowed CPU is busy: allow the process more, or give it less to do"
    if setting == "readers":
        text += " (`prefetcher inspect` tells whether its layout costs more than it must)"
    return text


def _inside_h5py(stretch: Stretch, machine: Machine) -> Cause:
    stage = stretch.read
    lock = stage.work_pct.get("lock", 0.0) / stage.busy_pct
    repack = "`prefetcher inspect` says why this file is read through h5py, and how to store it"
    if lock >= _TURNS:
        why = f"readers spend {lock:.0%} of their work waiting for each other's turn in h5py"
        return Cause("HDF5's lock", why, f"readers={stage.workers} -> 1 costs nothing; {repack}")
    off_cpu = stage.on_cpu is not None and stage.on_cpu < _ON_CPU
    starved = _no_cpu(stage, "readers", stretch, machine)
    if off_cpu and stage.queued is not None and starved:
        return starved
    if off_cpu and _from_storage(stretch):
        return Cause("disk", "h5py waits for storage most of its time", repack, sure=False)
    return Cause("h5py", "one thread at a time reads and decodes in h5py", repack)


def _from_storage(stretch: Stretch) -> bool:
    """Whether what was read came from storage; the bytes asked for are decoded ones."""
    return (stretch.storage_bytes or 0) >= _COLD * stretch.requested_bytes > 0


def _disk(stretch: Stretch, machine: Machine, *, sure: bool) -> Cause:
    now = machine.setting("readers", stretch.read.workers)
    part = stretch.read.work_pct["read"] / stretch.read.busy_pct
    why = f"readers wait for storage in {part:.0%} of their work"
    if sure:
        why += f", which gave {(stretch.storage_bytes or 0) / stretch.seconds / 1e6:.0f} MB/s"
    remedy = f"readers={now} -> {now + 1}: storage that answers late often serves two at once"
    return Cause("disk", why, remedy, sure=sure)


def _no_cpu(stage: Stage, who: str, stretch: Stretch, machine: Machine) -> Cause | None:
    """Work that stands still because there is no CPU for it; None if it waits for something else.

    Where the system does not count waits for a CPU, CPUs that are all busy are taken for the cause.
    """
    taken = _cpus_taken(stretch, machine)
    if stage.queued is None or stage.on_cpu is None:
        return taken
    if stage.queued < _QUEUED * (1 - stage.on_cpu):
        return None
    why = f"the {who} waited for a CPU in {stage.queued:.0%} of their work"
    if taken is not None:
        return replace(taken, why=f"{why}: {taken.why}", sure=True)
    remedy = "allow the process other CPUs, or run less beside it on these"
    return Cause("other work", f"{why}, though the machine has free ones", remedy, sure=False)


def _cpus_taken(stretch: Stretch, machine: Machine) -> Cause | None:
    """Who keeps the CPUs busy; None if they are not."""
    if _cpus_full(stretch, machine):
        quota = machine.quota is not None and machine.quota == machine.cpus
        why = f"this process used {stretch.process_cpu_pct:.0f} % of {machine.cpus:g} allowed CPUs"
        remedy = "allow the process more CPUs; more threads would only share what there is"
        return Cause("CPU quota" if quota else "CPU", why, remedy)
    if stretch.machine_cpu_pct is not None and stretch.machine_cpu_pct >= _FULL_PCT:
        why = f"the machine's CPUs are {stretch.machine_cpu_pct:.0f} % busy, mostly with other work"
        return Cause("other work", why, "run less beside it on this machine", sure=False)
    return None


def _cpus_full(stretch: Stretch, machine: Machine) -> bool:
    used = stretch.process_cpu_pct
    return machine.cpus is not None and used is not None and used >= _FULL_PCT * machine.cpus


def _gil(stage: Stage, who: str, stretch: Stretch) -> Cause | None:
    """Work that waits for the GIL: sleep to the system, so the monitor's own thread has to tell."""
    if stretch.gil_ms is None or stretch.gil_ms < _GIL_MS:
        return None
    at_most = stage.at_most_for_gil
    if at_most is not None and stage.asleep is not None and at_most < _MOST_OF_IT * stage.asleep:
        return None  # it slept longer than anybody does for the GIL
    return Cause(
        "GIL",
        f"the {who} are not on a CPU though they could have one, and a thread that only wakes up "
        f"is {stretch.gil_ms:.0f} ms late",
        "use whole-array numpy calls, which let the GIL go, in transform and callbacks",
        sure=False,
    )


def _unexplained(stage: Stage) -> Cause:
    kind, part = stage.main_kind
    why = f"its work is mostly {kind} ({part:.0%})" if kind else "the log does not split its work"
    return Cause(UNEXPLAINED, why, None, sure=False)


def _rounded(percent: float) -> int:
    """To fives, from ten on: the estimate is no better than that."""
    return round(percent / 5) * 5 if percent >= 10 else round(percent)
