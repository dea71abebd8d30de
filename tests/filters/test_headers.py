"""Headers of stored bytes that lie about sizes are refused; true ones pass."""

from __future__ import annotations

import struct
from collections.abc import Callable

import h5py
import hdf5plugin
import numpy as np
import pytest

from prefetcher.filters.headers import (
    can_bitshuffle,
    is_sane_bitshuffle,
    is_sane_blosc,
    is_sane_lz4,
    is_sane_zstd,
)

Check = Callable[[tuple[int, ...], memoryview, int], bool]
SIZE = 4004  # not a whole number of blocks, nor of groups of eight elements


def stored(options: object) -> tuple[tuple[int, ...], bytes]:
    """A filter's settings, and what it makes of SIZE bytes."""
    data = (np.arange(SIZE // 4) % 30).astype("i4")
    with h5py.File("memory", "w", driver="core", backing_store=False) as file:
        rows = file.create_dataset("x", data=data, chunks=data.shape, compression=options)
        settings = rows.id.get_create_plist().get_filter(0)[2]
        return tuple(settings), rows.id.read_direct_chunk((0,))[1]


CASES = [
    pytest.param(is_sane_lz4, hdf5plugin.LZ4(nbytes=512), id="lz4"),
    pytest.param(is_sane_zstd, hdf5plugin.Zstd(), id="zstd"),
    pytest.param(is_sane_blosc, hdf5plugin.Blosc(), id="blosc"),
    pytest.param(is_sane_bitshuffle, hdf5plugin.Bitshuffle(cname="lz4", nelems=64), id="bslz4"),
    pytest.param(is_sane_bitshuffle, hdf5plugin.Bitshuffle(cname="zstd", nelems=64), id="bszstd"),
    pytest.param(is_sane_bitshuffle, hdf5plugin.Bitshuffle(cname="none"), id="bsnone"),
]


@pytest.mark.parametrize(("check", "options"), CASES)
def test_true_headers_pass_and_other_sizes_do_not(check: Check, options: object) -> None:
    settings, data = stored(options)
    assert check(settings, memoryview(data), SIZE)
    assert not check(settings, memoryview(data), SIZE + 4)
    assert not check(settings, memoryview(data), SIZE - 4)


@pytest.mark.parametrize(("check", "options"), [c for c in CASES if c.id != "zstd"])
def test_what_is_cut_short_is_refused(check: Check, options: object) -> None:
    settings, data = stored(options)
    for length in range(len(data)):
        assert not check(settings, memoryview(data)[:length], SIZE)


def test_a_zstd_frame_without_its_header_is_refused() -> None:
    _, data = stored(hdf5plugin.Zstd())
    for length in range(6):
        assert not is_sane_zstd((), memoryview(data)[:length], SIZE)
    assert not is_sane_zstd((), memoryview(b"\x00" + data[1:]), SIZE)


@pytest.mark.parametrize(
    ("head", "size"),
    [
        (b"\x20\x07", 7),  # one byte tells the size
        (b"\x60\x01\x02", 256 + 0x201),  # two bytes tell it, less 256
        (b"\xa0\x00\x00\x01\x00", 1 << 16),
        (b"\xe0\x00\x00\x00\x00\x01\x00\x00\x00", 1 << 32),
        (b"\x40\x58\x01\x02", 256 + 0x201),  # behind the window size
        (b"\x61\x09\x01\x02", 256 + 0x201),  # behind a dictionary's number
    ],
)
def test_every_form_in_which_zstd_tells_a_size(head: bytes, size: int) -> None:
    frame = memoryview(b"\x28\xb5\x2f\xfd" + head + bytes(8))
    assert is_sane_zstd((), frame, size)
    assert not is_sane_zstd((), frame, size + 1)


def test_a_zstd_frame_that_does_not_tell_its_size_is_refused() -> None:
    frame = memoryview(b"\x28\xb5\x2f\xfd" + bytes(12))
    assert not any(is_sane_zstd((), frame, size) for size in (0, 1, 100))


def test_blocks_of_no_bytes_would_never_end() -> None:
    assert not is_sane_lz4((), memoryview(struct.pack(">QI", 100, 0) + bytes(200)), 100)
    none = memoryview(struct.pack(">QI", 100, 3) + bytes(200))
    assert not is_sane_bitshuffle((0, 4, 4, 0, 2), none, 100)


@pytest.mark.parametrize("settings", [(), (0, 4), (0, 4, 0), (0, 4, 4, 12)])
def test_bitshuffle_settings_that_divide_by_zero(settings: tuple[int, ...]) -> None:
    assert not can_bitshuffle(settings)
    assert can_bitshuffle((0, 4, 4, 16))
