"""Plugin filters: what they decode, what they are never given, and that their memory is freed."""

from __future__ import annotations

import gc
from importlib import metadata

import h5py
import hdf5plugin
import numpy as np
import pytest

from prefetcher.errors import CorruptError
from prefetcher.hdf5 import plugins
from prefetcher.hdf5.plugins import LZ4, decoder

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


def test_memory_is_freed_once_with_the_last_array_over_it(
    lz4: plugins.Bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    freed: list[int] = []
    free = plugins._libc().free

    class Counting:
        malloc = staticmethod(plugins._libc().malloc)

        @staticmethod
        def free(address: int) -> None:
            freed.append(address)
            free(address)

    monkeypatch.setattr(plugins, "_libc", Counting)
    decode = decoder(LZ4, ())
    assert decode is not None
    part = decode(lz4, ROWS.size)[10:20]
    gc.collect()
    assert freed == []
    assert part.tobytes() == ROWS[10:20].tobytes()
    del part
    gc.collect()
    assert len(freed) == 1


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
