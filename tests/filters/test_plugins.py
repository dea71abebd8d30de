"""Plugin filters: what they decode, what they are never given, and that their memory is freed."""

from __future__ import annotations

import gc
from contextlib import suppress
from importlib import metadata

import h5py
import hdf5plugin
import numpy as np
import psutil
import pytest

from prefetcher.errors import CorruptError
from prefetcher.filters import malloc, plugins
from prefetcher.filters.plugins import LZ4, decoder

ROWS = (np.arange(50_000) % 99).astype("u1")


@pytest.fixture
def lz4() -> np.ndarray[tuple[int], np.dtype[np.uint8]]:
    """ROWS as the lz4 filter stores them."""
    with h5py.File("memory", "w", driver="core", backing_store=False) as file:
        rows = file.create_dataset("x", data=ROWS, chunks=ROWS.shape, **hdf5plugin.LZ4())
        return np.frombuffer(rows.id.read_direct_chunk((0,))[1], np.uint8)


def test_it_decodes_to_the_size_asked_for(lz4: plugins.Bytes) -> None:
    decode = decoder(LZ4, ())
    assert decode is not None
    assert decode(lz4, ROWS.size).tobytes() == ROWS.tobytes()


def test_the_function_is_not_called_on_a_header_that_lies(lz4: plugins.Bytes) -> None:
    called: list[object] = []

    def function(*arguments: object) -> int:
        called.append(arguments)
        return 0

    with pytest.raises(CorruptError, match="its lz4 header is damaged"):
        plugins._decode(LZ4, (), function, lz4, ROWS.size + 1)
    assert called == []
    with pytest.raises(CorruptError, match="its lz4 data is damaged"):
        plugins._decode(LZ4, (), function, lz4, ROWS.size)
    assert len(called) == 1


def test_bytes_in_a_room_are_not_copied_before_they_are_decoded(
    lz4: plugins.Bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    decode = decoder(LZ4, ())
    assert decode is not None
    room = malloc.room(2 * len(lz4))
    stored = room[: len(lz4)]
    stored[:] = lz4
    monkeypatch.setattr(malloc, "room", None)  # which a copy would need
    assert decode(stored, ROWS.size).tobytes() == ROWS.tobytes()


def test_memory_is_freed_once_with_the_last_array_over_it(
    lz4: plugins.Bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    freed: list[int] = []
    free = malloc._libc().free

    class Counting:
        malloc = staticmethod(malloc._libc().malloc)

        @staticmethod
        def free(address: int) -> None:
            freed.append(address)
            free(address)

    monkeypatch.setattr(malloc, "_libc", Counting)
    decode = decoder(LZ4, ())
    assert decode is not None
    part = decode(lz4, ROWS.size)[10:20]
    gc.collect()
    assert freed == []
    assert part.tobytes() == ROWS[10:20].tobytes()
    del part
    gc.collect()
    assert len(freed) == 1


def test_memory_is_not_lost_whether_bytes_decode_or_not(lz4: plugins.Bytes) -> None:
    decode = decoder(LZ4, ())
    assert decode is not None
    damaged = lz4.copy()
    damaged[len(lz4) // 2 :] = 255
    most = 0
    for turn in range(2000):
        for data in (lz4, damaged):
            room = malloc.room(8 << 20)[: len(data)]
            room[:] = data
            with suppress(CorruptError):
                decode(room, ROWS.size)
        if turn == 100:
            most = psutil.Process().memory_info().vms
    assert psutil.Process().memory_info().vms < most + (64 << 20)


def test_filters_that_are_left_to_hdf5() -> None:
    assert decoder(hdf5plugin.Blosc2.filter_id, ()) is None
    assert decoder(plugins.BITSHUFFLE, (0, 4, 0)) is None


def test_an_old_plugin_package_is_left_to_hdf5(monkeypatch: pytest.MonkeyPatch) -> None:
    plugins._function.cache_clear()
    monkeypatch.setattr(metadata, "version", lambda _: "6.9.1")
    assert decoder(LZ4, ()) is None
    plugins._function.cache_clear()


def test_without_the_plugin_package_nothing_is_decoded(monkeypatch: pytest.MonkeyPatch) -> None:
    plugins._function.cache_clear()
    monkeypatch.setattr(plugins, "register", lambda: None)
    assert decoder(LZ4, ()) is None
    plugins._function.cache_clear()
