"""The monitor's thread: waits, samples and writes, from one start to the stop that follows."""

from __future__ import annotations

import logging
import math
import os
import platform
import threading
from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from queue import Empty, SimpleQueue
from time import perf_counter, thread_time
from typing import Final, Self

from prefetcher.machine.gpu import open_gpus
from prefetcher.machine.limits import allowed
from prefetcher.machine.reasons import Reasons
from prefetcher.machine.runqueue import RunQueue, check_counted
from prefetcher.machine.system import System
from prefetcher.monitor.lines import Line, Moment, sample_line, summary_line
from prefetcher.monitor.log import LogFile
from prefetcher.pipeline.stats import Stats
from prefetcher.verdict.stretch import gpu_util_pct

_logger = logging.getLogger("prefetcher")

STOP_LIMIT_S: Final = 10.0
"""How long a stop waits for the last line. Only a disk or a driver that hangs takes as long, and a
log is not worth hanging a training for."""
_START_PATIENCE_S: Final = 1.0
"""How long a thread has to begin whose start Ctrl-C broke off: only that shows that it exists."""


@dataclass(frozen=True, slots=True)
class Event:
    """Something that happened once, on its way to the log."""

    t_s: float
    name: str
    data: Mapping[str, object]


class Recorder:
    """Writes the line "run" when it is made, then samples on a thread until it is stopped.

    Whatever goes wrong on the thread ends the recording, with one warning in the log "prefetcher",
    and nothing else.

    Args:
        log: the file to write to; closed at the end.
        run: content of the line "run", to which the machine is added.
        snapshot: gives the pipeline's counters; called on both threads.
        interval: seconds between samples.
        origin: when `t_s` was 0, by `time.perf_counter`.

    Raises:
        OSError: the line "run" could not be written. The file is closed then, as for any error.
    """

    def __init__(
        self,
        log: LogFile,
        run: Mapping[str, object],
        snapshot: Callable[[], Stats],
        interval: float,
        origin: float,
    ) -> None:
        self._snapshot = snapshot
        self._interval = interval
        self._origin = origin
        self._reasons = Reasons()
        # Its put is re-entrant and never waits: a finalizer may stop us in the midst of anything.
        self._inbox: SimpleQueue[Event | None] = SimpleQueue()
        self._stopping = False
        self._events: Counter[str] = Counter()
        self._samples = 0
        self._cpu_s = 0.0
        self.gpu_busy = (0.0, 0)
        """Sum of the cards' mean utilization in percent, over so many samples. Any thread."""
        with ExitStack() as opened:
            self._log = log
            opened.callback(log.close)
            self._system = System(self._reasons)
            self._first = self._last = self._now()
            self._rss_peak = self._first.system.rss_bytes
            self._gpus = opened.enter_context(open_gpus(self._reasons))
            self._reasons.attempt("stage.runqueue_pct", check_counted, (OSError,))
            self._write_run(run)
            self._opened = opened.pop_all()
        self._thread = threading.Thread(target=self._record, name="prefetch-monitor", daemon=True)
        self._begun = threading.Event()

    def start(self) -> None:
        """Starts the thread. Once; if Ctrl-C breaks that off, `stop` and `join` clean up."""
        self._thread.start()

    @property
    def running(self) -> bool:
        """Whether it records: not stopped, not failed, and not on the far side of a fork."""
        return not self._stopping and self._thread.is_alive()

    def event(self, name: str, data: Mapping[str, object]) -> None:
        """Hands an event to the thread. Any thread may call it; it neither waits nor raises."""
        if not self._stopping:
            self._inbox.put(Event(perf_counter() - self._origin, name, data))

    def stop(self) -> None:
        """Asks the thread to write its summary and end. Never waits, also in a finalizer."""
        self._stopping = True
        self._inbox.put(None)

    def join(self) -> None:
        """Waits until the thread has ended, for at most `STOP_LIMIT_S` seconds."""
        if threading.current_thread() is self._thread:
            return
        if not self._begun.wait(_START_PATIENCE_S):
            self._opened.close()
            return
        self._thread.join(STOP_LIMIT_S)
        if self._thread.is_alive():
            _logger.warning("the monitor does not end (a disk or driver hangs?); left behind")

    def _record(self) -> None:
        self._begun.set()
        try:
            with self._opened, _OwnWaits() as waits:
                self._sample_until_stopped(waits)
                self._log.write("summary", self._summary())
        except Exception as error:  # noqa: BLE001  # a failing log must never end a training
            self._stopping = True
            _logger.warning(
                "the monitor failed (%s: %s); work goes on without it", type(error).__name__, error
            )
        finally:
            del self._snapshot  # a monitor may be kept for longer than what its pipeline held

    def _sample_until_stopped(self, waits: _OwnWaits) -> None:
        due = self._first.t_s + self._interval
        while True:
            wait = due - self._clock()
            if wait <= 0:
                self._write_sample(-wait, waits.since_last())
                due = next_due(due, self._clock(), self._interval)
                continue
            try:
                message = self._inbox.get(timeout=wait)
            except Empty:
                continue
            if message is None:
                return
            self._write_event(message)

    def _write_run(self, run: Mapping[str, object]) -> None:
        gpu = None if self._gpus is None else [card.describe() for card in self._gpus.cards]
        self._read_gpus()  # its reasons belong in this line too
        self._log.write(
            "run",
            {
                "time": datetime.now(UTC).isoformat(timespec="milliseconds"),
                "t_s": round(self._first.t_s, 3),
                "version": version("prefetcher"),
                "host": platform.node(),
                "pid": os.getpid(),
                "interval_s": self._interval,
                **run,
                **allowed(self._reasons),
                "gpu": gpu,
                "unavailable": self._reasons.take(),
            },
        )

    def _write_sample(self, late_s: float, runqueue_s: float | None) -> None:
        before, self._last = self._last, self._now()
        gpu = self._read_gpus()
        booked, self._cpu_s = self._cpu_s, thread_time()
        cost_ms = 1000 * (self._cpu_s - booked)
        # Never more than the lateness: it may also have waited when it woke for an event.
        queued_ms = None if runqueue_s is None else 1000 * min(late_s, runqueue_s)
        line = sample_line(before, self._last, gpu, cost_ms, 1000 * late_s, queued_ms)
        self._log.write("sample", line)
        self._samples += 1
        if (busy := gpu_util_pct({"gpu": gpu})) is not None:
            self.gpu_busy = self.gpu_busy[0] + busy, self.gpu_busy[1] + 1
        self._rss_peak = max(
            filter(None, (self._rss_peak, self._last.system.rss_bytes)), default=None
        )
        if reasons := self._reasons.take():
            self._write_event(Event(self._last.t_s, "unavailable", reasons))

    def _write_event(self, event: Event) -> None:
        self._events[event.name] += 1
        self._log.write(
            "event", {"t_s": round(event.t_s, 3), "name": event.name, "data": event.data}
        )

    def _summary(self) -> Line:
        return summary_line(
            self._first,
            self._now(),
            samples_logged=self._samples,
            rss_peak_bytes=self._rss_peak,
            events=self._events,
            monitor_cpu_s=thread_time(),
        )

    def _read_gpus(self) -> list[Line] | None:
        return None if self._gpus is None else self._gpus.read()

    def _now(self) -> Moment:
        return Moment(self._clock(), self._snapshot(), self._system.read())

    def _clock(self) -> float:
        return perf_counter() - self._origin


class _OwnWaits:
    """How long the monitor's thread waited for a CPU, from one look to the next."""

    def __init__(self) -> None:
        self._seen_s = 0.0

    def __enter__(self) -> Self:
        try:
            self._runqueue: RunQueue | None = RunQueue()
        except OSError:
            self._runqueue = None
        self.since_last()
        return self

    def __exit__(self, *_: object) -> None:
        if self._runqueue is not None:
            self._runqueue.close()

    def since_last(self) -> float | None:
        """Seconds since the last call; None where nobody counts them."""
        if self._runqueue is None:
            return None
        before, (self._seen_s, _) = self._seen_s, self._runqueue.read()
        return self._seen_s - before


def next_due(due: float, now: float, interval: float) -> float:
    """The first time after `now` on the grid of `due`: no drift, and no burst after a pause."""
    return due + interval * (math.floor((now - due) / interval) + 1)
