"""The monitor as its user holds it: a path, an interval, and a recorder while a sequence runs."""

from __future__ import annotations

import logging
import os
import sys
import threading
import uuid
from collections.abc import Callable, Mapping
from pathlib import Path
from time import perf_counter
from typing import Final, TextIO

from prefetcher.arguments import flag
from prefetcher.errors import PrefetchError, ProcessError, SettingsError
from prefetcher.messages.text import visible
from prefetcher.monitor.log import LogFile
from prefetcher.monitor.ranks import log_of, pattern_of
from prefetcher.monitor.reading import read_log
from prefetcher.monitor.recorder import Recorder
from prefetcher.order.shard import WHOLE, Shard
from prefetcher.pipeline.stats import Stats
from prefetcher.verdict.judge import judge

_logger = logging.getLogger("prefetcher")

_SHORTEST_S: Final = 0.01
_LONGEST_S: Final = 86_400.0
_LARGEST_TOLD: Final = 32 << 20  # bytes of log, ten hours: a second to judge, and 300 MB of memory


class Monitor:
    """Logs what the pipeline, the process, the machine and its GPUs do while a sequence runs.

    Nothing starts and no file is opened before the sequence is first asked for data. A failure of
    the monitor (a full disk, say) is one warning in the log "prefetcher"; the training goes on.
    One monitor serves one sequence, and the process that made it: a copy of it in a forked process
    writes and tells nothing.

    Args:
        path: the log to append to; read it with `read_log`, also while it grows. Its folder must
            exist. Where several processes share the data each has a log of its own: the first of
            two writes "run.0of2.jsonl" for "run.jsonl".
        interval: seconds between samples, 0.01 to 86,400. 1.0 by default: a sample costs about
            0.7 ms of one core, so that is 0.07 % of it, and an hour makes 3 MB of log.
        verdict: True writes the verdict's headline to stderr when the sequence is closed, because
            that is when somebody looks; not if a `MonitorCallback` saw to it.

    Raises:
        SettingsError: an interval out of range, a path that no log can be at, or a `verdict` that
            is neither True nor False.
    """

    def __init__(
        self, path: str | os.PathLike[str], interval: float = 1.0, *, verdict: bool = True
    ) -> None:
        self.path = _checked_path(Path(path))
        """The log; where there are several processes, this one's own from `claim` on."""
        self.interval: Final = _checked_interval(interval)
        self._run_id = uuid.uuid4().hex
        self._parts = 0
        self._origin: float | None = None
        self._recorder: Recorder | None = None
        self._starting = threading.Lock()
        self._claimed = False
        self._shard = WHOLE
        self._untold = flag("verdict", verdict)
        self._pid = os.getpid()

    def claim(self, shard: Shard, process: Shard | None = None) -> None:
        """Makes this the monitor of one sequence, for good.

        Args:
            shard: what share of the data the sequence has.
            process: which of several processes this is: `path` becomes its own log. None for that
                of the share; others may read all of the data as well.

        Raises:
            SettingsError: It is another sequence's: the first to close would end the other's log.
                Or no log can be at the path.
            ProcessError: It was made in another process, which may write to the same log.
        """
        if not self._in_own_process:
            raise ProcessError(
                f"this Monitor of {self.path.name} was made in process {self._pid}, and this is "
                f"process {os.getpid()}: make one in each process, with a log of its own"
            )
        if self._claimed:
            raise SettingsError(
                f"this Monitor of {self.path.name} belongs to another sequence: make one for each, "
                "with a log of its own"
            )
        self.path = _checked_path(log_of(self.path, process or shard))
        self._shard = shard
        self._claimed = True

    def start(self, run: Mapping[str, object], snapshot: Callable[[], Stats]) -> None:
        """Writes the line "run" and starts the thread "prefetch-monitor". Never raises.

        After a stop it goes on in the same log: the same `run_id`, the next `part`, and `t_s`
        counted on. Starting a monitor that runs does nothing, nor does it in a forked process.

        Args:
            run: what the sequence knows of itself (backend, wait_scope, settings, file).
            snapshot: gives the counters; it must not hold the sequence.
        """
        if not self._in_own_process:
            return
        with self._starting:
            if self._recorder is not None and self._recorder.running:
                return
            self.stop()
            try:
                self._recorder = self._begin(run, snapshot)
                self._recorder.start()
            except Exception as error:  # noqa: BLE001  # a failing log must never end a training
                _logger.warning("no log is written to %s: %s", self.path.name, error)

    def event(self, name: str, data: Mapping[str, object] | None = None) -> None:
        """Logs that something happened, with the time of this call.

        Any thread may call it. It does not wait for the disk and never raises; when the monitor
        does not run, it does nothing. `data` must not be changed afterwards.
        """
        if (recorder := self._recorder) is not None and self._in_own_process:
            recorder.event(name, data or {})

    @property
    def gpu_busy(self) -> tuple[float, int]:
        """The sum of the cards' mean utilization in percent, and of how many samples it is."""
        return (0.0, 0) if (recorder := self._recorder) is None else recorder.gpu_busy

    def stop(self, *, wait: bool = True) -> None:
        """Ends the log with its summary. Calling it twice, or without a start, is fine.

        Args:
            wait: return when the summary is in the file, by default; waits 10 s at most. A
                finalizer gives False: then nothing is waited for, and no lock is taken.
        """
        if (recorder := self._recorder) is None or not self._in_own_process:
            return
        recorder.stop()
        if wait:
            recorder.join()

    def close(self) -> None:
        """Ends the log as `stop` does, then tells the verdict on stderr, once. Never raises."""
        self.stop()
        if not self._in_own_process:
            return
        if self._untold and self._recorder is not None and sys.stderr is not None:
            self.tell(sys.stderr)

    def tell(self, out: TextIO) -> None:
        """Writes the verdict so far to `out`, if there is any, in a line; never raises.

        Behind it each note of the verdict has a line of its own.

        A log of more than 32 MB is left to ``prefetcher report``, which does nothing else.
        """
        self.keep_quiet()
        try:
            if self.path.stat().st_size > _LARGEST_TOLD:
                out.write(f"{visible(self.path.name)}: `prefetcher report` has the verdict\n")
                return
            verdict = judge(read_log(self.path))
            if verdict.main is not None and verdict.main.level != "idle":
                out.write(f"{visible(self.path.name)}: {verdict.headline}{self._of_all()}\n")
                out.writelines(f"  note: {visible(note)}\n" for note in verdict.notes)
        except (PrefetchError, OSError, ValueError) as error:  # no reason for a training to end
            _logger.warning("no verdict on %s: %s", self.path.name, error)

    def keep_quiet(self) -> None:
        """Leaves the verdict to others: `close` will not tell it."""
        self._untold = False

    def _of_all(self) -> str:
        """Where more is said than of this rank alone, which may wait for others without a sign."""
        if self._shard.count == 1:
            return ""
        pattern = visible(pattern_of(self.path.name))
        return f" That is rank {self._shard}; `prefetcher report '{pattern}'` judges all together."

    @property
    def _in_own_process(self) -> bool:
        return self._pid == os.getpid()

    def _begin(self, run: Mapping[str, object], snapshot: Callable[[], Stats]) -> Recorder:
        origin = self._origin = perf_counter() if self._origin is None else self._origin
        log = LogFile(self.path)
        self._parts += 1
        shard = {"index": self._shard.index, "count": self._shard.count}
        identity = {"run_id": self._run_id, "part": self._parts, "shard": shard}
        return Recorder(log, {**identity, **run}, snapshot, self.interval, origin)


