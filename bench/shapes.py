"""Data as it really lies: windows, groups, sparse rows, pictures and subsets, each to its rival."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Any

import h5py
import numpy as np
from PIL import Image

import prefetcher
from bench.attempt import attempt
from bench.part import Options, Part, Result, markdown
from prefetcher import Axis, Padded, Picture, Row, Window

BATCH = 32
STEPS = 64
"""Rows of a window."""
GROUP_ROWS, WIDTH = 200, 64
GENES = 5000
PICTURE = 256
"""Pixels of a picture's side, which is decoded as it is."""

CASES = {
    "windows": ("64 steps of 8 float32, stride 1", "timeseries_dataset_from_array, in memory"),
    "groups": ("200 rows in each group, by a pattern", "one dataset with the same rows"),
    "sparse": ("5,000 columns, 3 % filled, gzip", "rows by h5py, in the same random order"),
    "pictures": ("JPEG of 256x256, one batcher", "Pillow alone, per CPU second"),
    "converted_pictures": (
        "the same after `convert --size 256 256`",
        "Picture, one batcher",
    ),
    "converted_tokens": (
        "20 to 500 int32 a row after `convert --length 512`",
        "Padded, rows of variable length",
    ),
    "converted_cells": ("5,000 columns, 3 % filled, after `convert`", "Sparse, as it is stored"),
    "axis": ("784 float32, along the last axis", "rows that lie side by side"),
    "converted_axis": (
        "12,288 uint8 after `convert --axis -1`",
        "Axis, along the last axis",
    ),
    "half": ("a random half of the rows, gzip", "all rows, in decoded rows a pass"),
}
"""What is read, and what it is compared with, by the name of the function that measures it."""


def measure(options: Options) -> Result:
    """Measures each case in a process of its own, both sides in turn."""
    folder = options.folder / ("shapes-quick" if options.quick else "shapes")
    folder.mkdir(parents=True, exist_ok=True)
    result = Result({"cases": []})
    for case, (what, rival) in CASES.items():
        if options.only in case:
            arguments = {"folder": str(folder), "rounds": options.rounds, "quick": options.quick}
            found = attempt(result, case, f"bench.shapes:{case}", timeout_s=1800, **arguments)
            if found:
                result.data["cases"].append({"case": case, "what": what, "rival": rival} | found)
                if not found["rows_correct"]:
                    result.wrong_rows.append(case)
    return result


def windows(folder: str, rounds: int, quick: bool) -> dict[str, Any]:  # noqa: FBT001 - from JSON
    """Windows of a series in a file, and of the same in memory."""
    import keras

    rows = 50_000 if quick else 1_000_000
    path = _written(folder, "series.h5", rows, _series)
    with h5py.File(path) as file:
        data = file["x"][:]
    usual = keras.utils.timeseries_dataset_from_array(
        data[:-STEPS], data[STEPS:, 0], STEPS, shuffle=True, batch_size=BATCH
    )
    x, y = Window("x", STEPS), Row("x", ahead=STEPS)
    with prefetcher.PrefetchSequence(path, x, y, batch_size=BATCH) as ours:
        checked, after = ours[0]
        starts = [
            int(np.flatnonzero((data[:, 0] == first).ravel())[0]) for first in checked[:, 0, 0]
        ]
        correct = all(
            (data[at : at + STEPS] == window).all() and (data[at + STEPS] == row).all()
            for at, window, row in zip(starts, checked, after, strict=True)
        )
        return _compared(rounds, quick, lambda: iter(ours), lambda: iter(usual), correct=correct)


def groups(folder: str, rounds: int, quick: bool) -> dict[str, Any]:  # noqa: FBT001
    """The rows of many groups, and the same rows of one dataset."""
    path = _written(folder, "groups.h5", 50 if quick else 1000, _groups)
    make = prefetcher.PrefetchSequence
    with make(path, "demo_*/x", "demo_*/y") as ours, make(path, "all/x", "all/y") as whole:
        seen = np.sort(np.concatenate([y for _, y in ours]))
        correct = bool((seen == np.arange(len(seen))).all())
        return _compared(rounds, quick, lambda: iter(ours), lambda: iter(whole), correct=correct)


