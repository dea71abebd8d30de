"""How near `fit` comes to perfect loading, on each backend: this package against replay."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator, Mapping
from statistics import median, quantiles
from typing import Any

from bench import pictures
from bench.article import LIMIT_S, MEMORY_KEPT
from bench.attempt import attempt
from bench.part import Options, Part, Result, markdown
from prefetcher.cli import output

BACKENDS = ("tensorflow", "jax", "torch")
GOAL = 0.98
TURNS = {"steering": 2, "light": 8}
"""Of each way in a round. A light epoch takes a third of a second, so more of them can be had."""


def measure(options: Options) -> Result:
    """Both models on each backend that is installed."""
    # A quarter of a chunk of the article's is enough: what is compared are steps, not epochs.
    workload = pictures.workload(options.folder, min(options.scale, 0.01))
    result = Result({"workload": workload.told(), "backends": {}})
    installed = [name for name in BACKENDS if importlib.util.find_spec(name)]
    result.notes += [
        f"{name}: left out, not installed" for name in BACKENDS if name not in installed
    ]
    with output.progress("Training in turn", len(installed) * len(TURNS)) as advance:
        for backend in installed:
            compared = result.data["backends"][backend] = {}
            for model, turns in TURNS.items():
                compared[model] = _compared(
                    backend, model, turns * options.rounds, workload, result
                )
                advance(1)
    return result


def _compared(
    backend: str, model: str, turns: int, workload: pictures.Workload, result: Result
) -> dict[str, Any] | None:
    """Samples a second with the package and with replay; each ratio is of neighbouring epochs."""
    what = f"ours and replay, {model} model on {backend}"
    run = attempt(
        result,
        what,
        "bench.training:train_in_turn",
        timeout_s=LIMIT_S,
        backend=backend,
        environment=MEMORY_KEPT,
        model=model,
        turns=turns,
        path=str(workload.path),
        samples=workload.samples,
    )
    if run is None:
        return None
    if run["problem"]:
        result.wrong_rows.append(f"{what}: {run['problem']}")
    ours_s, replay_s = run["epoch_s"]["ours"], run["epoch_s"]["replay"]
    return {
        "turns": turns,
        "ours_samples_per_s": workload.samples / median(ours_s),
        "replay_samples_per_s": workload.samples / median(replay_s),
        "of_replay": [replay / ours for ours, replay in zip(ours_s, replay_s, strict=True)],
    }


def tables(data: Mapping[str, Any]) -> str:
    """One row for each backend and model."""
    header = ["backend, model", "turns", "ours, samples/s", "replay", "ours of replay",
              "half of the turns within"]  # fmt: skip
    rows = [list(row) for row in _rows(data)]
    return markdown(header, rows) + f"\nThe goal is {GOAL} where the model is the limit.\n"


def _rows(data: Mapping[str, Any]) -> Iterator[tuple[str, ...]]:
    for backend, models in data["backends"].items():
        for model, found in models.items():
            if found is None:
                yield f"{backend}, {model}", "failed", "", "", "", ""
                continue
            low, _, high = quantiles(found["of_replay"], n=4, method="inclusive")
            yield (
                f"{backend}, {model}",
                f"{found['turns']}",
                f"{found['ours_samples_per_s']:,.0f}",
                f"{found['replay_samples_per_s']:,.0f}",
                f"{median(found['of_replay']):.3f}",
                f"{low:.2f} to {high:.2f}",
            )


PART = Part("fit", "`fit` against replay, on each backend", measure, tables)