def claimed(
    monitor: Monitor | str | os.PathLike[str] | None,
    shard: Shard = WHOLE,
    process: Shard | None = None,
) -> Monitor | None:
    """The monitor, or one for that path, as the monitor of one sequence; None for none.

    Args:
        monitor: what the user gave.
        shard: what share of the data the sequence has; all of it by default.
        process: which of several processes this is; as the share says by default.

    Raises:
        SettingsError: It is another sequence's already, it is no path, or no log can be there.
    """
    if monitor is None:
        return None
    if not isinstance(monitor, Monitor | str | os.PathLike):
        raise SettingsError(f"monitor={monitor!r}: write the path of its log, or a Monitor")
    monitor = monitor if isinstance(monitor, Monitor) else Monitor(monitor)
    monitor.claim(shard, process)
    return monitor


def wait_scope(backend: str) -> str:
    """What a wait at our queue says of training's: "exposed", or "upper_bound" on TensorFlow.

    There tf.data runs ahead of training, so our wait is at least the accelerator's.
    """
    return "upper_bound" if backend == "tensorflow" else "exposed"


def _checked_path(path: Path) -> Path:
    if path.is_dir():
        raise SettingsError(
            f"the monitor's log {str(path)!r} is a folder: name a file in it, such as "
            f"{str(path / 'run.jsonl')!r}"
        )
    if not path.parent.is_dir():
        raise SettingsError(
            f"the monitor's log {str(path)!r} is in a folder that does not exist; make it first"
        )
    return path


def _checked_interval(interval: float) -> float:
    try:
        seconds = float(interval)
    except (TypeError, ValueError):
        seconds = float("nan")
    if not _SHORTEST_S <= seconds <= _LONGEST_S:
        raise SettingsError(
            f"the monitor's interval is {interval!r}; give seconds from {_SHORTEST_S} to "
            f"{_LONGEST_S:,.0f}, such as 1.0"
        )
    return seconds
