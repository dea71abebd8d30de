"""On a real GPU: the package against replay and against data in memory, under `fit`.

Needs JAX or PyTorch, no TensorFlow. Where no GPU is at hand it says so and ends with exit code 0,
without a figure.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import sys
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from datetime import UTC, datetime
from itertools import product
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Any, NamedTuple

from bench import machine
from bench.attempt import attempt, pictures
from bench.child import call
from bench.part import Options, Result, markdown, rotated
from bench.usage import accelerator
from prefetcher.cli import output

MODELS = {
    "article": "the article's kind of model: five convolutions",
    "resnet50": "ResNet50",
}
BATCH_SIZES = (32, 256)
WAYS = ("replay", "ours", "memory")
RESULTS = Path(__file__).parent / "results"
FEWEST_STEPS = 20


def main(argv: Sequence[str] | None = None) -> int:
    """Measures, if there is a GPU; returns the exit code."""
    arguments = _parser().parse_args(argv)
    backend = arguments.backend or _installed()
    os.environ["KERAS_BACKEND"] = backend  # before anything imports Keras
    # In a process of its own: JAX takes most of the card's memory for whoever asks it for its name.
    card = call("bench.gpu:card_name", framework=backend)
    if card is None and not arguments.allow_cpu:
        output.say(f"bench.gpu: no GPU is visible to {backend}; nothing was measured")
        return 0
    arguments.dir.mkdir(parents=True, exist_ok=True)
    arguments.out.mkdir(parents=True, exist_ok=True)
    samples = 640 if arguments.tiny else arguments.samples
    path = pictures(Options(arguments.dir, samples), "contiguous")
    stem = f"{datetime.now(UTC):%Y-%m-%d}-gpu-{backend}" if card else "no-gpu"
    result = Result({"backend": backend, "gpu": card, "machine": machine.facts(), "runs": []})
    cases = list(product(arguments.models, arguments.batch_sizes))
    with output.progress("Training", len(cases)) as advance:
        for model, batch_size in cases:
            result.data["runs"] += _measured(model, batch_size, path, arguments, result)
            # Kept at once, as the next may be broken off.
            kept = json.dumps(asdict(result), indent=1) + "\n"
            (arguments.out / f"{stem}.json").write_text(kept)
            (arguments.out / f"{stem}.md").write_text(tables(result.data))
            advance(1)
    if arguments.json:
        output.write_json(asdict(result))
    else:
        sys.stdout.write(tables(result.data))
    for line in result.failed:
        output.say(f"bench.gpu: {line}")
    return 3 if result.failed else 0


def _parser() -> argparse.ArgumentParser:
    count = output.at_least(1)
    parser = argparse.ArgumentParser(prog="python -m bench.gpu", description=__doc__)
    add = parser.add_argument
    add("--backend", choices=("jax", "torch"), help="the one installed, unless both are")
    add("--samples", type=count, default=12_800, help="pictures in the file, 49 kB each")
    add("--rounds", type=count, default=3, help="fits in each way, in turn; medians are told")
    add("--readers", type=count, default=2, help="reader threads of ours")
    add("--seconds", type=float, default=4.0, help="how long each fit is measured")
    add("--models", nargs="+", choices=tuple(MODELS), default=tuple(MODELS))
    add("--batch-sizes", nargs="+", type=count, default=BATCH_SIZES)
    add("--dir", type=Path, default=Path("gpu-bench"), help="folder of the file, kept")
    add("--out", type=Path, default=RESULTS, help="folder for the results")
    add("--allow-cpu", action="store_true", help="run without a GPU: tries the code, no GPU figure")
    add("--tiny", action="store_true", help="few samples and a moment only: tries the code")
    add("--json", action="store_true", help="print the results as JSON")
    return parser


def _installed() -> str:
    """The backend asked for by `KERAS_BACKEND`, else the first that is installed."""
    asked = os.environ.get("KERAS_BACKEND", "")
    known = [name for name in ("jax", "torch") if importlib.util.find_spec(name)]
    if not known:
        raise SystemExit("bench.gpu: install jax or torch, with their support for the GPU")
    return asked if asked in known else known[0]


def card_name(framework: str) -> str | None:
    """The first GPU that JAX or PyTorch sees, None if it sees none. For a child's process."""
    if framework == "torch":
        import torch

        return str(torch.cuda.get_device_name(0)) if torch.cuda.is_available() else None
    import jax

    devices = [device for device in jax.devices() if device.platform == "gpu"]
    return str(devices[0].device_kind) if devices else None


