"""Compressors that are called in a library of their own: without the GIL, with bounded output.

gzip and bzip2 always are. lzf, szip and lzo are in the package imagecodecs, the extra `codecs`.
Without it HDF5 decodes the first two under its lock, and what is compressed with lzo is refused, as
neither h5py nor hdf5plugin has that filter.
"""

from __future__ import annotations

import bz2
import importlib
import zlib
from collections.abc import Callable
from functools import cache, partial
from types import ModuleType
from typing import Any, NamedTuple

import deflate
import numpy as np
from numpy.typing import NDArray

from prefetcher.errors import CorruptError
from prefetcher.filters.shuffle import unshuffled

Bytes = NDArray[np.uint8]

GZIP, SZIP, LZO, BZIP2, LZF = 1, 4, 305, 307, 32000
_IMAGECODECS = {SZIP: "AEC", LZO: "LZO", LZF: "LZF"}  # the class that says whether it was built
_MOST = (1 << 31) - 1  # bytes that imagecodecs takes and gives

NOT_INSTALLED = "imagecodecs, which is not installed: pip install 'prefetcher[codecs]'"
"""What is said where a filter needs that package: the end of a sentence."""


class Compressor(NamedTuple):
    """How one filter of one dataset is undone."""

    decode: Callable[[Bytes, int], Bytes]
    """Takes stored bytes and the size that they must decode to, and writes no more than that.

    Raises `CorruptError` where they are damaged. The result may be shorter, which is damage too.
    """
    hdf5_survives: Callable[[Bytes, int], bool] | None
    """Takes bytes that do not decode, and a size. Whether HDF5's own decoder would answer them with
    a plain error, and take no more memory than that meanwhile. None if it is never to be tried."""


def compressor(code: int, values: tuple[int, ...]) -> Compressor | None:
    """What undoes this filter with these settings, None if there is nothing here that does."""
    if code == GZIP:
        return Compressor(_inflated, _inflate_ends)
    if code == BZIP2:  # the plugin waits for the end of a stream for ever
        return Compressor(_decoded_bzip2, None)
    if code in _IMAGECODECS and (package := _built(code)):
        return _from_imagecodecs(package, code, values)
    return None


def is_wanting(code: int, values: tuple[int, ...]) -> bool:
    """Whether imagecodecs would decode this filter with these settings, and is not installed."""
    return code in _IMAGECODECS and not _built(code) and (code != SZIP or _can_szip(values))


@cache
def imagecodecs() -> ModuleType | None:
    """The package of that name, None if it is not installed."""
    try:
        return importlib.import_module("imagecodecs")
    except ImportError:
        return None


def _built(code: int) -> ModuleType | None:
    """The package, if it was built with this filter's library."""
    package: Any = imagecodecs()
    built = getattr(package, _IMAGECODECS[code], None)
    return package if getattr(built, "available", False) else None


def _from_imagecodecs(package: Any, code: int, values: tuple[int, ...]) -> Compressor | None:
    if code == LZF and max(values[2:3], default=0) <= _MOST:  # the size of a storage chunk
        return Compressor(
            partial(_decoded, "lzf", package.lzf_decode), partial(_lzf_ends, package.lzf_decode)
        )
    if code == LZO:  # PyTables' filter enlarges its memory for as long as the data asks for it
        return Compressor(partial(_decoded_lzo, package.lzo_decode), None)
    if code == SZIP and _can_szip(values):
        return Compressor(partial(_decoded_szip, package.aec_decode, values), _szip_ends)
    return None


def _inflated(data: Bytes, size: int) -> Bytes:
    try:
        return np.frombuffer(deflate.zlib_decompress(data, size), np.uint8)
    except deflate.DeflateError as error:
        raise CorruptError("its deflate stream is damaged") from error


def _inflate_ends(data: Bytes, most: int) -> bool:
    """HDF5's gzip takes the memory for whatever a stream unpacks to."""
    try:
        return len(zlib.decompressobj().decompress(data.tobytes(), most)) < most
    except zlib.error:
        return True


