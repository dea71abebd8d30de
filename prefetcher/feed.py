"""From the settings and the file to what a stream is made of: the checks, and the plan."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import psutil

from prefetcher.batch import Recipe
from prefetcher.config import DEFAULT_X, DEFAULT_Y, Settings, samples_of
from prefetcher.errors import DatasetError, SettingsError
from prefetcher.hdf5.attributes import read_attributes
from prefetcher.hdf5.describe import FileDescription
from prefetcher.hdf5.shards import Shards, describe_all
from prefetcher.machine.limits import cpus_allowed, memory_allowed
from prefetcher.pipeline.stream import Feed
from prefetcher.plan import MOST_READERS, Plan, default_block_size


def feed_of(settings: Settings) -> Feed:
    """Checks the settings against the file, and plans the order.

    Raises:
        FileError: The file is missing, not HDF5, cut short, or open for writing elsewhere.
        ReadError: The system could not read it, also not after the retries.
        DatasetError: A dataset is missing, or they differ in length, or cannot be batched.
        RowsError: `rows` names rows that are not there, or none.
        SettingsError: The settings leave no batch, or need more memory than there is.
    """
    shards = describe_all(
        settings.file, allow_external=settings.allow_external, retries=settings.retries
    )
    settings = _with_own_names(settings, shards.files[0])
    parts = (settings.x, settings.y, settings.sample_weight)
    recipe = Recipe(
        tuple(part for part in parts if part is not None), settings.transform, settings.seed
    )
    feed = Feed(settings, shards, _plan(settings, shards, recipe.names), recipe)
    _check_memory(feed)
    return replace(feed, auto_most=_auto_most(feed))


def _auto_most(feed: Feed) -> int:
    """The most threads of a stage that may find its own number, by CPUs and memory."""
    most = min(MOST_READERS, cpus_allowed())
    have = memory_allowed()
    while most > 1 and replace(feed, auto_most=most).memory_bytes > have:
        most -= 1
    return most


def _with_own_names(settings: Settings, file: FileDescription) -> Settings:
    """Names that were left out, as the file itself has them."""
    if settings.x != DEFAULT_X or any(dataset.name == DEFAULT_X for dataset in file.datasets):
        return settings
    own = read_attributes(file.path, retries=settings.retries)
    if own.x is None:
        return settings
    return replace(settings, x=own.x, y=own.y if settings.y == DEFAULT_Y else settings.y)


def _check_memory(feed: Feed) -> None:
    """A queue that the machine could never hold is refused before it is filled."""
    have, need = psutil.virtual_memory().total, feed.memory_bytes
    if need > have:
        fitting = max(1, feed.settings.chunk_size * have // (2 * need))
        raise SettingsError(
            f"chunk_queue={feed.settings.chunk_queue} chunks of {feed.settings.chunk_size} samples "
            f"of {feed.row_bytes} bytes need {need / 1e9:.1f} GB, this machine has "
            f"{have / 1e9:.1f} GB: write chunk_size={fitting} or less"
        )


def _check_lengths(shards: Shards, names: Sequence[str]) -> None:
    """Row i of every dataset must be the same sample, in each file."""
    for file in shards.files:
        datasets = [file.dataset(name) for name in names]
        found = ", ".join(f"{dataset.name} {dataset.rows} rows" for dataset in datasets)
        if len({dataset.rows for dataset in datasets}) > 1:
            raise DatasetError(
                f"{file.path.name} has {found}: x, y and sample_weight need as many rows each"
            )
        if any(dataset.rows * dataset.row_bytes == 0 for dataset in datasets):
            raise DatasetError(f"{file.path.name} has {found}: there is nothing to batch")


def _plan(settings: Settings, shards: Shards, names: Sequence[str]) -> Plan:
    _check_lengths(shards, names)
    datasets = [shards.dataset(name) for name in names]
    samples = samples_of(settings.rows, datasets[0].rows, shards.name)
    if settings.drop_remainder and len(samples) < settings.batch_size:
        raise SettingsError(
            f"drop_remainder=True leaves no batch: {len(samples)} samples do not fill one of "
            f"{settings.batch_size}. Write batch_size={len(samples)} or less, or leave it out"
        )
    # The widest dataset sets the pace, so blocks follow its storage chunks.
    align = max(datasets, key=lambda dataset: dataset.row_bytes).storage_rows
    row_bytes = sum(dataset.row_bytes for dataset in datasets)
    block_size = settings.block_size or default_block_size(settings.chunk_size, row_bytes, align)
    return Plan(
        samples=samples,
        batch_size=settings.batch_size,
        chunk_size=settings.chunk_size,
        block_size=block_size,
        seed=settings.seed,
        shuffle=settings.shuffle,
        drop_remainder=settings.drop_remainder,
        align=align,
    )