def _measured(
    model: str, batch_size: int, path: Path, arguments: argparse.Namespace, result: Result
) -> list[dict[str, Any]]:
    """One model with one batch size, in every way; nothing if that failed."""
    ways = attempt(
        result,
        f"{model}, batches of {batch_size}",
        "bench.gpu:train",
        backend=result.data["backend"],
        timeout_s=900,
        path=str(path),
        model=model,
        batch_size=batch_size,
        rounds=1 if arguments.tiny else arguments.rounds,
        readers=arguments.readers,
        seconds=0.0 if arguments.tiny else arguments.seconds,
    )
    return [{"model": model, "batch_size": batch_size, "ways": ways}] if ways else []


def train(
    path: str, model: str, batch_size: int, rounds: int, readers: int, seconds: float
) -> dict[str, Any]:
    """Trains one model in every way, in turn. For a child's process.

    All ways share the process: the model is compiled once, and the card is never given away.

    Args:
        path: A file of pictures.
        model: A key of `MODELS`.
        batch_size: Samples in a batch.
        rounds: Fits in each way.
        readers: Reader threads of ours.
        seconds: The least length of what is measured.

    Returns:
        Of each way: ``steps`` that were measured; the medians of ``steps_per_s``, ``gpu_pct`` and
        ``stall_pct``, None where unknown, and of its steps/s against replay's, ``to_replay``.
    """
    # Keras ends an epoch that has too few batches with no more than a warning.
    warnings.filterwarnings("error", message="Your input ran out of data")
    built, batches = _model(model), _batches(path, batch_size)
    length = _Length.of(FEWEST_STEPS, batches)
    pace = _fit(built, "replay", path, batch_size, readers, length)["steps_per_s"]
    length = _Length.of(max(FEWEST_STEPS, int(pace * seconds)), batches)
    rows: dict[str, list[dict[str, Any]]] = {way: [] for way in WAYS}
    for turn in range(rounds):
        for way in rotated(WAYS, turn):
            rows[way].append(_fit(built, way, path, batch_size, readers, length))
    told = {}
    for way, runs in rows.items():
        told[way] = {key: _median(run[key] for run in runs) for key in runs[0]}
        pairs = zip(runs, rows["replay"], strict=True)
        told[way]["to_replay"] = median(
            run["steps_per_s"] / ceiling["steps_per_s"] for run, ceiling in pairs
        )
    return told


def _median(values: Iterator[Any]) -> Any:
    known = [value for value in values if value is not None]
    return median(known) if known else None