def _decoded_bzip2(data: Bytes, size: int) -> Bytes:
    stream = bz2.BZ2Decompressor()
    try:
        # A byte more, so that the end of the stream and its checksum are reached.
        found = stream.decompress(data.data, size + 1)
    except OSError as error:
        raise CorruptError("its bzip2 stream is damaged") from error
    if not stream.eof:
        raise CorruptError(f"its bzip2 stream is cut short, or decodes to more than {size} bytes")
    return np.frombuffer(found, np.uint8)


def _decoded(name: str, decode: Callable[..., Any], data: Bytes, size: int) -> Bytes:
    """By a function of imagecodecs that needs no settings."""
    if not 0 < len(data) <= _MOST or size > _MOST:  # it reads the first byte without looking
        raise CorruptError(f"{name} cannot decode {len(data)} bytes to {size}")
    try:
        return np.frombuffer(decode(data, out=size), np.uint8)
    except RuntimeError as error:
        raise CorruptError(f"its {name} data is damaged") from error


def _lzf_ends(decode: Callable[..., Any], data: Bytes, most: int) -> bool:
    """h5py's lzf enlarges its memory until the data fits, up to 88 times what is stored."""
    try:
        _decoded("lzf", decode, data, min(most, _MOST))
    except CorruptError as error:
        return "error in the compressed data" in str(error.__cause__)
    return True


_LZO_MARGIN = np.full(16, 255, np.uint8)


def _decoded_lzo(decode: Callable[..., Any], data: Bytes, size: int) -> Bytes:
    """PyTables' lzo: an LZO1X stream as it is."""
    # It counts zeros until something else comes, also behind the end.
    behind = np.append(data, _LZO_MARGIN)
    return _decoded("lzo", decode, behind[: len(data)], size)


_SZIP_MSB, _SZIP_NN = 16, 32  # of szip's options: big-endian; neighbours are subtracted
_AEC_MSB, _AEC_PREPROCESS = 4, 8  # libaec's flags for the same
_SZIP_HEADER_BYTES = 4


def _can_szip(values: tuple[int, ...]) -> bool:
    """Whether libaec takes these settings, at no more than twice the memory of the result.

    imagecodecs has no blocks below 8 pixels. A pixel has 32 or 64 bits, or as many as its bytes.
    """
    if len(values) != 4:
        return False
    _, block, bits, line = values
    return 8 <= block <= 32 and block <= line <= 4096 and bits in (8, 16, 32, 64)


def _decoded_szip(
    decode: Callable[..., Any], values: tuple[int, ...], data: Bytes, size: int
) -> Bytes:
    """HDF5's szip: the size in four bytes, then lines of pixels that are filled to whole blocks.

    Not by the function of imagecodecs that is called szip: where data is cut short it gives memory
    that was never filled.
    """
    if len(data) <= _SZIP_HEADER_BYTES or _szip_size(data) != size:
        raise CorruptError("its szip header is damaged")
    options, block, bits, line = values
    planes = bits // 8 if bits in (32, 64) else 1  # such pixels are stored as by shuffle
    width = bits // 8 // planes
    blocks = -(-line // block)
    lines = -(-size // (line * width))
    flags = (_AEC_MSB if options & _SZIP_MSB else 0) | (
        _AEC_PREPROCESS if options & _SZIP_NN else 0
    )
    filled = lines * blocks * block * width
    settings = {"bitspersample": 8 * width, "blocksize": block, "rsi": blocks, "flags": flags}
    try:
        found = decode(data[_SZIP_HEADER_BYTES:], out=filled, **settings)
    except (RuntimeError, ValueError) as error:
        raise CorruptError("its szip data is damaged") from error
    if len(found) != filled:
        raise CorruptError("its szip data is cut short")
    pixels = np.frombuffer(found, np.uint8).reshape(lines, -1)[:, : line * width]
    pixels = pixels.reshape(-1)[:size]
    del found  # where lines were filled, pixels are a copy
    return unshuffled(planes, pixels, size) if planes > 1 else pixels


def _szip_ends(data: Bytes, most: int) -> bool:
    """HDF5's szip takes as much memory as the header says."""
    return _szip_size(data) <= most


def _szip_size(data: Bytes) -> int:
    return int.from_bytes(data[:_SZIP_HEADER_BYTES].tobytes(), "little")
