"""What a monitored sequence tells Keras: figures in each epoch's logs, the verdict at the end."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from time import perf_counter
from typing import Any, Protocol

import keras

from prefetcher.arguments import flag
from prefetcher.monitor import Monitor
from prefetcher.pipeline.stats import Stats


class Monitored(Protocol):
    """What a callback asks of a sequence."""

    @property
    def monitor(self) -> Monitor | None:
        """The monitor that writes its log, if there is one."""

    def stats(self) -> Stats:
        """Its counters now."""


class MonitorCallback(keras.callbacks.Callback):  # type: ignore[misc]  # keras has no types
    """Adds what the data cost to each epoch's logs, for History, CSVLogger and TensorBoard.

    Adds `stall_pct` (share of the epoch in which the step waited for a batch, an upper bound on
    TensorFlow), `samples_per_s`, and `gpu_util_pct` if the sequence's monitor sees a card. They
    are of the epoch's training, not of its validation. Marks the epochs in the monitor's log. Put
    it before callbacks that read the logs.

    Args:
        sequence: The training set, a `PrefetchSequence` or what `replay` returned.
        verdict: True writes the verdict's headline to stdout when the fit ends, because that is
            when somebody looks; it needs a monitor, which then writes none of its own.

    Raises:
        SettingsError: `verdict` is neither True nor False.
    """

    def __init__(self, sequence: Monitored, *, verdict: bool = True) -> None:
        super().__init__()
        self._sequence = sequence
        self._verdict = flag("verdict", verdict)
        self._begun = self._moment()
        self._ended: _Moment | None = None
        if sequence.monitor is not None:
            sequence.monitor.keep_quiet()

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        """For Keras: an epoch begins."""
        del logs
        self._mark("epoch_begin", epoch)
        self._begun, self._ended = self._moment(), None

    def on_test_begin(self, logs: Any = None) -> None:
        """For Keras: validation begins, so the epoch's training is over."""
        del logs
        self._ended = self._ended or self._moment()

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """For Keras: an epoch ended, its validation too."""
        self._mark("epoch_end", epoch)
        if logs is not None:
            logs |= _figures(self._begun, self._ended or self._moment())

    def on_train_end(self, logs: Any = None) -> None:
        """For Keras: the fit ended."""
        del logs
        monitor = self._sequence.monitor
        if self._verdict and monitor is not None:
            monitor.tell(sys.stdout)

    def _mark(self, name: str, epoch: int) -> None:
        if (monitor := self._sequence.monitor) is not None:
            monitor.event(name, {"epoch": epoch})

    def _moment(self) -> _Moment:
        monitor = self._sequence.monitor
        busy = (0.0, 0) if monitor is None else monitor.gpu_busy
        return _Moment(perf_counter(), self._sequence.stats(), busy)


@dataclass(frozen=True, slots=True)
class _Moment:
    time_s: float
    stats: Stats
    gpu_busy: tuple[float, int]


def _figures(begun: _Moment, ended: _Moment) -> dict[str, float]:
    """What goes into the logs of an epoch."""
    seconds = max(ended.time_s - begun.time_s, 1e-9)
    stall_s = ended.stats.stall_s - begun.stats.stall_s
    figures = {
        "stall_pct": 100 * stall_s / seconds,
        "samples_per_s": (ended.stats.samples - begun.stats.samples) / seconds,
    }
    readings = ended.gpu_busy[1] - begun.gpu_busy[1]
    if readings > 0:  # none in an epoch shorter than the monitor's interval
        figures["gpu_util_pct"] = (ended.gpu_busy[0] - begun.gpu_busy[0]) / readings
    return figures
