"""Draw road pictures, train on them from HDF5, and say what the time went to.

The seed article's problem from end to end: pictures of a road and the angle of the steering wheel.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Iterator, Mapping
from math import degrees, sqrt
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from rich.text import Text

from prefetcher import backends
from prefetcher.cli import output, roads
from prefetcher.errors import SettingsError
from prefetcher.monitor import read_log
from prefetcher.verdict.judge import judge
from prefetcher.writing.writer import write_steps

if TYPE_CHECKING:
    from prefetcher.cli.steering import Outcome

SAMPLES = 8_000
"""0.4 GB of pictures: several times what the buffers may hold, drawn in ten seconds."""
EPOCHS = 3
"""Enough for an error of about two degrees."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds this command's options."""
    parser.add_argument(
        "--samples",
        type=output.at_least(64),
        default=SAMPLES,
        metavar="N",
        help="pictures to draw, 49 kB each (default: %(default)s)",
    )
    parser.add_argument(
        "--epochs",
        type=output.at_least(1),
        default=EPOCHS,
        metavar="N",
        help="times through the training samples (default: %(default)s)",
    )
    parser.add_argument(
        "--out",
        type=Path,
        default=Path("demo"),
        metavar="DIR",
        help="folder for the pictures and the log (default: %(default)s)",
    )
    parser.add_argument(
        "--seed",
        type=output.at_least(0),
        default=0,
        metavar="N",
        help="of pictures, weights and order (default: %(default)s)",
    )


def run(arguments: argparse.Namespace) -> None:
    """Draws, trains, and prints the summary."""
    started = perf_counter()
    samples, epochs, seed = arguments.samples, arguments.epochs, arguments.seed
    file, log = arguments.out / "roads.h5", arguments.out / "run.jsonl"
    arguments.out.mkdir(parents=True, exist_ok=True)
    straight = _draw(file, samples, seed)

    _choose_backend()
    output.say("Loading Keras and its backend ...")
    with output.quiet():
        from prefetcher.cli import steering

        backend = steering.start_backend()
    log.unlink(missing_ok=True)
    label = f"Training on {backend}"
    with output.progress(label, epochs * steering.training_samples(samples)) as advance:
        outcome = steering.train(file, samples, epochs, seed, log, advance)
    summary = _summary(outcome, file, log) | {
        "backend": backend,
        "straight_loss": straight,
        "total_s": round(perf_counter() - started, 1),
    }
    if arguments.json:
        output.write_json(summary)
    else:
        _print(summary)


def _draw(file: Path, samples: int, seed: int) -> float:
    """Draws the data set; returns the loss of a driver who never turns the wheel."""
    squares = 0.0
    with output.progress(f"Drawing {file}", samples) as advance:

        def steps() -> Iterator[Mapping[str, NDArray[np.generic]]]:
            nonlocal squares
            for images, angles in roads.draw_in_steps(samples, seed):
                yield {"images": images, "angles": angles}
                squares += float(np.square(angles).sum())
                advance(len(angles))

        write_steps(file, steps())
    return squares / samples


def _choose_backend() -> None:
    """Takes a backend that is installed where Keras's own default, TensorFlow, is not."""
    installed = backends.installed()
    if not installed:
        raise SettingsError(
            "no backend for Keras is installed: pip install 'prefetcher[tensorflow]', or [jax], "
            "or [torch]"
        )
    # Its notes on how it was built say nothing about the run; warnings still come through.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "1")
    if "tensorflow" not in installed:
        os.environ.setdefault("KERAS_BACKEND", installed[0])


def _summary(outcome: Outcome, file: Path, log: Path) -> dict[str, Any]:
    """The figures of a training, under names that carry their units."""
    stall = outcome.training.stall_s + outcome.validation.stall_s
    lines = read_log(log)
    first, *_, last = lines
    return {
        "epochs": len(outcome.loss),
        "samples": outcome.samples,
        "loss": outcome.loss,
        "val_loss": outcome.val_loss,
        "fit_s": round(outcome.seconds, 2),
        "samples_per_s": round(outcome.samples * len(outcome.loss) / outcome.seconds, 1),
        "stall_pct": round(100 * stall / outcome.seconds, 2),
        "wait_scope": first["wait_scope"],
        "verdict": judge(lines).headline,
        "data_bytes": file.stat().st_size,
        "buffer_peak_bytes": outcome.training.buffer_peak_bytes
        + outcome.validation.buffer_peak_bytes,
        "buffer_limit_bytes": outcome.memory_bytes,
        "rss_peak_bytes": last["process"]["rss_peak_bytes"],
        "file": str(file),
        "log": str(log),
    }


def _print(summary: Mapping[str, Any]) -> None:
    for name, text in _lines(summary):
        output.data().print(Text.assemble((f"{name:<10}", "bold"), text), soft_wrap=True)


def _lines(summary: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """The summary in words."""

    def fall(losses: list[float]) -> str:
        return f"{losses[0]:.4f} -> {losses[-1]:.4f}"

    yield "Loss", f"{fall(summary['loss'])}, validation {fall(summary['val_loss'])}"
    off = (degrees(sqrt(loss)) for loss in (summary["val_loss"][-1], summary["straight_loss"]))
    yield "Steering", "off by {:.1f} degrees; never steering would be off by {:.1f}".format(*off)
    yield (
        "Speed",
        (
            f"{summary['samples_per_s']:,.0f} samples/s on {summary['backend']}, "
            f"{summary['epochs']} epochs of {summary['samples']:,} in {summary['fit_s']:.0f} s"
        ),
    )
    upper = summary["wait_scope"] == "upper_bound"
    yield (
        "Waiting",
        f"{'at most ' if upper else ''}{summary['stall_pct']:.1f} % of that time went to waiting "
        "for data" + (" (TensorFlow asks ahead, so the model itself waited less)" if upper else ""),
    )
    yield "Verdict", summary["verdict"]
    yield "Memory", _memory(summary)
    yield "Log", f"{summary['log']}: one JSON object a line"


def _memory(summary: Mapping[str, Any]) -> str:
    """What the buffers took. Batches that the backend holds are the caller's, and not limited."""
    peak, limit = summary["buffer_peak_bytes"], summary["buffer_limit_bytes"]
    held = (
        f", beside {output.size(peak - limit)} of batches that {summary['backend']} still held for "
        "steps that it had yet to run"
        if peak > limit
        else ""
    )
    return (
        f"{output.size(peak)} of buffers at their peak for {output.size(summary['data_bytes'])} of "
        f"data (the settings allow {output.size(limit)}{held}); the process with "
        f"{summary['backend']} took {output.size(summary['rss_peak_bytes'])}"
    )
