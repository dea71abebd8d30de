"""From the settings and the file to what a stream is made of: the checks, and the plan."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from typing import Any

import psutil
from numpy.typing import NDArray

from prefetcher.batch import Made, Recipe, flatten
from prefetcher.columns.axis import Axis
from prefetcher.columns.column import Column, Span, View
from prefetcher.columns.memory import InMemory
from prefetcher.columns.rows import Row, Window
from prefetcher.config import Settings
from prefetcher.errors import SettingsError
from prefetcher.hdf5.axes import why_slow
from prefetcher.hdf5.opened import check_descriptors
from prefetcher.hdf5.patterns import is_pattern
from prefetcher.hdf5.shards import Shards, describe_all
from prefetcher.machine.limits import cpus_allowed, memory_allowed
from prefetcher.making import by_file, value_of
from prefetcher.messages.repacking import convert_line
from prefetcher.naming import leaves, named
from prefetcher.needs import needs_of, row_text, standing
from prefetcher.order.chunk import MOST_READERS
from prefetcher.order.plan import Plan
from prefetcher.order.samples import Samples
from prefetcher.order.shard import Shard
from prefetcher.order.sizes import whole_chunk_size
from prefetcher.pipeline.stream import Feed
from prefetcher.planning import held_bytes, planned
from prefetcher.selection import samples_of
from prefetcher.sharding import shard_of
from prefetcher.weights import drawn_by, weights_of

_DECODED_TWICE = 1.06  # times that all is decoded, from which on processes are told
_logger = logging.getLogger("prefetcher")


def feed_of(settings: Settings) -> Feed:
    """Checks the settings against the file, and plans the order.

    Raises:
        FileError: The file is missing, not HDF5, cut short, or open for writing elsewhere; or the
            process may not have as many files open as the readers need at once.
        ReadError: The system could not read it, also not after the retries.
        DatasetError: A dataset is missing, or they differ in length, or cannot be batched.
        RowsError: `rows` names rows that are not there, or none.
        SettingsError: The settings leave no batch, need more memory than there is, or draw by
            weights that cannot be drawn by; or nobody knows for certain which share this is.
    """
    shard = shard_of(settings.shard)
    shards = describe_all(
        settings.file,
        allow_external=settings.allow_external,
        retries=settings.retries,
        swmr=settings.swmr,
    )
    split = settings.split
    if settings.groups is not None:
        shards.only(settings.groups)
    settings = named(settings, shards)
    if settings.groups is not None and not shards.has_patterns:
        raise SettingsError(
            f"groups={settings.groups!r} without a pattern of groups: write one, as in "
            "x='data/demo_*/obs', or leave groups out"
        )
    made = _made(settings, shards)
    shards = shards.including([view.dataset for view, _ in made.values()])
    if settings.swmr:
        beside = drawn_by(settings, shards, split or "")
        shards = shards.level(_strides(settings, made, beside))
    needs, length = needs_of(shards, (view for view, _ in made.values()))
    rows = needs[0].dataset.rows
    samples = samples_of(settings.rows, length, shards.name, rows if rows != length else None)
    stands = partial(standing, shards, needs, _of_targets(settings, made))
    weights = weights_of(settings, shards, samples, length, stands, split or "")
    feed = _fitting(
        Feed(
            settings,
            shards,
            planned(settings, samples, needs, weights, shard),
            _recipe(
                settings, by_file(made, shards, needs), partial(row_text, shards, needs), shard
            ),
            needs,
            _values(settings, samples, length),
            sum(_made_bytes(leaf, shards) for leaf in made),
        )
    )
    # Who asks for a batch out of turn reads beside the readers.
    check_descriptors(settings.workers(auto=1).readers + 1)
    return replace(feed, auto_most=_auto_most(feed))


def _made(settings: Settings, shards: Shards) -> dict[str | Column, Made]:
    """Which rows each name and column needs, and what is made of them."""
    made: dict[str | Column, Made] = {}
    for _, leaf in leaves(settings):
        if not isinstance(leaf, InMemory):
            view = View(leaf, Span()) if isinstance(leaf, str) else leaf.view
            made[leaf] = view, value_of(leaf, shards).make
    if not made:
        raise SettingsError("x and y are arrays: name a dataset of the file in one of them")
    return made


def _strides(
    settings: Settings, made: Mapping[str | Column, Made], beside: str | None
) -> dict[str, int]:
    """How many rows one sample goes on by, in each dataset that must have as many samples."""
    strides = {view.dataset: view.span.stride for view, _ in made.values()}
    stride = _of_targets(settings, made).span.stride
    return {beside: stride} | strides if beside else strides


def _of_targets(settings: Settings, made: Mapping[str | Column, Made]) -> View:
    """The rows of the first target, where a sample's class is; of the first input without any."""
    of_targets = (made[leaf][0] for part, leaf in leaves(settings) if part == "y" and leaf in made)
    return next(of_targets, next(iter(made.values()))[0])