class _Length(NamedTuple):
    """How much is measured, after an epoch more that fills queues and caches."""

    steps: int
    """In an epoch: at most a pass, as Keras would end it there."""
    epochs: int

    @classmethod
    def of(cls, steps: int, batches: int) -> _Length:
        """So many steps or a few more, out of passes of so many batches."""
        return cls(min(steps, batches), -(-steps // batches))


def _batches(path: str, batch_size: int) -> int:
    """Whole batches in a pass."""
    import h5py

    with h5py.File(path) as file:
        return len(file["images"]) // batch_size


def _fit(
    model: Any, way: str, path: str, batch_size: int, readers: int, length: _Length
) -> dict[str, Any]:
    """Trains, and measures all but the first epoch."""
    import keras

    ends: list[tuple[float, float]] = []
    with _fed(way, path, batch_size, readers) as (data, waited), accelerator() as busy:

        class Ends(keras.callbacks.Callback):  # type: ignore[misc]  # keras has no types
            """Marks the end of each epoch; the losses that Keras reads there wait for the card."""

            def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
                del logs
                ends.append((perf_counter(), waited()))
                if epoch == 0:
                    busy.readings.clear()

        model.fit(
            data,
            epochs=1 + length.epochs,
            steps_per_epoch=length.steps,
            shuffle=way != "memory",  # a generator shuffles itself
            verbose=0,
            callbacks=[Ends()],
        )
        gpu_pct = busy.percent
    (begun, before), (ended, after) = ends[0], ends[-1]
    elapsed, steps = ended - begun, length.steps * length.epochs
    return {
        "steps": steps,
        "steps_per_s": steps / elapsed,
        "gpu_pct": gpu_pct,
        "stall_pct": None if way == "memory" else 100 * (after - before) / elapsed,
    }


@contextmanager
def _fed(way: str, path: str, batch_size: int, readers: int) -> Iterator[tuple[Any, Any]]:
    """What `fit` is given, without an end; and the seconds that were waited for data so far."""
    from bench.systems import Feed, ours

    with ours.sequence(Feed(Path(path), 1, batch_size=batch_size), readers=readers) as made:
        if way == "ours":
            yield made, lambda: made.stats().stall_s
        elif way == "replay":
            with ours.replay(made) as kept:
                yield kept, lambda: kept.stats().stall_s
        else:
            yield _from_memory(path, batch_size), lambda: 0.0


def _from_memory(path: str, batch_size: int) -> Iterator[tuple[Any, Any]]:
    """All pictures in memory, shuffled anew in each pass: what a small data set allows."""
    import h5py
    import numpy as np

    with h5py.File(path) as file:
        x, y = file["images"][:], file["ids"][:]
    rng = np.random.default_rng(0)
    while True:
        order = rng.permutation(len(x))
        for start in range(0, len(order) - batch_size + 1, batch_size):
            at = order[start : start + batch_size]
            yield x[at], y[at]


def _model(name: str) -> Any:
    import keras

    from prefetcher.cli.steering import steering_model

    if name == "article":
        model = steering_model()
    else:
        inputs = keras.Input((128, 128, 3), dtype="uint8")
        body = keras.applications.ResNet50(
            include_top=False, weights=None, input_shape=(128, 128, 3), pooling="avg"
        )
        scaled = keras.layers.Rescaling(1 / 127.5, offset=-1)(inputs)
        model = keras.Model(inputs, keras.layers.Dense(1)(body(scaled)))
    model.compile(optimizer="adam", loss="mse")
    return model


def tables(data: Mapping[str, Any]) -> str:
    """Steps a second and how busy the card was, for each model and batch size."""
    heading = f"{data['gpu']}, Keras on {data['backend']}"
    if data["gpu"] is None:
        heading = f"No GPU: {data['backend']} on processors, which only shows that this runs"
    header = ["model, batch", "fed by", "steps/s", "of replay", "GPU busy", "stall"]
    rows = [_cells(run, way) for run in data["runs"] for way in WAYS]
    return f"{heading}. 128x128x3 pictures.\n\n" + markdown(header, rows)


def _cells(run: Mapping[str, Any], way: str) -> list[str]:
    found = run["ways"][way]
    return [
        f"{run['model']}, {run['batch_size']}",
        way,
        f"{found['steps_per_s']:.1f}",
        f"{found['to_replay']:.3f}",
        "" if found["gpu_pct"] is None else f"{found['gpu_pct']:.0f} %",
        "" if found["stall_pct"] is None else f"{found['stall_pct']:.2f} %",
    ]


if __name__ == "__main__":
    sys.exit(main())
