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
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Any

from bench import machine
from bench.attempt import attempt, pictures
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
    card = _card(backend)
    if card is None and not arguments.allow_cpu:
        output.say(f"bench.gpu: no GPU is visible to {backend}; nothing was measured")
        return 0
    arguments.dir.mkdir(parents=True, exist_ok=True)
    result = Result({"backend": backend, "gpu": card, "machine": machine.facts(), "runs": []})
    _measure(arguments, backend, result)
    stem = f"{datetime.now(UTC):%Y-%m-%d}-gpu-{backend}" if card else "no-gpu"
    arguments.out.mkdir(parents=True, exist_ok=True)
    told = {"data": result.data, "failed": result.failed}
    (arguments.out / f"{stem}.json").write_text(json.dumps(told, indent=1) + "\n")
    text = tables(result.data)
    (arguments.out / f"{stem}.md").write_text(text)
    if arguments.json:
        output.write_json(told)
    else:
        sys.stdout.write(text)
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
    add("--seconds", type=float, default=4.0, help="the least length of a measured epoch")
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


def _card(backend: str) -> str | None:
    """The name of the first GPU that the backend sees."""
    if backend == "torch":
        import torch

        return str(torch.cuda.get_device_name(0)) if torch.cuda.is_available() else None
    import jax

    devices = [device for device in jax.devices() if device.platform == "gpu"]
    return str(devices[0].device_kind) if devices else None


def _measure(arguments: argparse.Namespace, backend: str, result: Result) -> None:
    samples = 640 if arguments.tiny else arguments.samples
    path = pictures(Options(arguments.dir, samples), "contiguous")
    total = len(arguments.models) * len(arguments.batch_sizes)
    with output.progress("Training", total) as advance:
        for model in arguments.models:
            for batch_size in arguments.batch_sizes:
                found = attempt(
                    result,
                    f"{model}, batches of {batch_size}",
                    "bench.gpu:train",
                    backend=backend,
                    timeout_s=900,
                    path=str(path),
                    model=model,
                    batch_size=batch_size,
                    rounds=1 if arguments.tiny else arguments.rounds,
                    readers=arguments.readers,
                    seconds=0.0 if arguments.tiny else arguments.seconds,
                )
                what = {"model": model, "batch_size": batch_size}
                result.data["runs"] += [what | {"ways": found}] if found else []
                advance(1)


def train(
    path: str, model: str, batch_size: int, rounds: int, readers: int, seconds: float
) -> dict[str, Any]:
    """Fits one model in every way, in turn. For a child's process.

    All ways share the process: the model is compiled once, and the card is never given away.

    Args:
        path: A file of pictures.
        model: A key of `MODELS`.
        batch_size: Samples in a batch.
        rounds: Fits in each way.
        readers: Reader threads of ours.
        seconds: The least length of an epoch that is measured.

    Returns:
        Of each way: median ``steps_per_s``, ``gpu_pct`` and ``stall_pct``, None where unknown, and
        the median over the rounds of its steps/s against replay's, ``to_replay``.
    """
    built = _model(model)
    steps = _steps(built, path, batch_size, readers, seconds)
    rows: dict[str, list[dict[str, Any]]] = {way: [] for way in WAYS}
    for turn in range(rounds):
        for way in rotated(WAYS, turn):
            rows[way].append(_fit(built, way, path, batch_size, readers, steps))
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


def _steps(model: Any, path: str, batch_size: int, readers: int, seconds: float) -> int:
    """Steps in an epoch of the length that is wanted, told by a first short one of replay."""
    pace = _fit(model, "replay", path, batch_size, readers, FEWEST_STEPS)["steps_per_s"]
    return max(FEWEST_STEPS, int(pace * seconds))


def _fit(
    model: Any, way: str, path: str, batch_size: int, readers: int, steps: int
) -> dict[str, Any]:
    """Two epochs of so many steps; the first fills queues and caches, the second is measured."""
    import keras

    epochs: list[tuple[float, float]] = []
    with _fed(way, path, batch_size, readers) as (data, waited), accelerator() as busy:

        class Second(keras.callbacks.Callback):  # type: ignore[misc]  # keras has no types
            """Times the second epoch; the losses that Keras reads at its end wait for the card."""

            def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
                del epoch, logs
                busy.readings.clear()
                self.begun = perf_counter(), waited()

            def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
                del epoch, logs
                begun, stall = self.begun
                epochs.append((perf_counter() - begun, waited() - stall))

        model.fit(data, epochs=2, steps_per_epoch=steps, verbose=0, callbacks=[Second()])
        gpu_pct = busy.percent
    elapsed, stall = epochs[1]
    stall_pct = None if way == "memory" else 100 * stall / elapsed
    return {"steps_per_s": steps / elapsed, "gpu_pct": gpu_pct, "stall_pct": stall_pct}


@contextmanager
def _fed(way: str, path: str, batch_size: int, readers: int) -> Iterator[tuple[Any, Any]]:
    """What `fit` is given, without an end; and the seconds that were waited for data so far."""
    import prefetcher
    from bench.systems import Feed
    from bench.systems.ours import sequence

    with sequence(Feed(Path(path), 1, batch_size=batch_size), readers=readers) as made:
        if way == "ours":
            yield made, lambda: made.stats().stall_s
        elif way == "replay":
            with prefetcher.replay(made) as kept:
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
