"""How near `fit` comes to perfect loading, on each backend: this package against replay."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator, Mapping
from statistics import median
from typing import Any

from bench import pictures
from bench.article import trained
from bench.part import Options, Part, Result, markdown
from prefetcher.cli import output

BACKENDS = ("tensorflow", "jax", "torch")
GOAL = 0.98


def measure(options: Options) -> Result:
    """Both models on each backend that is installed."""
    # A quarter of a chunk of the article's is enough: what is compared are steps, not epochs.
    workload = pictures.workload(options.folder, min(options.scale, 0.01))
    result = Result({"workload": workload.told(), "backends": {}})
    installed = [name for name in BACKENDS if importlib.util.find_spec(name)]
    result.notes += [
        f"{name}: left out, not installed" for name in BACKENDS if name not in installed
    ]
    for backend in installed:
        result.data["backends"][backend] = {
            model: _compared(backend, model, workload, options.rounds, result)
            for model in ("steering", "light")
        }
    return result


def _compared(
    backend: str, model: str, workload: pictures.Workload, rounds: int, result: Result
) -> dict[str, Any] | None:
    """Samples a second with the package and with replay; the ratio is of runs side by side."""
    speeds: dict[str, list[float]] = {"ours": [], "replay": []}
    with output.progress(f"Training the {model} model on {backend}", 2 * rounds) as advance:
        for turn in range(rounds):
            for way in sorted(speeds, reverse=turn % 2 == 0):
                run = trained(way, model, workload, result, backend)
                if run is None:
                    return None
                speeds[way].append(workload.samples / median(run["epoch_s"][1:]))
                advance(1)
    ratios = [ours / replay for ours, replay in zip(speeds["ours"], speeds["replay"], strict=True)]
    return {
        "ours_samples_per_s": median(speeds["ours"]),
        "replay_samples_per_s": median(speeds["replay"]),
        "of_replay": median(ratios),
        "of_replay_each": [round(ratio, 3) for ratio in ratios],
    }


def tables(data: Mapping[str, Any]) -> str:
    """One row for each backend and model."""
    header = ["backend, model", "ours, samples/s", "replay", "ours of replay", "each round"]
    rows = [list(row) for row in _rows(data)]
    return markdown(header, rows) + f"\nThe goal is {GOAL} where the model is the limit.\n"


def _rows(data: Mapping[str, Any]) -> Iterator[tuple[str, ...]]:
    for backend, models in data["backends"].items():
        for model, found in models.items():
            if found is None:
                yield f"{backend}, {model}", "failed", "", "", ""
                continue
            yield (
                f"{backend}, {model}",
                f"{found['ours_samples_per_s']:,.0f}",
                f"{found['replay_samples_per_s']:,.0f}",
                f"{found['of_replay']:.3f}",
                ", ".join(f"{ratio:.2f}" for ratio in found["of_replay_each"]),
            )


PART = Part("fit", "`fit` against replay, on each backend", measure, tables)
