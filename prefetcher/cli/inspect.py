"""Show what is in an HDF5 file, how it is stored and read, and the line of Python that wraps it."""

from __future__ import annotations

import argparse
import math
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich import box
from rich.markup import escape
from rich.table import Table

from prefetcher.cli import output
from prefetcher.hdf5.describe import Dataset, FileDescription, describe

_TARGETS = ("y", "angle", "label", "target", "class", "steering", "output", "mask")
"""What the names of targets contain, likeliest first; anything else is told by its size."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds this command's options."""
    parser.add_argument("file", type=Path, metavar="FILE", help="an HDF5 file")
    parser.add_argument(
        "--batch-size",
        type=output.at_least(1),
        default=32,
        metavar="N",
        help="samples in a batch (default: %(default)s)",
    )
    parser.add_argument(
        "--chunk-size",
        type=output.at_least(1),
        default=3200,
        metavar="N",
        help="samples in a chunk (default: %(default)s)",
    )


def run(arguments: argparse.Namespace) -> None:
    """Describes the file and prints what was found."""
    batch = arguments.batch_size
    sizes = Sizes(batch, max(batch, arguments.chunk_size // batch * batch))
    file = describe(arguments.file)
    if arguments.json:
        output.write_json(_as_json(file, sizes))
    else:
        _print(file, sizes)


@dataclass(frozen=True)
class Sizes:
    """Samples in a batch and in a chunk; a chunk is whole batches."""

    batch: int
    chunk: int

    def within(self, dataset: Dataset) -> tuple[int, int]:
        """Both, where the dataset has so many rows; else all that it has."""
        return min(self.batch, dataset.rows), min(self.chunk, dataset.rows)


@dataclass(frozen=True)
class Guess:
    """Which dataset looks like the inputs, and which like the targets."""

    x: Dataset
    y: Dataset | None

    @property
    def row_bytes(self) -> int:
        """Bytes of one sample."""
        return self.x.row_bytes + (self.y.row_bytes if self.y else 0)

    def python(self, file: Path) -> str:
        """The line that wraps the file."""
        y = repr(self.y.name) if self.y else None
        return f"prefetcher.PrefetchSequence({str(file)!r}, x={self.x.name!r}, y={y})"


def guess(datasets: tuple[Dataset, ...]) -> Guess | None:
    """Takes the heaviest rows for the inputs, and for the targets what is called so or is light.

    Only datasets of the same group and with as many rows as the inputs can be targets. None where
    nothing could be cut into batches.
    """
    usable = [dataset for dataset in datasets if dataset.rows and dataset.row_bytes]
    usable = [dataset for dataset in usable if not dataset.dtype.hasobject]
    if not usable:
        return None
    x = max(usable, key=lambda dataset: dataset.row_bytes)
    partners = [
        dataset
        for dataset in usable
        if dataset is not x and dataset.rows == x.rows and _group(dataset) == _group(x)
    ]
    return Guess(x, min(partners, key=_unlikeliness, default=None))


def _group(dataset: Dataset) -> str:
    return dataset.name.rpartition("/")[0]


def _unlikeliness(dataset: Dataset) -> tuple[int, int]:
    """Sorts the likeliest targets first: by name, then the lighter ones."""
    name = dataset.name.rpartition("/")[2].lower()
    if name == "y":
        return 0, dataset.row_bytes
    matches = (rank for rank, word in enumerate(_TARGETS) if rank and word in name)
    return next(matches, len(_TARGETS)), dataset.row_bytes


def _decoded_bytes(dataset: Dataset) -> int:
    return dataset.dtype.itemsize * math.prod(dataset.shape)


def _ratio(dataset: Dataset) -> float | None:
    """Decoded bytes to each stored byte."""
    if not dataset.stored_bytes:
        return None
    return round(_decoded_bytes(dataset) / dataset.stored_bytes, 3)


def _as_json(file: FileDescription, sizes: Sizes) -> dict[str, Any]:
    found = guess(file.datasets)
    batch, chunk = sizes.within(found.x) if found else (0, 0)
    return {
        "file": str(file.path),
        "size_bytes": file.size,
        "batch_size": sizes.batch,
        "chunk_size": sizes.chunk,
        "datasets": [_dataset_json(dataset, sizes) for dataset in file.datasets],
        "x": found.x.name if found else None,
        "y": found.y.name if found and found.y else None,
        "batch_bytes": found.row_bytes * batch if found else None,
        "chunk_bytes": found.row_bytes * chunk if found else None,
        "python": found.python(file.path) if found else None,
    }


def _dataset_json(dataset: Dataset, sizes: Sizes) -> dict[str, Any]:
    batch, chunk = sizes.within(dataset)
    return {
        "name": dataset.name,
        "shape": dataset.shape,
        "dtype": str(dataset.dtype),
        "layout": dataset.layout,
        "storage_chunk": dataset.storage_chunk,
        "filters": dataset.filters,
        "decoded_bytes": _decoded_bytes(dataset),
        "stored_bytes": dataset.stored_bytes,
        "ratio": _ratio(dataset),
        "way": dataset.way,
        "why": dataset.why,
        "row_bytes": dataset.row_bytes,
        "batch_bytes": dataset.row_bytes * batch,
        "chunk_bytes": dataset.row_bytes * chunk,
    }


def _print(file: FileDescription, sizes: Sizes) -> None:
    console = output.data()
    console.print(f"{escape(str(file.path))}, {output.size(file.size)}")
    if not file.datasets:
        console.print("It holds no dataset.")
        return
    console.print(_table(file.datasets, plain=not console.is_terminal))
    for line in _advice(file, sizes):
        console.print(line, markup=False, soft_wrap=True)


def _table(datasets: tuple[Dataset, ...], *, plain: bool) -> Table:
    table = Table(box=None if plain else box.SIMPLE_HEAD, pad_edge=not plain)
    table.add_column("dataset", style="bold", overflow="fold")
    table.add_column("shape")
    table.add_column("dtype")
    table.add_column("stored as")
    table.add_column("filters")
    table.add_column("bytes", justify="right")
    table.add_column("in the file", justify="right")
    table.add_column("ratio", justify="right")
    table.add_column("read by")
    for dataset in datasets:
        table.add_row(*map(escape, _cells(dataset)))
    return table


def _cells(dataset: Dataset) -> Iterator[str]:
    yield dataset.name
    yield _times(dataset.shape) or "scalar"
    yield str(dataset.dtype)
    chunk = dataset.storage_chunk
    yield f"storage chunks {_times(chunk)}" if chunk else dataset.layout
    yield ", ".join(dataset.filters) or "none"
    yield output.size(_decoded_bytes(dataset))
    yield output.size(dataset.stored_bytes)
    ratio = _ratio(dataset)
    yield f"{ratio:.2f}" if ratio else "-"
    yield dataset.way


def _times(shape: tuple[int, ...]) -> str:
    return "x".join(map(str, shape))


def _advice(file: FileDescription, sizes: Sizes) -> Iterator[str]:
    """The lines below the table."""
    yield ""
    yield from _ways(file.datasets)
    found = guess(file.datasets)
    if not found:
        yield "Nothing in it has rows that can be cut into batches."
        return
    batch, chunk = (output.size(found.row_bytes * count) for count in sizes.within(found.x))
    yield (
        f"A batch of {sizes.batch} weighs {batch}, "
        f"a chunk of {sizes.chunk} ({sizes.chunk // sizes.batch} batches) {chunk}."
    )
    yield ""
    yield found.python(file.path)


def _ways(datasets: tuple[Dataset, ...]) -> Iterator[str]:
    """Which datasets are read in which way, and why."""
    names = defaultdict[tuple[str, str], list[str]](list)
    for dataset in datasets:
        names[dataset.way, dataset.why].append(dataset.name)
    for (way, why), read_so in names.items():
        yield f"Read by the way {way!r} because {why}: {', '.join(read_so)}."
