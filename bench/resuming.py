"""Resuming: the time to the first batch after a kill, near and far, and what a save costs."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Any

import h5py
import keras
import numpy as np
from numpy.typing import NDArray

import prefetcher
from bench.attempt import attempt
from bench.part import Options, Part, Result, markdown

ROWS, BATCH_SIZE = 400_000_000, 32
"""More than 10 million batches, of rows of 8 bytes."""
PLACES = (0, 1_000, 10_000_000)
WIDTHS = (320, 2_800)
"""Units in each of two hidden layers: about 0.1 and 8 million parameters."""
SAVES = 10


def measure(options: Options) -> Result:
    """Resumes in processes of their own, in turn; then saves."""
    result = Result({"places": [], "saves": []})
    runs: dict[int, list[dict[str, float]]] = {at: [] for at in PLACES}
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        path = Path(folder) / "sparse.h5"
        _write_sparse(path)
        for _ in range(options.rounds):
            for at in PLACES:
                what = f"resuming {at} batches in"
                run = attempt(result, what, "bench.resuming:resume", path=str(path), at=at)
                runs[at] += [run] if run else []
                if run and not run["rows_correct"]:
                    result.wrong_rows.append(what)
    for at, found in runs.items():
        if found:
            medians = {key: median(run[key] for run in found) for key in ("seconds", "read_bytes")}
            result.data["places"].append({"batches": at} | medians)
    for width in WIDTHS:
        what = f"saving a model {width} wide"
        saved = attempt(result, what, "bench.resuming:save", width=width, saves=SAVES)
        result.data["saves"] += [saved] if saved else []
    return result


def _write_sparse(path: Path) -> None:
    """Space for all rows, of which the disk holds those that are read, each its own number."""
    properties = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    properties.set_alloc_time(h5py.h5d.ALLOC_TIME_EARLY)
    properties.set_fill_time(h5py.h5d.FILL_TIME_NEVER)
    with h5py.File(path, "w") as file:
        space = h5py.h5s.create_simple((ROWS,))
        h5py.h5d.create(file.id, b"x", h5py.h5t.NATIVE_INT64, space, properties)
    rows = [_rows(path, at) for at in PLACES]
    with h5py.File(path, "r+") as file:
        for row in np.concatenate(rows).tolist():
            file["x"][row] = row


def _rows(path: Path, at: int) -> NDArray[np.int64]:
    """The rows of the batch at this position of the first pass, in its order."""
    with _sequence(str(path)) as sequence:
        number, index = sequence.plan.chunk_of(at)
        chunk = sequence.plan.chunk(number)
    return chunk.rows[chunk.order][index * BATCH_SIZE : (index + 1) * BATCH_SIZE]


def resume(path: str, at: int) -> dict[str, Any]:
    """The next process: opens the file, loads the state, asks for the first batch."""
    with _sequence(path) as sequence:
        state = sequence.state_dict() | {"trained": at}
    begun = perf_counter()
    with _sequence(path) as sequence:
        sequence.load_state_dict(state)
        (came,) = sequence[0]
        seconds = perf_counter() - begun
        return {
            "seconds": seconds,
            "read_bytes": sequence.stats().read_bytes,
            "rows_correct": np.array_equal(came, _rows(Path(path), at)),
        }


def _sequence(path: str) -> prefetcher.PrefetchSequence:
    return prefetcher.PrefetchSequence(path, x="x", y=None, batch_size=BATCH_SIZE)


def save(width: int, saves: int) -> dict[str, float]:
    """Trains a model of such a width a little, and saves it again and again."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "samples.h5"
        with h5py.File(path, "w") as file:
            file["x"] = np.zeros((64, width // 10), np.float32)
            file["y"] = np.zeros(64, np.float32)
        model = keras.Sequential(
            [
                keras.layers.Dense(width, "relu"),
                keras.layers.Dense(width, "relu"),
                keras.layers.Dense(1),
            ]
        )
        model.compile("adam", "mse")
        with prefetcher.PrefetchSequence(path) as sequence:
            saver = _Timed(Path(folder) / "run", sequence, every=1)
            model.fit(sequence, epochs=saves // 2, verbose=0, callbacks=[saver])
        size = max(file.stat().st_size for file in (Path(folder) / "run").iterdir())
        return {
            "parameters": model.count_params(),
            "bytes": size,
            "seconds": median(saver.seconds),
        }


class _Timed(prefetcher.Backup):
    """A backup that notes how long each save took."""

    def __init__(self, *arguments: Any, **settings: Any) -> None:
        super().__init__(*arguments, **settings)
        self.seconds: list[float] = []

    def _save(self, epoch: int, step: int, place: dict[str, Any]) -> None:
        begun = perf_counter()
        super()._save(epoch, step, place)
        self.seconds.append(perf_counter() - begun)


def tables(data: Mapping[str, Any]) -> str:
    """Time and bytes to the first batch; cost of a save."""
    places = [
        [f"{row['batches']:,}", f"{1000 * row['seconds']:.0f}", f"{row['read_bytes'] / 1e3:.0f}"]
        for row in data["places"]
    ]
    saves = [
        [
            f"{row['parameters'] / 1e6:.1f} million",
            f"{row['bytes'] / 1e6:.1f}",
            f"{1000 * row['seconds']:.0f}",
        ]
        for row in data["saves"]
    ]
    about = (
        f"A sparse file of {ROWS:,} rows of 8 bytes, batches of {BATCH_SIZE}: from opening it to "
        "the first batch after `load_state_dict`, and what was read until then.\n"
    )
    return "\n".join(
        [
            about,
            markdown(["batches in", "ms to the first batch", "kB read"], places),
            "A save with Adam, on the disk with fsync:\n",
            markdown(["parameters", "MB", "ms"], saves),
        ]
    )


PART = Part("resuming", "Going on after a kill", measure, tables)
