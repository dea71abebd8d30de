"""The verdict on real pipelines whose stages are held up by gates, and on what they log.

A gate opens once each time the monitor takes a sample. So the shares in the log do not depend on
how fast this machine is: whoever stands at a gate has all the time there is.
"""

from __future__ import annotations

import hashlib
import os
import threading
from collections.abc import Callable
from pathlib import Path
from time import perf_counter
from typing import Any

import pytest
from conftest import MakeSamples
from helpers.load import LINUX, one_busy_cpu
from helpers.sequences import small
from helpers.waiting import LIMIT_S, fail_with_stacks
from helpers.watched import readings_of

from prefetcher import Monitor, clock, read_log
from prefetcher.clock import State, doing
from prefetcher.filters.decode import Decoder
from prefetcher.hdf5.general import GeneralWay
from prefetcher.machine.system import System, SystemReadings
from prefetcher.pipeline.chunk import Chunk
from prefetcher.pipeline.stream import Stream
from prefetcher.verdict.judge import Verdict, judge

N = 64
WHOLE_BATCHES = {"chunk_size": 4, "block_size": 4}
"""A chunk for each batch, so that a gate in reading opens as often as one in batching."""


class Gate:
    """Opens once for each sample of the monitor, for as many calls as it is given."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self._beats = 0
        self._open = False
        self._beat = threading.Condition()
        real = Stream.stats

        def stats(stream: Stream) -> Any:
            with self._beat:
                self._beats += 1
                self._beat.notify_all()
            return real(stream)

        monkeypatch.setattr(Stream, "stats", stats)

    def wait(self) -> None:
        with self._beat:
            begun = self._beats
            if not self._beat.wait_for(lambda: self._open or self._beats > begun, LIMIT_S):
                fail_with_stacks("the monitor took no sample")

    def work(self, piece: Callable[[], object]) -> None:
        """Does pieces of work until it opens."""
        begun, limit = self._beats, perf_counter() + LIMIT_S
        while not self._open and self._beats == begun:
            if perf_counter() > limit:
                fail_with_stacks("the monitor took no sample")
            piece()

    def shut(self) -> None:
        """Holds everybody up again."""
        self._open = False

    def open(self) -> None:
        """Lets everybody through, for good: the monitor ends before the threads do."""
        with self._beat:
            self._open = True
            self._beat.notify_all()

    def before(self, call: Callable[..., Any]) -> Callable[..., Any]:
        def gated(*args: Any, **keywords: Any) -> Any:
            self.wait()
            return call(*args, **keywords)

        return gated


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "run.jsonl"


@pytest.fixture
def gate(monkeypatch: pytest.MonkeyPatch) -> Gate:
    return Gate(monkeypatch)


@pytest.fixture(autouse=True)
def calm_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """No CPU is used by anybody: what else runs here is no part of the verdict."""
    monkeypatch.setattr(System, "read", lambda _: readings_of())


def verdict(
    gate: Gate,
    file: Path,
    log: Path,
    *,
    passes: int = 1,
    step: Callable[[], None] = lambda: None,
    interval: float = 0.01,
    **settings: Any,
) -> Verdict:
    """Draws whole passes, with `step` for the training, and judges the log."""
    gate.shut()
    monitor = Monitor(log, interval=interval)
    with small(file, monitor=monitor, **{**WHOLE_BATCHES, **settings}) as sequence:
        for _ in range(passes):
            for _batch in sequence:
                step()
        gate.open()
    return judge(read_log(log))


def told(verdict: Verdict) -> tuple[str, str, str | None]:
    """Level, limit and cause of the stretch that counts."""
    assert verdict.main is not None
    return verdict.main.level, verdict.main.limit, verdict.main.cause


def gated_in(state: State, gate: Gate, call: Callable[..., Any]) -> Callable[..., Any]:
    """A gate in front of a call that books its own time: the wait is booked as that too."""

    def gated(*args: Any) -> Any:
        with doing(state):
            gate.wait()
        return call(*args)

    return gated


def all_on_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """Lets the workers' CPU clocks go with the wall's, as if they had worked at their gates."""
    monkeypatch.setattr(clock, "thread_time", perf_counter)


def test_training_is_the_limit(gate: Gate, samples: MakeSamples, path: Path) -> None:
    found = verdict(gate, samples(N), path, step=gate.wait)
    assert told(found) == ("fine", "training", None)
    assert found.main is not None
    assert found.main.advice is None
    assert "Data keeps up" in found.headline


def test_nobody_asks(gate: Gate, samples: MakeSamples, path: Path) -> None:
    with small(samples(N), monitor=Monitor(path, interval=0.01)) as sequence:
        sequence[0]
        for _ in range(30):
            gate.wait()
    assert told(judge(read_log(path)))[:2] == ("idle", "training")


def test_storage_is_the_limit(
    gate: Gate, samples: MakeSamples, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "preadv", gate.before(os.preadv))
    found = verdict(gate, samples(N), path)
    assert told(found) == ("input-bound", "read", "disk")
    assert found.main is not None
    assert "readers=1 -> 2" in (found.main.advice or "")


def test_decoding_is_the_limit(
    gate: Gate, samples: MakeSamples, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    all_on_cpu(monkeypatch)
    monkeypatch.setattr(Decoder, "decode", gate.before(Decoder.decode))
    assert told(verdict(gate, samples(N, "gzip"), path)) == ("input-bound", "read", "decoding")


def test_h5py_is_the_limit(
    gate: Gate, samples: MakeSamples, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(GeneralWay, "_fetch", gated_in(State.HDF5, gate, GeneralWay._fetch))
    found = verdict(gate, samples(N, "scaleoffset"), path)
    assert told(found) == ("input-bound", "read", "h5py")


def test_the_turns_in_h5py_are_the_limit(
    gate: Gate, samples: MakeSamples, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(GeneralWay, "_fetch", gated_in(State.HDF5, gate, GeneralWay._fetch))
    found = verdict(gate, samples(N, "scaleoffset"), path, readers=3, chunk_queue=4)
    assert told(found) == ("input-bound", "read", "HDF5's lock")


@pytest.mark.parametrize("busy", [True, False])
def test_the_transform_is_the_limit(
    gate: Gate,
    samples: MakeSamples,
    path: Path,
    monkeypatch: pytest.MonkeyPatch,
    busy: bool,
) -> None:
    if busy:
        all_on_cpu(monkeypatch)
    found = verdict(gate, samples(N), path, transform=gate.before(lambda x, y: (x, y)))
    assert told(found) == ("input-bound", "batch", "transform")
    assert found.main is not None
    assert (found.main.advice or "").startswith("batchers=1 -> ")
    assert found.main.confidence == ("high" if busy else "medium")


def test_gathering_is_the_limit(
    gate: Gate, samples: MakeSamples, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    all_on_cpu(monkeypatch)
    monkeypatch.setattr(Chunk, "batch", gate.before(Chunk.batch))
    assert told(verdict(gate, samples(N), path)) == ("input-bound", "batch", "gathering")


def test_the_cold_first_pass_is_told_apart(
    gate: Gate, samples: MakeSamples, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, cold = os.preadv, iter(range(2 * N // 4))

    def read(*args: Any) -> int:
        if next(cold, None) is not None:
            gate.wait()
        return real(*args)

    monkeypatch.setattr(os, "preadv", read)
    pace = iter(range(10**6))

    def step() -> None:
        if next(pace) > N // 4:
            gate.wait()

    found = verdict(gate, samples(N), path, passes=3, step=step)
    assert found.first is not None
    assert found.later is not None
    assert (found.first.level, found.first.cause) == ("input-bound", "disk")
    assert (found.later.level, found.later.cause) == ("fine", None)
    assert "Data keeps up" in found.headline
    assert "In the first pass" in found.headline


class Busy:
    """A machine whose CPUs others keep busy all the time, and this process hardly uses."""

    @staticmethod
    def read(_: System) -> SystemReadings:
        now = perf_counter()
        return readings_of(machine_busy_s=now, machine_total_s=now)


@pytest.mark.skipif(not LINUX, reason="only Linux counts waits for a CPU")
def test_a_transform_that_waits_beside_other_work_is_told_from_one_that_wants_a_cpu(
    gate: Gate, samples: MakeSamples, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both are mostly off the CPU, on the same busy CPU; only the second would have it back."""
    monkeypatch.setattr(System, "read", Busy.read)
    block = bytes(1 << 16)

    def waits(x: Any, y: Any) -> Any:
        gate.wait()
        return x, y

    def works(x: Any, y: Any) -> Any:
        gate.work(lambda: hashlib.sha256(block))  # lets the GIL go
        return x, y

    with one_busy_cpu():
        waiting = verdict(gate, samples(N), path, interval=0.05, transform=waits)
        working = verdict(gate, samples(N), path, interval=0.05, transform=works)
    assert told(waiting) == ("input-bound", "batch", "transform")
    assert waiting.main is not None
    assert (waiting.main.advice or "").startswith("batchers=1 -> ")
    assert told(working) == ("input-bound", "batch", "other work")
    assert working.main is not None
    assert "waited for a CPU" in working.main.why