def sparse(folder: str, rounds: int, quick: bool) -> dict[str, Any]:  # noqa: FBT001
    """Dense rows of a sparse matrix in random order, two readers; and row by row by h5py."""
    path = _written(folder, "cells.h5ad", 2000 if quick else 50_000, _cells)
    with prefetcher.PrefetchSequence(path, "X", "obs/id", readers=2) as ours:
        x, ids = ours[0]
        rows = dict(zip(ids.tolist(), x, strict=True))
        correct = all((_dense(path, [row])[0] == found).all() for row, found in rows.items())
        return _compared(
            rounds,
            quick,
            lambda: iter(ours),
            lambda: _by_h5py(path),
            correct=correct,
            usual_share=20,
        )


def pictures(folder: str, rounds: int, quick: bool) -> dict[str, Any]:  # noqa: FBT001
    """Pictures by one batcher, and by Pillow alone: samples for each second of CPU."""
    from time import process_time

    path = _written(folder, "pictures.h5", 640 if quick else 2000, _jpegs)
    with h5py.File(path) as file:
        stored = list(file["x"])
    alone, made, correct = [], [], True
    for _ in range(rounds):
        with prefetcher.PrefetchSequence(
            path, Picture("x", (PICTURE, PICTURE)), "y", shuffle=False
        ) as ours:
            begun = process_time()
            for x, y in ours:
                first = np.asarray(Image.open(io.BytesIO(stored[int(y[0])])).convert("RGB"))
                correct = correct and bool((x[0] == first).all())
            made.append(len(stored) / (process_time() - begun))
        begun = process_time()
        for row in stored:
            np.asarray(Image.open(io.BytesIO(row)).convert("RGB"))
        alone.append(len(stored) / (process_time() - begun))
    return {"ours": median(made), "usual": median(alone), "rows_correct": correct}


def converted_pictures(folder: str, rounds: int, quick: bool) -> dict[str, Any]:  # noqa: FBT001
    """Decoded pictures, and the encoded ones that they were made of."""
    path = _written(folder, "pictures.h5", 640 if quick else 2000, _jpegs)
    column = Picture("x", (PICTURE, PICTURE))
    return _beside_converted(path, column, "y", rounds, quick, size=(PICTURE, PICTURE))


def converted_tokens(folder: str, rounds: int, quick: bool) -> dict[str, Any]:  # noqa: FBT001
    """Rows of one length, and of variable length."""
    path = _written(folder, "tokens.h5", 2000 if quick else 100_000, _tokens)
    return _beside_converted(path, Padded("x", 512), "y", rounds, quick, length=512)


def converted_cells(folder: str, rounds: int, quick: bool) -> dict[str, Any]:  # noqa: FBT001
    """Dense rows, and sparse ones."""
    path = _written(folder, "cells.h5ad", 2000 if quick else 50_000, _cells)
    return _beside_converted(path, "X", "obs/id", rounds, quick)


def axis(folder: str, rounds: int, quick: bool) -> dict[str, Any]:  # noqa: FBT001
    """Samples along the last axis, and along the first."""
    path = _written(folder, "turned.h5", 2000 if quick else 100_000, _turned)
    make = prefetcher.PrefetchSequence
    with make(path, Axis("turned"), Axis("y")) as ours, make(path, "rows", Axis("y")) as usual:
        x, y = ours[0]
        correct = bool((x[:, :1] == y).all())
        return _compared(
            rounds, quick, lambda: _passes(ours), lambda: _passes(usual), correct=correct
        )


def converted_axis(folder: str, rounds: int, quick: bool) -> dict[str, Any]:  # noqa: FBT001
    """Rows, and what they were made of: samples of many elements along the last axis."""
    import warnings

    warnings.simplefilter("ignore")  # that it is slow is what is measured
    path = _written(folder, "wide.h5", 500 if quick else 20_000, _wide)
    return _beside_converted(path, Axis("x"), "y", rounds, quick, axis={"x": -1})


