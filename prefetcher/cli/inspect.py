"""Show what is in an HDF5 file, how it is stored and read, and the line of Python that wraps it."""

from __future__ import annotations

import argparse
import json
import math
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Self

from rich import box
from rich.markup import escape
from rich.table import Table

from prefetcher.arguments import Files
from prefetcher.batch import flatten
from prefetcher.cli import axes, layout, output
from prefetcher.cli.names import Choice, proposed
from prefetcher.columns.column import Packing
from prefetcher.columns.ragged import shown
from prefetcher.config import Settings
from prefetcher.errors import PrefetchError
from prefetcher.feed import feed_of, mixing_advice
from prefetcher.filters.plugins import wanting
from prefetcher.hdf5.attributes import Attributes, Names
from prefetcher.hdf5.dataset import Dataset
from prefetcher.hdf5.describe import FileDescription
from prefetcher.hdf5.matlab import is_matlab
from prefetcher.hdf5.shards import Shards, describe_all
from prefetcher.messages.text import visible
from prefetcher.order.sizes import CHUNK_SIZE
from prefetcher.pipeline.stream import Feed

_CLASSES_SHOWN = 8  # what fits a line; --json has them all


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds this command's options."""
    parser.add_argument(
        "files",
        nargs="+",
        metavar="FILE",
        help="an HDF5 file; or a pattern, a manifest, or several files, which are one data set",
    )
    output.add_sizes(parser)
    output.add_allow_external(parser)
    parser.add_argument(
        "--swmr",
        action="store_true",
        help="show a file that another process writes in SWMR mode, as it is now",
    )


def run(arguments: argparse.Namespace) -> None:
    """Describes the file and prints what was found."""
    found = Found.of(arguments.files, allow_external=arguments.allow_external, swmr=arguments.swmr)
    sizes = _sizes(found, arguments.batch_size, arguments.chunk_size)
    if arguments.json:
        output.write_json(_as_json(found, sizes))
    else:
        _print(found, sizes)


@dataclass(frozen=True)
class Sizes:
    """Samples in a batch and in a chunk, and how well such chunks mix."""

    batch: int
    chunk: int
    feed: Feed | None = None
    """What a sequence over the chosen datasets would be made of; None where none can be made."""
    fault: str = ""
    """Why none can be made of what was chosen; "" where one can."""

    @property
    def mixing(self) -> float | None:
        """As `prefetcher.order.plan.Plan.mixing`; None where nothing can be batched."""
        return round(self.feed.plan.mixing, 3) if self.feed else None

    def within(self, dataset: Dataset) -> tuple[int, int]:
        """Both, where the dataset has so many rows; else all that it has."""
        return min(self.batch, dataset.rows), min(self.chunk, dataset.rows)


def _sizes(found: Found, batch_size: int, chunk_size: int | None) -> Sizes:
    """As a sequence over the chosen datasets has them."""
    whole = (chunk_size or CHUNK_SIZE) // batch_size * batch_size
    usual = Sizes(batch_size, max(batch_size, whole))
    if found.choice is not None:
        x, y = found.choice.asked
        asked = Settings(
            found.written,
            x,
            y,
            batch_size=batch_size,
            chunk_size=chunk_size,
            allow_external=found.file.allow_external,
            swmr=found.file.swmr,
        )
        try:
            feed = feed_of(asked)
        except PrefetchError as error:
            return replace(usual, fault=str(error))
        return Sizes(batch_size, feed.plan.chunk_size, feed)
    return usual


@dataclass(frozen=True)
class Found:
    """All that is known of a file, or of several that are one data set."""

    written: Files
    """The files as the user wrote them."""
    shards: Shards
    file: FileDescription
    """The first, with the datasets of all of them; groups that are alike by a pattern."""
    said: tuple[Attributes, ...]
    """What the file says of itself, then of each of its splits."""
    choice: Choice | None
    matlab: bool = False
    """Whether MATLAB wrote it."""

    @classmethod
    def of(cls, files: Sequence[str], *, allow_external: bool, swmr: bool) -> Self:
        """Looks into the files."""
        written = files[0] if len(files) == 1 else tuple(files)
        shards = describe_all(written, allow_external=allow_external, swmr=swmr)
        matlab = is_matlab(shards.files[0].path, swmr=swmr)
        return cls(written, shards, *proposed(shards), matlab)

    @property
    def datasets(self) -> tuple[Dataset, ...]:
        """Those of all files, with their rows together."""
        return self.file.datasets

    @property
    def of_choice(self) -> Dataset:
        """One of the chosen datasets, which have as many rows each."""
        if self.choice is None:
            raise LookupError("nothing was chosen")
        first = self.choice.datasets[0]
        return first if len(self.shards.files) == 1 else self.shards.dataset(first.name)

    @property
    def repackings(self) -> list[layout.Repacking]:
        """What is slow to read as it is stored, and the commands that mend it."""
        return layout.repackings(self.file, self.choice)

    @property
    def python(self) -> str | None:
        """The line that wraps the file; None where nothing in it would train."""
        if self.choice is None:
            return None
        file = self.file
        return self.choice.python(self.written, allow_external=file.allow_external, swmr=file.swmr)

    @property
    def class_names(self) -> dict[str, tuple[str, ...]]:
        """For each dataset of class numbers, the name of class 0, 1, ..."""
        return {name: names for each in self.said for name, names in each.class_names.items()}


