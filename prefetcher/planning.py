"""From the settings, and what samples need of the datasets, to the order and its sizes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from prefetcher.config import Settings
from prefetcher.errors import SettingsError
from prefetcher.order.plan import Plan
from prefetcher.order.samples import Samples
from prefetcher.order.shard import WHOLE, Shard
from prefetcher.order.sizes import (
    CHUNK_SIZE,
    SMALLEST_MIX,
    default_block_size,
    default_chunk_size,
    whole_chunk_size,
)
from prefetcher.pipeline.lane import Need
from prefetcher.pipeline.windows import reach
from prefetcher.weights import Weights

# What a block of windows reads beyond its end is read for another block, too: at most an eighth of
# its rows, and a quarter of its storage chunks.
_WINDOWS_IN_BLOCK = 8
_STORAGE_CHUNKS_IN_BLOCK = 4


def planned(
    settings: Settings,
    samples: Samples,
    needs: Sequence[Need],
    weights: Weights | None,
    shard: Shard = WHOLE,
) -> Plan:
    """The order of the samples.

    Raises:
        SettingsError: The settings leave no batch, or none that can be shared.
    """
    if settings.drop_remainder and len(samples) < settings.batch_size:
        largest = len(samples) - len(samples) % shard.count  # that the processes can share
        remedy = f"Write batch_size={largest} or less, or leave" if largest else "Leave"
        raise SettingsError(
            f"drop_remainder=True leaves no batch: {len(samples)} samples do not fill one of "
            f"{settings.batch_size}. {remedy} it out"
        )
    _check_shares(settings, len(samples), shard.count)
    # The widest dataset sets the pace, so blocks follow its storage chunks.
    widest = max(needs, key=lambda need: need.row_bytes)
    plan = Plan(
        samples=samples,
        batch_size=settings.batch_size,
        chunk_size=settings.batch_size,
        block_size=1,
        seed=settings.seed,
        shuffle=settings.shuffle,
        drop_remainder=settings.drop_remainder,
        align=_samples_together(widest),
        weights=weights,
        shard=shard,
        pad_to=settings.pad_to,
        files=None if widest.files == 1 else widest.rows.ends,
    )
    chunk_size, block_size = _sizes(settings, plan, needs)
    return replace(plan, chunk_size=chunk_size, block_size=block_size)


def _check_shares(settings: Settings, samples: int, count: int) -> None:
    """Raises `SettingsError` if not every batch can be shared alike by so many processes."""
    size, pad_to = settings.batch_size, settings.pad_to
    if size % count:
        up = -(-size // count) * count
        sizes = f"{up - count} or {up}" if size > count else str(up)
        raise SettingsError(
            f"batch_size={size} cannot be shared alike by {count} processes: write "
            f"batch_size={sizes}; it is the size for all processes together"
        )
    if pad_to is not None and pad_to % count:
        raise SettingsError(
            f"pad_to={pad_to} cannot be shared alike by {count} processes: write the number of "
            f"devices of all of them, such as pad_to={count}"
        )
    if pad_to is None and not settings.drop_remainder and samples % size % count:
        left_out = "other samples out in each pass" if settings.shuffle else "it out"
        dropping = f", or drop_remainder=True, which leaves {left_out}" if samples >= size else ""
        raise SettingsError(
            f"{samples} samples cannot be shared alike by {count} processes, as the last batch has "
            f"{samples % size}: write pad_to={count}, which fills it up with samples of weight 0"
            f"{dropping}"
        )


def _samples_together(need: Need) -> int:
    """Samples that stand in one storage chunk, 1 where that is no whole number."""
    rows, stride = need.storage_rows, need.views[0].span.stride
    return rows // stride if rows % stride == 0 else 1


def _sizes(settings: Settings, plan: Plan, needs: Sequence[Need]) -> tuple[int, int]:
    """Samples in a chunk and in a block, as the user wrote them or as they fit the file."""
    batch_size, wanted, even = settings.batch_size, settings.chunk_size, plan.even_samples
    sample_bytes = held_bytes(needs)
    block_size = settings.block_size or _default_block_size(wanted, sample_bytes, needs, plan)
    if wanted is not None:
        return whole_chunk_size(wanted, batch_size, even), block_size
    # A block size that the user wrote is meant for the usual chunk, so that does not grow with it.
    mixed = 1 if settings.block_size else block_size
    chunks, samples = settings.chunk_queue, len(plan.samples)
    return default_chunk_size(samples, batch_size, mixed, sample_bytes, even, chunks), block_size


def held_bytes(needs: Sequence[Need]) -> int:
    """Bytes that a chunk holds for one of many neighbouring samples."""
    return sum(need.row_bytes * _rows_for_one(need) for need in needs)


def _rows_for_one(need: Need) -> int:
    begin, end = reach([view.span for view in need.views])
    return min(end - begin, need.views[0].span.stride)


def _default_block_size(
    chunk_size: int | None, sample_bytes: int, needs: Sequence[Need], plan: Plan
) -> int:
    together = plan.samples_in_storage_chunk
    size = default_block_size(chunk_size or CHUNK_SIZE, sample_bytes, together)
    least = max(map(_least_block, needs))
    # A chunk size that the user wrote does not grow: then mixing goes before reading less.
    least = min(least, chunk_size // SMALLEST_MIX) if chunk_size else least
    size = max(size, -(-least // together) * together)
    if plan.files is None:
        return size
    # To read several small files in one block costs as much as to read each in its own.
    return max(1, min(size, int(plan.files[-1]) // len(plan.files)))


def _least_block(need: Need) -> int:
    """Samples in a block of windows of which few rows are read for the block after it, too.

    Of rows along another axis than the first, so many that they are read in pieces that pay.
    """
    begin, end = reach([view.span for view in need.views])
    csr, stride = need.dataset.csr, need.views[0].span.stride
    least = -(-need.dataset.least_rows // stride)
    if end - begin == 1 and csr is None:
        return least
    # Rows of a sparse group begin and end within storage chunks, as windows do.
    storage_rows = csr.storage_rows if csr else need.storage_rows
    rows = _STORAGE_CHUNKS_IN_BLOCK * storage_rows
    if end - begin > 1:
        rows = max(rows, _WINDOWS_IN_BLOCK * (end - begin))
    return max(least, -(-rows // stride))
