"""Layouts that read slowly: what they cost, and the command that makes a file without them."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from prefetcher.batch import flatten
from prefetcher.cli import output
from prefetcher.cli.axes import axes_of
from prefetcher.cli.names import Choice, as_used, group_of, guess
from prefetcher.columns.padded import Padded
from prefetcher.columns.pictures import Picture
from prefetcher.hdf5.axes import why_slow
from prefetcher.hdf5.dataset import Dataset
from prefetcher.hdf5.describe import FileDescription
from prefetcher.hdf5.patterns import is_pattern
from prefetcher.messages.repacking import convert_line

_LARGE: Final = 16 << 20  # bytes of a storage chunk, which is decoded by one thread, at once
_SMALL: Final = 64 << 10  # bytes: so many are decoded in the time that one takes beside that
_AROUND_S: Final = 50e-6  # what a storage chunk takes beside its bytes; 30 to 75 us were measured
_MANY: Final = 64  # storage chunks; with fewer it does not matter what one takes


@dataclass(frozen=True, slots=True)
class Slow:
    """A dataset that is stored in a way that reads slowly, and what that costs."""

    name: str
    why: str


@dataclass(frozen=True, slots=True)
class Repacking:
    """Datasets that are trained on together, some of them slow to read."""

    slow: tuple[Slow, ...]
    command: str | None
    """What makes a file of them that is not; None where `convert` cannot."""
    ragged: bool = False
    """Whether rows are of variable length, and `convert` makes something else of them."""
    sparse: str = ""
    """What is said of rows that are sparse; "" where none are."""


def repackings(file: FileDescription, choice: Choice | None) -> list[Repacking]:
    """What in a file is slow to read, and what mends it: one for each group of the file.

    Args:
        file: The file.
        choice: The inputs and targets that are proposed; in other groups they are guessed.
    """
    of_choice = group_of(choice.datasets[0]) if choice else None
    groups: dict[str, list[Dataset]] = {}
    for dataset in as_used(file):
        if not _is_left(dataset):
            groups.setdefault(group_of(dataset), []).append(dataset)
    found = []
    for group, inside in groups.items():
        chosen = choice if group == of_choice else guess(tuple(inside))
        if chosen is None or any(map(_is_left, chosen.datasets)):
            continue
        if slow := tuple(_slow(chosen)):
            command = _command(file, chosen, group if choice else "")
            found.append(Repacking(slow, command, _ragged(chosen), _sparse(chosen)))
    return found


def _sparse(choice: Choice) -> str:
    """What it means that rows are sparse."""
    for dataset in choice.datasets:
        if dataset.csr is not None:
            nbytes = dataset.rows * dataset.row_shape[0] * 4
            return (
                f"{dataset.name} is sparse, {output.size(dataset.stored_bytes)}: its rows are made "
                f"dense for each batch. Written dense, they are {output.size(nbytes)} before they "
                "are compressed"
            )
    return ""


def _is_left(dataset: Dataset) -> bool:
    """Whether `convert` has no line for it: groups by a pattern, fields of records."""
    return bool(dataset.dtype.names) or is_pattern(dataset.name)


def _ragged(choice: Choice) -> bool:
    return any(dataset.elements is not None for dataset in choice.datasets)


def _slow(choice: Choice) -> Iterator[Slow]:
    heaviest = max(choice.datasets, key=lambda dataset: dataset.row_bytes)
    for dataset in choice.datasets:
        why = _through_h5py(dataset) or why_slow(dataset) or _parts_of_rows(dataset)
        if not why and dataset is heaviest:  # the others ride along in its blocks
            why = _too_large(dataset) or _too_small(dataset)
        if why:
            yield Slow(dataset.path, why)


def _through_h5py(dataset: Dataset) -> str | None:
    # What was never written needs no reading.
    if dataset.way != "general" or not dataset.stored_bytes:
        return None
    return (
        "h5py has to read it, which lets one thread of the process read at a time, whatever "
        f"readers= says: {dataset.why}"
    )


def _parts_of_rows(dataset: Dataset) -> str | None:
    chunk = dataset.storage_chunk
    if not chunk or chunk[1:] == dataset.row_shape:
        return None
    pieces = _pieces(dataset.row_shape, chunk[1:])
    if pieces < 2:
        return None
    decoded = pieces * _chunk_bytes(dataset)
    return (
        f"a row lies in {pieces:,} storage chunks, each of which holds parts of {chunk[0]:,} rows: "
        f"one row alone costs decoding {output.size(decoded)} to get "
        f"{output.size(dataset.row_bytes)}{_together(dataset)}"
    )


def _too_large(dataset: Dataset) -> str | None:
    if not dataset.storage_chunk or _chunk_bytes(dataset) <= _LARGE:
        return None
    return (
        f"a storage chunk holds {dataset.storage_rows:,} rows, "
        f"{output.size(_chunk_bytes(dataset))}, which one thread decodes at once"
        f"{_together(dataset)}"
    )


def _too_small(dataset: Dataset) -> str | None:
    count = _pieces(dataset.shape, dataset.storage_chunk) if dataset.storage_chunk else 0
    if count < _MANY or _chunk_bytes(dataset) >= _SMALL:
        return None
    return (
        f"its {count:,} storage chunks of {output.size(_chunk_bytes(dataset))} are found, read and "
        f"decoded one by one, with 0.05 ms around each: in a pass, {count * _AROUND_S:,.2g} s"
    )


def _together(dataset: Dataset) -> str:
    """What it does to shuffling; nothing where each row is drawn on its own."""
    if dataset.storage_rows == 1:
        return ""
    return f"; {dataset.storage_rows:,} rows stay together when they are shuffled"


def _chunk_bytes(dataset: Dataset) -> int:
    return dataset.dtype.itemsize * math.prod(dataset.storage_chunk or (0,))


def _pieces(shape: Sequence[int], chunk: Sequence[int]) -> int:
    """Storage chunks that cover a shape."""
    return math.prod(-(-extent // step) for extent, step in zip(shape, chunk, strict=True))


def _command(file: FileDescription, choice: Choice, group: str) -> str | None:
    made = options_of(choice)
    if made is None:
        return None
    paths = {dataset.name: dataset.path for dataset in choice.datasets}
    return convert_line(
        file.path,
        [paths[name] for name in flatten(choice.x)],
        [paths[name] for name in flatten(choice.y or ())],
        filters=[name for each in choice.datasets for name in each.filters],
        allow_external=file.allow_external,
        group=group,
        axes=axes_of(choice.datasets),
        options=made,
    )


def options_of(choice: Choice) -> list[str] | None:
    """The options of `convert` that its columns stand for; None where it has none.

    All pictures get one size, and all rows of variable length one length.
    """
    columns = choice.columns.values()
    sizes = {column.size for column in columns if isinstance(column, Picture)}
    lengths = {column.length for column in columns if isinstance(column, Padded)}
    without = any(each.elements and each.name not in choice.columns for each in choice.datasets)
    if len(sizes) > 1 or without:
        return None
    made = [word for size in sizes for word in ("--size", *map(str, size))]
    return made + (["--length", str(max(lengths))] if lengths else [])


def lines(found: Sequence[Repacking]) -> Iterator[str]:
    """In words: what it costs, then the commands."""
    for repacking in found:
        for slow in repacking.slow:
            yield f"{slow.name} is slow to read: {slow.why}."
        if repacking.sparse:
            yield f"{repacking.sparse}."
    commands = [repacking.command for repacking in found if repacking.command]
    if commands:
        yield "This writes it in whole rows, about 1 MiB together, which are read at full speed:"
        yield ""
        yield from commands
        yield ""
    elif any(not repacking.ragged for repacking in found):
        yield "`prefetcher convert` writes it in a way that is read at full speed."
