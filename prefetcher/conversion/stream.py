"""A Python iterator of samples as a source: read once, in its order, its length unknown."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from itertools import chain, islice
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from prefetcher.conversion.options import Options
from prefetcher.conversion.single import Progress
from prefetcher.errors import DatasetError, SettingsError
from prefetcher.hdf5.attributes import Names, encode
from prefetcher.messages.wording import written
from prefetcher.writing.codec import choose, storage_rows
from prefetcher.writing.writer import HDF5Writer

Sample = Mapping[str, Any] | tuple[Any, ...] | Any
"""Values by name; or (x, y), (x, y, sample_weight); or x alone."""

_NAMES = ("x", "y", "sample_weight")


def write_stream(samples: Iterable[Sample], out: Path, options: Options, progress: Progress) -> int:
    """Writes samples as they come, one storage chunk in memory at a time.

    The first sample decides on names, shapes and dtypes.

    Returns:
        How many there were.

    Raises:
        SettingsError: An option needs to know all samples before the first is written.
        DatasetError: There is no sample, or one is not like the first.
    """
    _check(options)
    named = map(_named, samples)
    first = next(named, None)
    if first is None:
        raise DatasetError("the iterator gave no sample")
    specs = {name: (value.shape, value.dtype) for name, value in first.items()}
    step = storage_rows(sum(value.nbytes for value in first.values()))
    batches = _batches(chain([first], named), step)
    head = next(batches)
    codec = options.codec or "none"
    if codec == "auto":
        codec, _ = choose(max(head.values(), key=lambda rows: rows.nbytes))
    x, y = _roles(tuple(specs), options)
    with HDF5Writer(out, specs, codec=codec, x=x, y=y) as file:
        for batch in chain([head], batches):
            file.append(batch)
            progress(len(next(iter(batch.values()))), 0)
        about = {"source": "iterator", "arguments": options.arguments | {"codec": codec}}
        file.set_attributes(encode(about))
    return next(iter(file.rows.values()))


def _check(options: Options) -> None:
    kinds = [name for name in ("size", "axis", "length") if getattr(options, name)]
    if kinds:
        raise SettingsError(f"{written(kinds[0])} is for files, and an iterator gives its own rows")
    wrong = [name for name in ("split", "shuffle", "shards", "resume") if getattr(options, name)]
    if wrong:
        raise SettingsError(
            f"{wrong[0]} needs to know all samples first, and an iterator gives them once: write "
            "them to a file without it, and convert that file"
        )


def _named(sample: Sample) -> dict[str, NDArray[Any]]:
    if isinstance(sample, Mapping):
        return {name: np.asarray(value) for name, value in sample.items()}
    values = sample if isinstance(sample, tuple) else (sample,)
    if not 1 <= len(values) <= len(_NAMES):
        raise DatasetError(f"a sample of {len(values)} values: give a dict of names to values")
    return dict(zip(_NAMES, map(np.asarray, values), strict=False))


def _batches(
    samples: Iterator[dict[str, NDArray[Any]]], step: int
) -> Iterator[dict[str, NDArray[Any]]]:
    while batch := list(islice(samples, step)):
        yield {name: _stacked(name, batch) for name in batch[0]}


def _stacked(name: str, batch: list[dict[str, NDArray[Any]]]) -> NDArray[Any]:
    try:
        return np.stack([sample[name] for sample in batch])
    except (KeyError, ValueError) as error:
        raise DatasetError(
            f"samples differ in {name}: each needs the names and shapes of the first ({error})"
        ) from error


def _roles(names: tuple[str, ...], options: Options) -> tuple[Names, Names | None]:
    """What was asked for; else x and y by name, else the first and the rest."""
    if options.x:
        return options.x, options.y
    if "x" in names:
        return "x", "y" if "y" in names else None
    others = names[1:]
    return names[0], others[0] if len(others) == 1 else others or None