def _decoded_bytes(dataset: Dataset) -> int | None:
    """Bytes of all rows in memory; None for rows of variable length."""
    if dataset.elements is not None:
        return None
    return dataset.dtype.itemsize * math.prod(dataset.shape)


def _ratio(dataset: Dataset) -> float | None:
    """Decoded bytes to each stored byte."""
    decoded = _decoded_bytes(dataset)
    if not dataset.stored_bytes or decoded is None:
        return None
    return round(decoded / dataset.stored_bytes, 3)


def _as_json(found: Found, sizes: Sizes) -> dict[str, Any]:
    file, choice = found.file, found.choice
    batch, chunk = sizes.within(found.of_choice) if choice else (0, 0)
    return {
        "file": str(file.path),
        "files": [str(each.path) for each in found.shards.files],
        "size_bytes": found.shards.size,
        "batch_size": sizes.batch,
        "chunk_size": sizes.chunk,
        "mixing": sizes.mixing,
        "datasets": [_dataset_json(dataset, sizes) for dataset in found.datasets],
        "says": _said_json(found),
        "x": choice.x if choice else None,
        "y": choice.y if choice else None,
        "batch_bytes": choice.row_bytes * batch if choice else None,
        "chunk_bytes": choice.row_bytes * chunk if choice else None,
        "python": found.python,
        "fault": sizes.fault or None,
        "slow": {slow.name: slow.why for each in found.repackings for slow in each.slow},
        "convert": [each.command for each in found.repackings if each.command],
    }


def _said_json(found: Found) -> dict[str, Any]:
    own, *splits = found.said
    return {
        "version": own.version,
        "source": own.source,
        "arguments": own.arguments,
        "x": own.x,
        "y": own.y,
        "splits": {
            name: {"x": split.x, "y": split.y}
            for name, split in zip(own.splits, splits, strict=True)
        },
        "class_names": found.class_names,
    }


def _dataset_json(dataset: Dataset, sizes: Sizes) -> dict[str, Any]:
    batch, chunk = sizes.within(dataset)
    return {
        "name": dataset.name,
        "shape": None if dataset.refused else dataset.shape,
        "dtype": shown(dataset.dtype),
        "layout": dataset.layout,
        "storage_chunk": dataset.storage_chunk,
        "filters": dataset.filters,
        "decoded_bytes": _decoded_bytes(dataset),
        "stored_bytes": dataset.stored_bytes,
        "ratio": _ratio(dataset),
        "way": dataset.way,
        "why": dataset.why,
        "refused": _why_not(dataset) or None,
        "packing": _packing_json(dataset.packing) if dataset.packing else None,
        "row_bytes": dataset.row_bytes,
        "batch_bytes": dataset.row_bytes * batch,
        "chunk_bytes": dataset.row_bytes * chunk,
    }


def _packing_json(packing: Packing) -> dict[str, Any]:
    told = packing._asdict()
    fault = told.pop("fault")
    return {"fault": fault} if fault else told


def _print(found: Found, sizes: Sizes) -> None:
    console, file = output.data(), found.file
    name = str(file.path) if len(found.shards.files) == 1 else found.shards.name
    console.print(f"{escape(visible(name))}, {output.size(found.shards.size)}")
    if not file.datasets:
        console.print("It holds no dataset.")
        return
    console.print(_table(found.datasets, plain=not console.is_terminal))
    for line in (*_own_words(found), *_advice(found, sizes)):
        console.print(visible(line), markup=False, soft_wrap=True)


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
        table.add_row(*(escape(visible(cell)) for cell in _cells(dataset)))
    return table


