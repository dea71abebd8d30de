"""Filters from the hdf5plugin package, called through HDF5's public plugin interface.

A plugin is a shared library that tells its filter function through `H5PLget_plugin_info`. Called
that way it needs neither HDF5's lock nor the GIL. HDF5 can read such a dataset only where these
plugins are installed, so no further library is asked of the user.
"""

from __future__ import annotations

import ctypes
import importlib
import os
from collections.abc import Callable
from functools import cache, partial
from importlib import metadata
from pathlib import Path
from types import ModuleType

import numpy as np
from numpy.typing import NDArray

from prefetcher.errors import CorruptError
from prefetcher.filters import compressors, headers, malloc

BLOSC, LZ4, BITSHUFFLE, ZSTD = 32001, 32004, 32008, 32015
LIBRARIES = {BLOSC: "blosc", LZ4: "lz4", BITSHUFFLE: "bshuf", ZSTD: "zstd"}
"""The filters that are called directly. blosc2 is not: its frames nest sizes that cannot be
checked beforehand, so h5py reads it."""

_OLDEST = 7
"""The major version of hdf5plugin from which on its lz4 filter bounds what it reads and writes."""

Bytes = NDArray[np.uint8]


class _FilterClass(ctypes.Structure):
    """H5Z_class2_t of H5Zpublic.h."""

    _fields_ = (
        ("version", ctypes.c_int),
        ("id", ctypes.c_int),
        ("encoder_present", ctypes.c_uint),
        ("decoder_present", ctypes.c_uint),
        ("name", ctypes.c_char_p),
        ("can_apply", ctypes.c_void_p),
        ("set_local", ctypes.c_void_p),
        ("filter", ctypes.c_void_p),
    )


_Filter = ctypes.CFUNCTYPE(
    ctypes.c_size_t,  # bytes of the result, 0 if it failed
    ctypes.c_uint,  # flags
    ctypes.c_size_t,  # number of settings
    ctypes.POINTER(ctypes.c_uint),  # settings
    ctypes.c_size_t,  # bytes to decode
    ctypes.POINTER(ctypes.c_size_t),  # bytes of the buffer
    ctypes.POINTER(ctypes.c_void_p),  # the buffer, from malloc; the filter may replace it
)
_ENCODE, _DECODE = 0, 0x100  # H5Z_FLAG_REVERSE
_CLASS_VERSION = 1  # H5Z_CLASS_T_VERS


@cache
def register() -> ModuleType | None:
    """The hdf5plugin package, which tells HDF5 of its filters at import; None if not installed."""
    try:
        return importlib.import_module("hdf5plugin")
    except ImportError:
        return None


def wanting(name: str) -> str:
    """A filter that nothing here has, and what to do about it: the end of a sentence."""
    told = f"filter {name.removeprefix('filter ')}"
    only_there = name == "lzo"  # neither h5py nor hdf5plugin has it
    if only_there and compressors.imagecodecs() is None:
        return f"{told}, which is decoded by {compressors.NOT_INSTALLED}"
    if not only_there and register() is None:
        return f"{told}, which is not installed: pip install hdf5plugin"
    return (
        f"{told}, which neither HDF5 nor the hdf5plugin that is installed has: find whose it "
        "is in the HDF Group's list of registered filters, and put the folder of its plugin into "
        "HDF5_PLUGIN_PATH"
    )


Check = Callable[[tuple[int, ...], memoryview, int], bool]
_CHECKS: dict[int, Check] = {
    BLOSC: headers.is_sane_blosc,
    LZ4: headers.is_sane_lz4,
    BITSHUFFLE: headers.is_sane_bitshuffle,
    ZSTD: headers.is_sane_zstd,
}


def decoder(code: int, values: tuple[int, ...]) -> Callable[[Bytes, int], Bytes] | None:
    """A function that decodes bytes to a given size, None if h5py has to do it.

    The function raises `CorruptError` where the bytes do not decode to that size. Bytes that lie
    in a `malloc.room` are not copied for it; they are gone then.
    """
    if code not in LIBRARIES or (code == BITSHUFFLE and not headers.can_bitshuffle(values)):
        return None
    function = _function(code)
    return function and partial(_decode, code, values, function)


def encoder(code: int, values: tuple[int, ...]) -> Callable[[Bytes], Bytes] | None:
    """A function that encodes bytes, None if HDF5 has to do it."""
    if code not in (LZ4, ZSTD) or not hasattr(os, "preadv"):
        return None
    function = _function(code)
    return function and partial(_encode, values, function)


@cache
def _function(code: int) -> Callable[..., int] | None:
    package = register()
    if package is None or int(metadata.version("hdf5plugin").split(".")[0]) < _OLDEST:
        return None
    for path in Path(package.PLUGIN_PATH).glob(f"*h5{LIBRARIES[code]}.*"):
        library = ctypes.CDLL(str(path))
        library.H5PLget_plugin_info.restype = ctypes.POINTER(_FilterClass)
        found = library.H5PLget_plugin_info().contents
        if (found.version, found.id) == (_CLASS_VERSION, code):
            return _Filter(found.filter)
    return None


def _decode(
    code: int, values: tuple[int, ...], function: Callable[..., int], data: Bytes, size: int
) -> Bytes:
    if not _CHECKS[code](values, data.data, size):
        raise CorruptError(f"its {LIBRARIES[code]} header is damaged")
    produced, buffer = _called(_DECODE, values, function, data)
    if produced != size:
        malloc.free(buffer)
        raise CorruptError(f"its {LIBRARIES[code]} data is damaged")
    return malloc.owned(buffer, size)


def _encode(values: tuple[int, ...], function: Callable[..., int], data: Bytes) -> Bytes:
    produced, buffer = _called(_ENCODE, values, function, data)
    if produced == 0:  # nothing came of it
        malloc.free(buffer)
        return data
    return malloc.owned(buffer, produced)


def _called(
    flags: int, values: tuple[int, ...], function: Callable[..., int], data: Bytes
) -> tuple[int, int | None]:
    """The bytes that the filter made, and the address of the memory that they lie in."""
    nbytes = len(data)
    address, size = malloc.given_up(data)
    buffer, room = ctypes.c_void_p(address), ctypes.c_size_t(size)
    settings = (ctypes.c_uint * len(values))(*values)
    produced = function(
        flags, len(values), settings, nbytes, ctypes.byref(room), ctypes.byref(buffer)
    )
    return produced, buffer.value
