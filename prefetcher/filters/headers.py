"""What stored bytes say about their own sizes, checked before a plugin is let near them.

The plugins' filter functions trust these figures: a header that lies would make them write or read
too much. Each check takes the filter's settings, the stored bytes and the size they must decode to.
"""

from __future__ import annotations

import struct


def is_sane_blosc(_: tuple[int, ...], data: memoryview, size: int) -> bool:
    """Blosc: format, flags and element size, then size, block size and stored size."""
    if len(data) < 16:
        return False
    decoded, _block, stored = struct.unpack_from("<3I", data, 4)
    return (decoded, stored) == (size, len(data))


def is_sane_lz4(_: tuple[int, ...], data: memoryview, size: int) -> bool:
    """LZ4: the size, the size of a block, then each block behind its stored size."""
    if len(data) < 12:
        return False
    decoded, block = struct.unpack_from(">QI", data)
    if decoded != size or not block:
        return False
    return _blocks_fill(data, -(-size // block), 0)


def can_bitshuffle(values: tuple[int, ...]) -> bool:
    """Whether these settings of a dataset would not make the plugin divide by zero."""
    return len(values) > 2 and values[2] > 0 and not (len(values) > 3 and values[3] % 8)


def is_sane_bitshuffle(values: tuple[int, ...], data: memoryview, size: int) -> bool:
    """Bitshuffle: nothing, or with a compressor a header like that of LZ4."""
    element, compressor = values[2], values[4] if len(values) > 4 else 0
    if size % element:
        return False
    if not compressor:
        return len(data) == size
    if len(data) < 12:
        return False
    decoded, block = struct.unpack_from(">QI", data)
    elements = block // element
    if decoded != size or not elements or elements % 8:
        return False
    # What does not fill a group of eight elements follows uncompressed at the end.
    blocks = -(-(size // element // 8 * 8) // elements)
    return _blocks_fill(data, blocks, size // element % 8 * element)


def _blocks_fill(data: memoryview, blocks: int, rest: int) -> bool:
    """Whether the blocks behind a 12-byte header, and `rest` bytes after them, are all there."""
    at = 12
    for _ in range(blocks):
        if at + 4 > len(data):
            return False
        at += 4 + int.from_bytes(data[at : at + 4], "big")
    return at + rest == len(data)


def is_sane_zstd(_: tuple[int, ...], data: memoryview, size: int) -> bool:
    """Zstandard: a frame header that tells the decoded size."""
    if len(data) < 6 or bytes(data[:4]) != b"\x28\xb5\x2f\xfd":
        return False
    descriptor = data[4]
    single = descriptor >> 5 & 1
    at = 5 + (1 - single) + (0, 1, 2, 4)[descriptor & 3]
    width = (single, 2, 4, 8)[descriptor >> 6]
    told = int.from_bytes(data[at : at + width], "little") + (256 if width == 2 else 0)
    return bool(width) and told == size
