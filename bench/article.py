"""The article's five ways to feed `fit`, on its own workload, and the ceiling above them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from statistics import median
from typing import Any

from bench import pictures, plot
from bench.attempt import attempt
from bench.part import Options, Part, Result, markdown, rotated
from prefetcher.cli import output

PLAIN_MALLOC = "ours, plain malloc"
WAYS = {
    "files": "a JPEG file for each sample, PIL, a generator",
    "memory": "all in memory: `fit(x, y)`",
    "slices": "slices of 32 from HDF5, in a shuffled order, a generator",
    "chunks": "3200 samples from HDF5, shuffled, a generator: the article's",
    "ours": "`PrefetchSequence`",
    PLAIN_MALLOC: "the same, with malloc as it comes",
    "replay": "`prefetcher.replay`: the ceiling of perfect loading",
}
MODELS = {
    "light": "a model so light that loading matters even without a GPU",
    "steering": "the article's kind of model: on processors the model is the limit",
}
EPOCHS = 3
"""The first compiles the model and meets fresh memory; the median of the others is told."""
LIMIT_S = 600
MEMORY_KEPT = {
    "MALLOC_ARENA_MAX": "1",
    "MALLOC_MMAP_MAX_": "0",
    "MALLOC_TRIM_THRESHOLD_": str(4 << 30),
}
"""Has glibc keep what a step on a processor frees: all in one heap, of which nothing is given back.
Else steps meet fresh pages, 10 million in 12 epochs of the steering model, how many is chance, and
what is compared is luck. With all three there were 0.1 million."""


def measure(options: Options) -> Result:
    """Every way with every model, in turn, round after round."""
    workload = pictures.workload(options.folder, options.scale)
    result = Result({"workload": workload.told(), "models": {}})
    for model in MODELS:
        # There the model takes nearly all of the time, and that hardly varies.
        rounds = options.rounds if model == "light" else (options.rounds + 1) // 2
        result.data["models"][model] = _of_model(model, workload, rounds, result)
    return result


def _of_model(
    model: str, workload: pictures.Workload, rounds: int, result: Result
) -> dict[str, Any]:
    runs: dict[str, list[dict[str, Any]]] = {way: [] for way in WAYS}
    with output.progress(f"Training the {model} model", rounds * len(WAYS)) as advance:
        for turn in range(rounds):
            for way in rotated(list(WAYS), turn):
                run = trained(way, model, workload, result)
                runs[way] += [run] if run else []
                advance(1)
    found = {way: _summary(of_way, workload) for way, of_way in runs.items() if of_way}
    return {"rounds": rounds, "ways": found}


def trained(
    way: str, model: str, workload: pictures.Workload, result: Result
) -> dict[str, Any] | None:
    """One training in a child's process; None if it failed.

    Args:
        way: A key of `WAYS`.
        model: A key of `MODELS`.
        workload: What is trained on.
        result: Is told of a failure, and of rows that were lost or doubled.
    """
    what = f"{way}, {model} model"
    run: dict[str, Any] | None = attempt(
        result,
        what,
        "bench.training:train",
        timeout_s=LIMIT_S,
        environment={} if way == PLAIN_MALLOC else MEMORY_KEPT,
        way="ours" if way == PLAIN_MALLOC else way,
        model=model,
        epochs=EPOCHS,
        **workload.arguments(),
    )
    # What replay trains on is the same few batches again and again.
    if run and way != "replay" and run["problem"]:
        result.wrong_rows.append(f"{what}: {run['problem']}")
    return run


def _summary(runs: list[dict[str, Any]], workload: pictures.Workload) -> dict[str, Any]:
    """Medians over the rounds."""
    epoch_s = median(median(run["epoch_s"][1:]) for run in runs)

    def middle(name: str) -> float | None:
        known = [run[name] for run in runs if run[name] is not None]
        return median(known) if known else None

    return {
        "epoch_s": epoch_s,
        "first_epoch_s": median(run["epoch_s"][0] for run in runs),
        "epoch_s_each": [[round(second, 3) for second in run["epoch_s"]] for run in runs],
        "samples_per_s": workload.samples / epoch_s,
        "stall_share": middle("stall_share"),
        "cpu_share": middle("cpu_share"),
        "accelerator_pct": middle("accelerator_pct"),
        "accelerator_missing": runs[0]["accelerator_missing"],
        "peak_bytes": middle("peak_bytes"),
        "loss": middle("loss"),
        "val_loss": middle("val_loss"),
        "backend": runs[0]["backend"],
        "rows_correct": all(run["problem"] is None for run in runs),
    }


def tables(data: Mapping[str, Any]) -> str:
    """A table for each model."""
    return "\n".join(_tables(data))


def _tables(data: Mapping[str, Any]) -> Iterator[str]:
    told = data["workload"]
    yield (
        f"{told['samples']:,} training samples ({told['scale']:.0%} of the article's 81,282) and "
        f"{told['validation']:,} for validation, 128x128x3 uint8 with an angle, "
        f"{told['nbytes'] / 1e9:.2f} GB; batches of 32; {EPOCHS} epochs. The article reports "
        "35.6 s an epoch for its way, on its own GPU: the order and the ratios carry over.\n"
    )
    header = ["way", "what it does", "epoch", "first epoch", "samples/s", "of the ceiling",
              "waiting", "CPU", "accelerator", "peak memory", "loss", "validation"]  # fmt: skip
    for model, found in data["models"].items():
        ways = found["ways"]
        backend = next((way["backend"] for way in ways.values()), "")
        yield f"### {model}: {MODELS[model]}; {backend}, {found['rounds']} rounds\n"
        yield markdown(header, [list(_cells(way, ways)) for way in WAYS if way in ways])
        missing = {way["accelerator_missing"] for way in ways.values()} - {None}
        if missing:
            yield f"No figure for an accelerator: {', '.join(sorted(missing))}.\n"


def _cells(way: str, ways: Mapping[str, Any]) -> Iterator[str]:
    found, ceiling = ways[way], ways.get("replay")
    yield way
    yield WAYS[way]
    yield f"{found['epoch_s']:.2f} s"
    yield f"{found['first_epoch_s']:.2f} s"
    yield f"{found['samples_per_s']:,.0f}"
    yield f"{found['samples_per_s'] / ceiling['samples_per_s']:.2f}" if ceiling else ""
    yield _percent(found["stall_share"], 100)
    yield _percent(found["cpu_share"], 100)
    yield _percent(found["accelerator_pct"], 1)
    yield f"{found['peak_bytes'] / 1e6:,.0f} MB"
    yield f"{found['loss']:.4f}" if way != "replay" else ""
    yield f"{found['val_loss']:.4f}" if way != "replay" else ""


def _percent(share: float | None, factor: float) -> str:
    return "-" if share is None else f"{factor * share:.0f} %"


def plots(data: Mapping[str, Any], folder: Path, stem: str) -> list[Path]:
    """One picture: samples a second of each way, for each model."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 3.4), layout="constrained")
    models = data["models"]
    for axes, (model, found) in zip(
        figure.subplots(1, len(models), squeeze=False)[0], models.items(), strict=True
    ):
        names = [way for way in reversed(WAYS) if way in found["ways"]]
        speeds = [found["ways"][way]["samples_per_s"] for way in names]
        bars = axes.barh(names, speeds, color=plot.colours(names))
        axes.bar_label(bars, labels=[f" {speed:,.0f}" for speed in speeds], fontsize=8)
        axes.set_xlim(0, 1.2 * max(speeds, default=1))
        axes.set_title(f"{model} model", fontsize=10)
        axes.set_xlabel("samples/s under fit", fontsize=8)
        plot.plain(axes)
    return [plot.kept(figure, folder, f"{stem}-article")]


PART = Part("article", "The article's five ways under `fit`", measure, tables, plots)