def _made_bytes(leaf: str | Column, shards: Shards) -> int:
    """Bytes of one sample that are made beside what is read."""
    as_read = isinstance(leaf, str) or (isinstance(leaf, Row | Window) and isinstance(leaf.of, str))
    return 0 if as_read else value_of(leaf, shards).nbytes


def _recipe(
    settings: Settings,
    made: dict[str | Column, Made],
    locate: Callable[[View, int, int], str],
    shard: Shard,
) -> Recipe:
    parts = (settings.x, settings.y, settings.sample_weight)
    given = tuple(part for part in parts if part is not None)
    return Recipe(given, made, settings.transform, settings.seed, locate, shard.index)


def _values(settings: Settings, samples: Samples, length: int) -> dict[InMemory, NDArray[Any]]:
    """What is in memory, by the number of the sample."""
    return {
        leaf: leaf.of_all(part, samples, length)
        for part, leaf in leaves(settings)
        if isinstance(leaf, InMemory)
    }


def mixing_advice(feed: Feed) -> str | None:
    """What to do if a file sorted by class would be mixed badly; None if it would not.

    Says nothing where the order was asked for: by `shuffle=False`, or by a `block_size`.
    """
    plan, settings = feed.plan, feed.settings
    if not plan.shuffle or settings.block_size is not None or plan.mixes_well:
        return None
    return (
        f"{feed.where} is shuffled less than it could be: a chunk of {plan.chunk_size} samples has "
        f"no more blocks than {plan.blocks_in_chunk}, of {plan.samples_in_block} neighbouring "
        "rows, so "
        f"the batches of a file sorted by class keep {100 * plan.mixing:.0f} % of the label "
        "entropy of a full permutation. If the rows are in no order, nothing is wrong. Else "
        f"{_remedy(feed)}"
    )


def sharing_advice(feed: Feed) -> str | None:
    """What to do if processes that share the data decode much of it twice; None if they do not."""
    plan = feed.plan
    if plan.shard.count == 1 or plan.decodings <= _DECODED_TWICE:
        return None
    return (
        f"{plan.shard.count} processes decode {feed.where} {plan.decodings:.2f} times in a pass "
        f"together, as storage chunks of {plan.samples_in_storage_chunk} samples lie in the shares "
        f"of several. Better: {_sharing_better(plan)}"
    )


def _sharing_better(plan: Plan) -> str:
    """The settings with which little is decoded twice; else what the file should be like."""
    unit = plan.shard.count * plan.even_samples
    sizes = (times * plan.chunk_size for times in (plan.shard.count, 4 * plan.shard.count))
    whole = [whole_chunk_size(size, plan.batch_size, unit) for size in sizes]
    better = (replace(plan, shuffle=True, chunk_size=size) for size in [plan.chunk_size, *whole])
    found = next((each for each in better if each.decodings <= _DECODED_TWICE), None)
    if found is None:
        return "shorter storage chunks"
    size = "" if found.chunk_size == plan.chunk_size else f"chunk_size={found.chunk_size}"
    shuffled = "" if plan.shuffle else "shuffle=True, with which each reads its own part of a chunk"
    return " and ".join(filter(None, (size, shuffled)))


