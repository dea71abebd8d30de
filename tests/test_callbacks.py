"""What a fit with a `MonitorCallback` shows of the data's side."""

from __future__ import annotations

import csv
import logging
from pathlib import Path
from typing import Any

import keras
import pytest
from conftest import MakeSamples
from helpers.sequences import small

from prefetcher import Monitor, MonitorCallback, SettingsError, read_log

N = 40


def marks(log: Path) -> list[tuple[str, int]]:
    """The epochs' marks in a log."""
    return [
        (line["name"], line["data"]["epoch"])
        for line in read_log(log)
        if line["kind"] == "event" and line["name"].startswith("epoch")
    ]


def test_the_history_and_a_csv_log_have_the_figures(
    samples: MakeSamples, model: Any, tmp_path: Path
) -> None:
    table = tmp_path / "epochs.csv"
    with small(samples(N)) as train:
        callbacks = [MonitorCallback(train), keras.callbacks.CSVLogger(table)]
        history = model.fit(train, epochs=3, verbose=0, callbacks=callbacks).history
    assert len(history["loss"]) == len(history["stall_pct"]) == len(history["samples_per_s"]) == 3
    assert all(0 <= share <= 100 for share in history["stall_pct"])
    assert all(rate > 0 for rate in history["samples_per_s"])
    assert "gpu_util_pct" not in history
    with table.open() as file:
        rows = list(csv.DictReader(file))
    assert [float(row["stall_pct"]) for row in rows] == pytest.approx(history["stall_pct"])


def test_the_epochs_are_marked_and_the_verdict_is_written(
    samples: MakeSamples,
    model: Any,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # On a busy machine compiling takes nearly all of so short a fit, and that has no verdict.
    monkeypatch.setattr("prefetcher.verdict.judge._IDLE_PCT", 101.0)
    log = tmp_path / "run.jsonl"
    with small(samples(N), monitor=Monitor(log, interval=0.01)) as train:
        monitored = MonitorCallback(train)
        model.fit(train, epochs=2, verbose=0, callbacks=[monitored])
        judged = capsys.readouterr().out
    assert capsys.readouterr().err == "", "once is enough"
    # The monitor begins with the first request, which may come after the first epoch began.
    expected = [("epoch_begin", 0), ("epoch_end", 0), ("epoch_begin", 1), ("epoch_end", 1)]
    assert marks(log) in (expected, expected[1:])
    assert judged.startswith("run.jsonl: ")
    assert "of the time" in judged
    assert judged.count("\n") == 1


def test_without_a_monitor_or_unasked_nothing_is_written(
    samples: MakeSamples, model: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with small(samples(N)) as train:
        model.fit(train, verbose=0, callbacks=[MonitorCallback(train)])
    with small(samples(N), monitor=Monitor(tmp_path / "run.jsonl", interval=0.01)) as train:
        model.fit(train, verbose=0, callbacks=[MonitorCallback(train, verdict=False)])
    assert capsys.readouterr() == ("", "")


def test_a_log_that_is_gone_does_not_end_a_fit(
    samples: MakeSamples, model: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    log = tmp_path / "run.jsonl"
    with small(samples(N), monitor=log) as train, caplog.at_level(logging.WARNING, "prefetcher"):
        log.mkdir()
        model.fit(train, verbose=0, callbacks=[MonitorCallback(train)])
    assert "no verdict on run.jsonl" in caplog.text


def test_a_verdict_that_is_no_flag_is_refused(samples: MakeSamples) -> None:
    with (
        small(samples(N)) as train,
        pytest.raises(SettingsError, match="verdict='no': write True or False"),
    ):
        MonitorCallback(train, verdict="no")  # type: ignore[arg-type]


class Measured:
    """A sequence whose figures a test chooses."""

    def __init__(self) -> None:
        self.monitor: Any = self
        self.gpu_busy = (0.0, 0)
        self.samples, self.stall_s = 0, 0.0

    def event(self, name: str, data: Any) -> None:
        """Does without a log."""

    def keep_quiet(self) -> None:
        """Has nothing to tell."""

    def stats(self) -> Any:
        return type("Stats", (), {"samples": self.samples, "stall_s": self.stall_s})()


def test_an_epochs_figures_are_those_of_its_training(monkeypatch: pytest.MonkeyPatch) -> None:
    now = iter([0.0, 100.0, 104.0, 200.0, 201.0])
    monkeypatch.setattr("prefetcher.callbacks.perf_counter", lambda: next(now))
    measured = Measured()
    callback = MonitorCallback(measured)
    callback.on_epoch_begin(0)
    measured.samples, measured.stall_s, measured.gpu_busy = 800, 1.0, (150.0, 2)
    callback.on_test_begin()
    measured.samples, measured.stall_s = 5000, 9.0  # by a validation on the same sequence
    logs = {"loss": 0.5}
    callback.on_epoch_end(0, logs)
    assert logs == {"loss": 0.5, "stall_pct": 25.0, "samples_per_s": 200.0, "gpu_util_pct": 75.0}
    callback.on_epoch_begin(1)
    callback.on_epoch_end(1, logs := {})
    assert logs == {"stall_pct": 0.0, "samples_per_s": 0.0}