def _cells(dataset: Dataset) -> Iterator[str]:
    yield dataset.name
    yield "?" if dataset.refused else _times(dataset.shape) or "scalar"
    yield "?" if dataset.refused and dataset.dtype.hasobject else shown(dataset.dtype)
    chunk = dataset.storage_chunk
    yield f"storage chunks {_times(chunk)}" if chunk else dataset.layout
    yield ", ".join(dataset.filters) or "none"
    decoded = _decoded_bytes(dataset)
    yield "?" if decoded is None else output.size(decoded)
    yield "?" if decoded is None else output.size(dataset.stored_bytes)
    ratio = _ratio(dataset)
    yield f"{ratio:.2f}" if ratio else "-"
    yield "-" if _why_not(dataset) else dataset.way


def _why_not(dataset: Dataset) -> str:
    """Why its rows cannot be read; "" where they can."""
    if dataset.outside:
        return f"{dataset.refused}; --allow-external follows it, if you trust who made the file"
    if dataset.missing_filter:
        return f"it needs the HDF5 {wanting(dataset.missing_filter)}"
    return dataset.refused


def _times(shape: tuple[int, ...]) -> str:
    return "x".join(map(str, shape))


def _own_words(found: Found) -> Iterator[str]:
    """What the file says of itself; nothing where it says nothing."""
    own = found.said[0]
    if own.version:
        yield ""
        yield f"prefetcher {own.version} made it from {own.source}{_settings(own.arguments)}."
    for each in found.said:
        if each.x:
            targets = f", targets: {_listed(each.y)}" if each.y else ", no targets"
            yield f"Inputs: {_listed(each.x)}{targets}."
    for name, classes in found.class_names.items():
        shown = ", ".join(f"{n} {word}" for n, word in enumerate(classes[:_CLASSES_SHOWN]))
        more = len(classes) - _CLASSES_SHOWN
        yield f"Classes of {name}: {shown}{f', and {more} more' if more > 0 else ''}."


def _settings(arguments: Mapping[str, Any]) -> str:
    """Those that were set: no None, no False, no empty list."""
    given = {name: value for name, value in arguments.items() if value not in (None, [])}
    told = [f"{name}={json.dumps(value)}" for name, value in given.items() if value is not False]
    return f", with {', '.join(told)}" if told else ""


def _listed(names: Names) -> str:
    return ", ".join(flatten(names))


def _advice(found: Found, sizes: Sizes) -> Iterator[str]:
    """The lines below the table."""
    yield ""
    yield from _ways(found.datasets)
    for dataset in found.datasets:
        if why := _why_not(dataset):
            yield f"{dataset.name} cannot be read: {why}."
    yield from _packed(found.datasets)
    choice = found.choice
    yield from axes.lines(choice.datasets if choice else (), matlab=found.matlab)
    yield from layout.lines(found.repackings)
    if not choice:
        yield "Nothing in it has rows of numbers that could be trained on as they are."
        return
    batch, chunk = sizes.within(found.of_choice)
    batches = -(-chunk // batch)
    yield (
        f"A batch of {batch} weighs {output.size(choice.row_bytes * batch)}, a chunk of {chunk} "
        f"({batches} batch{'es' if batches > 1 else ''}) {output.size(choice.row_bytes * chunk)}."
    )
    yield from _mixing(sizes)
    if sizes.fault:
        yield f"The line below needs a change: {sizes.fault}."
    yield ""
    yield found.python or ""


def _packed(datasets: tuple[Dataset, ...]) -> Iterator[str]:
    """Which numbers are not what they stand for."""
    for dataset in datasets:
        if not dataset.packing or dataset.dtype.names or _why_not(dataset):
            continue
        if dataset.packing.fault:
            yield f"{dataset.name} cannot be unpacked: its attribute {dataset.packing.fault}."
        else:
            yield (
                f"{dataset.name} is packed ({dataset.packing}): Unpacked({dataset.name!r}) gives "
                "its values as float32, NaN where there is none."
            )


def _mixing(sizes: Sizes) -> Iterator[str]:
    """How well the file would be mixed if it is sorted by class."""
    if sizes.feed is None or sizes.mixing is None:
        return
    yield mixing_advice(sizes.feed) or (
        f"If it is sorted by class, batches keep {100 * min(sizes.mixing, 1):.0f} % of the label "
        "entropy of a full permutation."
    )


def _ways(datasets: tuple[Dataset, ...]) -> Iterator[str]:
    """Which datasets are read in which way, and why."""
    names = defaultdict[tuple[str, str], list[str]](list)
    for dataset in datasets:
        if not _why_not(dataset):
            names[dataset.way, dataset.why].append(dataset.name)
    for (way, why), read_so in names.items():
        yield f"Read by the way {way!r} because {why}: {', '.join(read_so)}."
