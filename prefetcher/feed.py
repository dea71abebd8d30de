"""From the settings and the file to what a stream is made of: the checks, and the plan."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import replace

import psutil

from prefetcher.batch import Recipe, flatten
from prefetcher.config import Settings, samples_of
from prefetcher.errors import DatasetError, SettingsError
from prefetcher.hdf5.shards import Shards, describe_all
from prefetcher.machine.limits import cpus_allowed, memory_allowed
from prefetcher.messages.repacking import convert_line
from prefetcher.naming import named
from prefetcher.order.plan import MOST_READERS, Plan
from prefetcher.order.sizes import (
    CHUNK_SIZE,
    default_block_size,
    default_chunk_size,
    whole_chunk_size,
)
from prefetcher.pipeline.stream import Feed

_logger = logging.getLogger("prefetcher")


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
        settings.file,
        allow_external=settings.allow_external,
        retries=settings.retries,
        swmr=settings.swmr,
    )
    settings = named(settings, shards)
    parts = (settings.x, settings.y, settings.sample_weight)
    recipe = Recipe(
        tuple(part for part in parts if part is not None), settings.transform, settings.seed
    )
    shards = shards.including(recipe.names)
    if settings.swmr:
        shards = shards.level(recipe.names)
    feed = Feed(settings, shards, _plan(settings, shards, recipe.names), recipe)
    feed = _fitting(feed)
    return replace(feed, auto_most=_auto_most(feed))


def mixing_advice(feed: Feed) -> str | None:
    """What to do if a file sorted by class would be mixed badly; None if it would not.

    Says nothing where the order was asked for: by `shuffle=False`, or by a `block_size`.
    """
    plan, settings = feed.plan, feed.settings
    if not plan.shuffle or settings.block_size is not None or plan.mixes_well:
        return None
    return (
        f"{feed.where} is shuffled less than it could be: a chunk of {plan.chunk_size} samples has "
        f"no more blocks than {plan.blocks_in_chunk}, of {plan.block_size} neighbouring rows, so "
        f"the batches of a file sorted by class keep {100 * plan.mixing:.0f} % of the label "
        "entropy of a full permutation. If the rows are in no order, nothing is wrong. Else "
        f"{_remedy(feed)}"
    )


def _remedy(feed: Feed) -> str:
    if feed.plan.align == 1:
        return "pass a larger chunk_size, or block_size=1"
    return f"{_rewriting(feed)}, or pass a larger chunk_size"


def _rewriting(feed: Feed) -> str:
    """How to have shorter storage chunks: a line to paste, where one does it."""
    settings = feed.settings
    if len(feed.shards.files) > 1 or settings.sample_weight is not None:
        return "write it anew with shorter storage chunks, as `prefetcher convert` does"
    line = convert_line(
        feed.shards.files[0].path,
        tuple(flatten(settings.x)),
        tuple(flatten(settings.y or ())),
        filters=[name for dataset in feed.datasets for name in dataset.filters],
        allow_external=settings.allow_external,
    )
    how = f" (`{line}`)" if line else ", as `prefetcher convert` does"
    return f"write it anew with shorter storage chunks{how}"


def _auto_most(feed: Feed) -> int:
    """The most threads of a stage that may find its own number, by CPUs and memory."""
    most = min(MOST_READERS, cpus_allowed())
    have = memory_allowed()
    while most > 1 and replace(feed, auto_most=most).memory_bytes > have:
        most -= 1
    return most


def _fitting(feed: Feed) -> Feed:
    """The same with queues that the machine can hold.

    A chunk size that the user left open becomes smaller, one that the user wrote is refused.
    """
    have, need, plan = psutil.virtual_memory().total, feed.memory_bytes, feed.plan
    if need <= have:
        return feed
    fitting = _fitting_chunk_size(feed, have // 2)
    sizes = (
        f"chunk_queue={feed.settings.chunk_queue} chunks of {plan.largest_chunk} samples of "
        f"{feed.row_bytes} bytes and batch_queue={feed.settings.batch_queue} batches of "
        f"{plan.largest_batch} need {need / 1e9:.1f} GB, this machine has {have / 1e9:.1f} GB"
    )
    if not fitting:
        raise SettingsError(f"{sizes}: write a smaller batch_size, chunk_queue or batch_queue")
    if feed.settings.chunk_size is not None:
        raise SettingsError(f"{sizes}: write chunk_size={fitting} or less")
    _logger.warning(
        "%s: chunk_size is %d here. The order of the samples depends on it: write chunk_size=%d to "
        "have the same on a machine with more memory",
        sizes,
        fitting,
        fitting,
    )
    return replace(feed, plan=replace(plan, chunk_size=fitting))


def _fitting_chunk_size(feed: Feed, most: int) -> int:
    """The largest chunk with which `most` bytes are enough; 0 if no whole batch fits."""
    plan, chunks = feed.plan, feed.settings.chunk_queue
    beside = feed.memory_bytes - chunks * plan.largest_chunk * feed.row_bytes
    fitting = (most - beside) // (chunks * feed.row_bytes)
    if fitting < plan.batch_size:
        return 0
    return whole_chunk_size(fitting, plan.batch_size, plan.align)


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
    chunk_size, block_size = _sizes(settings, len(samples), row_bytes, align)
    return Plan(
        samples=samples,
        batch_size=settings.batch_size,
        chunk_size=chunk_size,
        block_size=block_size,
        seed=settings.seed,
        shuffle=settings.shuffle,
        drop_remainder=settings.drop_remainder,
        align=align,
    )


def _sizes(settings: Settings, samples: int, row_bytes: int, align: int) -> tuple[int, int]:
    """Samples in a chunk and in a block, as the user wrote them or as they fit the file."""
    batch_size, wanted = settings.batch_size, settings.chunk_size
    block_size = settings.block_size or default_block_size(wanted or CHUNK_SIZE, row_bytes, align)
    if wanted is not None:
        return whole_chunk_size(wanted, batch_size, align), block_size
    # A block size that the user wrote is meant for the usual chunk, so that does not grow with it.
    mixed = 1 if settings.block_size else block_size
    chunks = settings.chunk_queue
    return default_chunk_size(samples, batch_size, mixed, row_bytes, align, chunks), block_size