def _remedy(feed: Feed) -> str:
    if feed.plan.align == 1:
        return "pass a larger chunk_size, or block_size=1"
    return f"{_rewriting(feed)}, or pass a larger chunk_size"


def _rewriting(feed: Feed) -> str:
    """How to have shorter storage chunks: a line to paste, where one does it."""
    line = _converting(feed)
    how = f" (`{line}`)" if line else ", as `prefetcher convert` does"
    return f"write it anew with shorter storage chunks{how}"


def axis_advice(feed: Feed) -> str | None:
    """What to do if rows along another axis than the first are read slowly; None if they are not.

    A line of `convert` that turns them, where one does it.
    """
    slow = next(((each, why) for each in feed.datasets if (why := why_slow(each))), None)
    if slow is None:
        return None
    line = _converting(feed)
    how = f"write it anew once: `{line}`" if line else "write it anew, as `prefetcher convert` does"
    return f"{slow[0].path} in {feed.shards.name} is slow to read: {slow[1]}; {how}"


def _converting(feed: Feed) -> str | None:
    """The line of `convert` that writes what is read of a file; None where none does it."""
    settings = feed.settings
    if len(feed.shards.files) > 1 or feed.shards.keys or settings.sample_weight is not None:
        return None
    x, y = tuple(flatten(settings.x)), tuple(flatten(settings.y or ()))
    if not all(isinstance(leaf, str | Axis) and not is_pattern(str(leaf)) for leaf in (*x, *y)):
        return None
    axes = {str(leaf.of): leaf.axis for leaf in (*x, *y) if isinstance(leaf, Axis)}
    return convert_line(
        feed.shards.files[0].path,
        list(map(_own_name, x)),
        list(map(_own_name, y)),
        filters=[name for dataset in feed.datasets for name in dataset.filters],
        allow_external=settings.allow_external,
        axes=axes,
    )


def _own_name(leaf: str | Axis) -> str:
    return str(leaf.of) if isinstance(leaf, Axis) else leaf


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
    windows, shorter = _windows(feed)
    sizes = (
        f"chunk_queue={feed.settings.chunk_queue} chunks of {plan.largest_chunk} samples of "
        f"{held_bytes(feed.needs)} bytes and batch_queue={feed.settings.batch_queue} batches of "
        f"{plan.largest_batch}{windows} need {need / 1e9:.1f} GB, this machine has "
        f"{have / 1e9:.1f} GB"
    )
    if not fitting:
        remedy = f"write a smaller batch_size, chunk_queue or batch_queue{shorter}"
        raise SettingsError(f"{sizes}: {remedy}")
    if feed.settings.chunk_size is not None or plan.shard.count > 1:  # all need the same order
        raise SettingsError(f"{sizes}: write chunk_size={fitting} or less")
    _logger.warning(
        "%s: chunk_size is %d here. The order of the samples depends on it: write chunk_size=%d to "
        "have the same on a machine with more memory",
        sizes,
        fitting,
        fitting,
    )
    return replace(feed, plan=replace(plan, chunk_size=fitting))


def _windows(feed: Feed) -> tuple[str, str]:
    """What batches of windows weigh, which share rows in a chunk only; and what makes it less."""
    views = [view for need in feed.needs for view in need.views]
    longest = max(views, key=lambda view: view.span.rows)
    if longest.span.rows == 1:
        return "", ""
    shorter = f", or a Window of {longest.dataset} that is shorter than {longest.span.rows} rows"
    return f" windows of {feed.sample_bytes} bytes", shorter


def _fitting_chunk_size(feed: Feed, most: int) -> int:
    """The largest chunk with which `most` bytes are enough; 0 if no whole batch fits."""
    plan, chunks = feed.plan, feed.settings.chunk_queue
    beside = feed.memory_bytes - chunks * plan.largest_chunk * held_bytes(feed.needs)
    fitting = (most - beside) // (chunks * held_bytes(feed.needs)) * plan.shard.count
    if fitting < plan.batch_size:
        return 0
    return whole_chunk_size(fitting, plan.batch_size, plan.even_samples)
