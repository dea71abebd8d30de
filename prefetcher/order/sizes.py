"""How large a chunk and a block are where the user leaves that open. Pure.

All is counted in samples. Where only some rows are samples, a storage chunk holds fewer of them
than rows. A block then has the mean (`Plan.samples_in_storage_chunk`), as blocks can differ. Chunks
cannot: where no number of samples is always whole storage chunks (`Plan.even_samples` is 1), each
end of a chunk cuts one, which is decoded twice. With 64 blocks to a chunk that is 2 % more.
"""

from __future__ import annotations

import math

CHUNK_SIZE = 3200
"""Samples in a chunk by default, or more: 100 batches of 32, which is 157 MB of 128x128 colour
pictures."""
SMALLEST_MIX = 64
"""Blocks in a chunk: 64 blocks of one class each keep over 95 % of the label entropy."""
_GROWN_BYTES = 256 << 20  # what all chunks in memory may grow to, so that each has so many blocks
_RANKS = (8, 4, 2, 1)  # processes that could share a chunk without reading a storage chunk twice
_BLOCK_BYTES = 1 << 20  # from about 1 MiB on, a random read costs what a sequential one costs


def default_chunk_size(
    samples: int, batch_size: int, block_size: int, row_bytes: int, align: int, chunks: int
) -> int:
    """The chunk size that mixes well: 3200 samples, or more where blocks are long.

    It grows until a chunk has 64 blocks, or all samples, as far as all chunks together fit 256 MiB.
    The size is whole batches, and whole storage chunks where that takes at most an eighth more.

    Args:
        samples: Samples in a pass.
        batch_size: Samples in a batch.
        block_size: Samples in a block.
        row_bytes: Decoded bytes of one sample.
        align: Samples whose multiples cut no storage chunk; 1 if all do, or none does.
        chunks: Chunks that are in memory at once.
    """
    room = _GROWN_BYTES * 8 // 9 // (max(row_bytes, 1) * chunks)
    wanted = max(CHUNK_SIZE, min(SMALLEST_MIX * block_size, room, samples))
    for ranks in _RANKS:
        unit = math.lcm(batch_size, ranks * align)
        size = -(-wanted // unit) * unit
        if size <= wanted * 9 // 8:
            return size
    return -(-wanted // batch_size) * batch_size


def whole_chunk_size(wanted: int, batch_size: int, align: int) -> int:
    """The largest size up to `wanted` that cuts no batch, and no storage chunk if it can.

    A storage chunk that lies in two chunks is decoded twice in a pass. A size that cuts none is
    taken if it keeps three quarters of `wanted`.
    """
    unit = math.lcm(batch_size, align)
    size = wanted // unit * unit
    return size if 4 * size >= 3 * wanted else max(batch_size, wanted // batch_size * batch_size)


def default_block_size(chunk_size: int, row_bytes: int, align: int) -> int:
    """The block size that mixes well and still reads at full speed.

    About 1 MiB, at least 64 blocks to a chunk, and whole storage chunks. On 320,000 samples
    sorted into 10 classes this keeps over 95 % of a full permutation's batch label entropy; one
    block to a chunk keeps none (docs/shuffling.md has the figures).

    Args:
        chunk_size: Samples in a chunk.
        row_bytes: Decoded bytes of one sample.
        align: Samples in a storage chunk, 1 when the dataset is contiguous.
    """
    wanted = max(1, min(_BLOCK_BYTES // max(row_bytes, 1), chunk_size // SMALLEST_MIX))
    return align * max(1, wanted // align)