def _beside_converted(
    path: Path,
    x: Any,
    y: str,
    rounds: int,
    quick: bool,  # noqa: FBT001
    **settings: Any,
) -> dict[str, Any]:
    """The pace of a file that `convert` made, and of the file that it was made of."""
    name = x if isinstance(x, str) else x.of
    made = prefetcher.convert(path, path.with_suffix(".made.h5"), x=name, y=y, **settings).file
    before = prefetcher.PrefetchSequence(path, x, y)
    with prefetcher.PrefetchSequence(made) as ours, before as usual:
        known = {int(n): row for row, n in zip(*ours[0], strict=True)}
        wanted = prefetcher.PrefetchSequence(path, x, y, rows=sorted(known), shuffle=False)
        with wanted as same:
            pairs = (pair for batch in same for pair in zip(*batch, strict=True))
            correct = all((known[int(number)] == row).all() for row, number in pairs)
        return _compared(
            rounds,
            quick,
            lambda: _passes(ours),
            lambda: _passes(usual),
            correct=correct,
            usual_share=4,
        )


def _passes(batches: Any) -> Iterator[Any]:
    """One pass after the other: a short one would come out of the queues."""
    while True:
        yield from batches


def half(folder: str, rounds: int, quick: bool) -> dict[str, Any]:  # noqa: FBT001
    """How many rows are decoded in a pass over half of them, beside a pass over all."""
    del rounds
    from prefetcher.filters.decode import Decoder

    count = 3200 if quick else 32_000
    path = _written(folder, "half.h5", count, _series_in_storage_chunks)
    decoded = [0]
    decode = Decoder.decode

    def counted(self: Decoder, *arguments: Any) -> Any:
        decoded[0] += 1
        return decode(self, *arguments)

    Decoder.decode = counted  # type: ignore[method-assign, assignment]  # this process ends after it
    chosen = np.sort(np.random.default_rng(0).permutation(count)[: count // 2])
    counts, correct = {}, True
    for name, rows in (("all", None), ("half", chosen)):
        with prefetcher.PrefetchSequence(path, "x", None, rows=rows) as ours:
            decoded[0] = 0
            seen = np.sort(np.concatenate([x[:, 0] for (x,) in ours]))
            wanted = np.arange(count) if rows is None else rows
            correct = correct and bool((seen == wanted).all())
            counts[name] = decoded[0]
    return {"ours": counts["half"], "usual": counts["all"], "rows_correct": correct}


def _compared(
    rounds: int,
    quick: bool,  # noqa: FBT001
    ours: Callable[[], Iterator[Any]],
    usual: Callable[[], Iterator[Any]],
    *,
    correct: bool,
    usual_share: int = 1,
) -> dict[str, Any]:
    """Samples per second of both, medians of `rounds`, in turn."""
    batches = 100 if quick else 2000
    paces: dict[str, list[float]] = {"ours": [], "usual": []}
    for _ in range(rounds):
        paces["ours"].append(_pace(ours(), batches))
        paces["usual"].append(_pace(usual(), max(20, batches // usual_share)))
    return {name: median(found) for name, found in paces.items()} | {"rows_correct": correct}


def _pace(batches: Iterator[Any], count: int) -> float:
    """Samples per second after the first ten batches."""
    samples = 0
    for number, batch in enumerate(batches):
        if number == 10:
            begun, samples = perf_counter(), 0
        samples += len(batch[1])
        if number == count:
            break
    return samples / (perf_counter() - begun)


def tables(data: Mapping[str, Any]) -> str:
    """Each case's pace, its rival's, and the ratio."""
    rows = [
        [
            f"{row['case']}: {row['what']}",
            row["rival"],
            f"{row['ours']:,.0f}",
            f"{row['usual']:,.0f}",
            f"{row['ours'] / row['usual']:.2f}x",
        ]
        for row in data["cases"]
    ]
    header = ["data", "compared with", "samples/s", "its samples/s", "ratio"]
    return markdown(header, rows) + (
        "\nOf half the rows, storage chunks decoded in a pass, where less is better: at best as "
        "many as in a whole one.\n"
    )


def _written(folder: str, name: str, rows: int, write: Callable[[h5py.File, int], None]) -> Path:
    path = Path(folder) / name
    if not path.exists():
        with h5py.File(path, "w") as file:
            write(file, rows)
    return path


def _series(file: h5py.File, rows: int) -> None:
    data = np.random.default_rng(0).random((rows, 8), np.float32)
    data[:, 0] = np.arange(rows)
    file["x"] = data


def _series_in_storage_chunks(file: h5py.File, rows: int) -> None:
    data = np.random.default_rng(0).random((rows, 1024), np.float32)
    data[:, 0] = np.arange(rows)
    file.create_dataset("x", data=data, chunks=(32, 1024), compression="gzip")


def _groups(file: h5py.File, count: int) -> None:
    rows = np.arange(count * GROUP_ROWS)
    data = np.random.default_rng(0).random((len(rows), WIDTH), np.float32)
    file["all/x"], file["all/y"] = data, rows
    for number in range(count):
        own = slice(number * GROUP_ROWS, (number + 1) * GROUP_ROWS)
        file[f"demo_{number}/x"], file[f"demo_{number}/y"] = data[own], rows[own]


def _cells(file: h5py.File, rows: int) -> None:
    dice = np.random.default_rng(0)
    counts = dice.binomial(GENES, 0.03, rows)
    group = file.create_group("X")
    group.attrs["encoding-type"], group.attrs["shape"] = "csr_matrix", (rows, GENES)
    indices = np.concatenate([np.sort(dice.choice(GENES, n, replace=False)) for n in counts])
    packed = {"compression": "gzip", "chunks": (10_000,)}
    data = dice.random(len(indices), np.float32)
    group.create_dataset("data", data=data, **packed)
    group.create_dataset("indices", data=indices.astype(np.int32), **packed)
    group["indptr"] = np.append(0, np.cumsum(counts))
    file["obs/id"] = np.arange(rows)


def _dense(path: Path, rows: list[int]) -> Any:
    with h5py.File(path) as file:
        return _gathered(file, rows)


def _gathered(file: h5py.File, rows: Any) -> Any:
    group = file["X"]
    out = np.zeros((len(rows), GENES), np.float32)
    for at, row in enumerate(rows):
        begin, end = group["indptr"][row : row + 2]
        out[at, group["indices"][begin:end]] = group["data"][begin:end]
    return out


def _by_h5py(path: Path) -> Iterator[Any]:
    """What a user writes: rows in random order, one after the other."""
    with h5py.File(path) as file:
        order = np.random.default_rng(0).permutation(len(file["obs/id"]))
        for start in range(0, len(order), BATCH):
            rows = order[start : start + BATCH]
            yield _gathered(file, rows), rows


def _tokens(file: h5py.File, count: int) -> None:
    dice = np.random.default_rng(0)
    rows = file.create_dataset("x", (count,), h5py.vlen_dtype(np.int32))
    for number, length in enumerate(dice.integers(20, 500, count)):
        rows[number] = dice.integers(0, 50_000, length, np.int32)
    file["y"] = np.arange(count)


def _turned(file: h5py.File, rows: int) -> None:
    data = np.random.default_rng(0).random((rows, 784), np.float32)
    data[:, 0] = np.arange(rows)
    file["rows"], file["turned"], file["y"] = data, data.T, np.arange(rows)[None]


def _wide(file: h5py.File, rows: int) -> None:
    file["x"] = np.random.default_rng(0).integers(0, 256, (64, 64, 3, rows), np.uint8)
    file["y"] = np.arange(rows)


def _jpegs(file: h5py.File, count: int) -> None:
    dice = np.random.default_rng(0)
    rows = file.create_dataset("x", (count,), h5py.vlen_dtype(np.uint8))
    for number in range(count):
        coarse = Image.fromarray(dice.integers(0, 256, (32, 32, 3), np.uint8))
        made = io.BytesIO()
        coarse.resize((PICTURE, PICTURE)).save(made, "JPEG", quality=90)
        rows[number] = np.frombuffer(made.getvalue(), np.uint8)
    file["y"] = np.arange(count)


PART = Part(
    "shapes",
    "Data as it really lies, and what `convert` makes of it, each beside its rival",
    measure,
    tables,
)
