"""Decoders against HDF5's own, and against bytes that lie."""

from __future__ import annotations

import zlib
from pathlib import Path

import h5py
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from prefetcher.errors import CorruptError, DatasetError
from prefetcher.filters import plugins
from prefetcher.filters.compressors import GZIP
from prefetcher.filters.decode import (
    FLETCHER32,
    SHUFFLE,
    Bytes,
    Decoder,
    StoredFilter,
    fletcher32,
    why_left_to_hdf5,
)
from prefetcher.filters.plugins import LZ4
from prefetcher.hdf5.describe import describe


def as_bytes(data: bytes) -> Bytes:
    return np.frombuffer(data, np.uint8)


@settings(deadline=None)
@given(st.binary(min_size=1, max_size=3000) | st.integers(1, 3000).map(lambda n: b"\xff" * n))
def test_fletcher32_is_that_of_hdf5(data: bytes) -> None:
    with h5py.File("memory", "w", driver="core", backing_store=False) as file:
        written = file.create_dataset(
            "x", data=as_bytes(data), chunks=(len(data),), fletcher32=True
        )
        _, stored = written.id.read_direct_chunk((0,))
    assert fletcher32(as_bytes(data)) == int.from_bytes(stored[-4:], "little")


def test_fletcher32_of_many_words_counts_each_prefix() -> None:
    words = np.random.default_rng(0).integers(0, 65536, 100_000)
    prefixes = int(np.cumsum(words).sum())
    expected = ((prefixes - 1) % 65535 + 1) << 16 | ((int(words.sum()) - 1) % 65535 + 1)
    assert fletcher32(words.astype(">u2").view(np.uint8)) == expected


def test_a_checksum_that_does_not_match_names_both() -> None:
    good = b"some rows" + fletcher32(as_bytes(b"some rows")).to_bytes(4, "little")
    decoder = Decoder([StoredFilter(FLETCHER32, ())], 9)
    assert decoder.decode(as_bytes(good), 0).tobytes() == b"some rows"
    with pytest.raises(CorruptError, match=r"its checksum is [0-9a-f]{8}, the file says"):
        decoder.decode(as_bytes(b"S" + good[1:]), 0)
    with pytest.raises(CorruptError, match="too short"):
        decoder.decode(as_bytes(b"abc"), 0)


def test_the_checksum_of_very_old_files_is_accepted() -> None:
    swapped = bytearray(fletcher32(as_bytes(b"some rows")).to_bytes(4, "little"))
    swapped[0:2], swapped[2:4] = swapped[1::-1], swapped[3:1:-1]
    decoder = Decoder([StoredFilter(FLETCHER32, ())], 9)
    assert decoder.decode(as_bytes(b"some rows" + swapped), 0).tobytes() == b"some rows"


def test_deflate_writes_no_more_than_the_storage_chunk() -> None:
    bomb = as_bytes(zlib.compress(bytes(10_000_000)))
    with pytest.raises(CorruptError, match="deflate stream is damaged"):
        Decoder([StoredFilter(GZIP, (4,))], 1000).decode(bomb, 0)
    with pytest.raises(CorruptError, match="decodes to 10 bytes instead of 11"):
        Decoder([StoredFilter(GZIP, (4,))], 11).decode(as_bytes(zlib.compress(bytes(10))), 0)


def test_a_mask_skips_filters() -> None:
    decoder = Decoder([StoredFilter(SHUFFLE, (2,)), StoredFilter(GZIP, (4,))], 4)
    assert decoder.decode(as_bytes(b"acbd"), 0b10).tobytes() == b"abcd"
    assert decoder.decode(as_bytes(zlib.compress(b"abcd")), 0b01).tobytes() == b"abcd"
    assert decoder.decode(as_bytes(b"abcd"), 0b11).tobytes() == b"abcd"
    assert decoder.is_plain(0b11)
    assert not decoder.is_plain(0b01)
    with pytest.raises(CorruptError, match="it holds 3 bytes instead of 4"):
        decoder.decode(as_bytes(b"abc"), 0b11)


def test_a_room_is_for_a_plugin_that_comes_first_when_decoding() -> None:
    gzip, lz4, fletcher32 = (StoredFilter(code, ()) for code in (GZIP, LZ4, FLETCHER32))
    assert Decoder([lz4], 4).takes_room
    for filters in ([], [gzip], [lz4, fletcher32]):
        assert not Decoder(filters, 4).takes_room


@settings(deadline=None)
@given(st.integers(1, 9), st.binary(max_size=100))
def test_unshuffle_undoes_shuffle(element: int, data: bytes) -> None:
    whole = len(data) // element * element
    planes = as_bytes(data[:whole]).reshape(-1, element).T.tobytes() + data[whole:]
    decoder = Decoder([StoredFilter(SHUFFLE, (element,))], len(data))
    assert decoder.decode(as_bytes(planes), 0).tobytes() == data


def test_elements_larger_than_the_data_are_not_shuffled() -> None:
    """As in HDF5. A damaged setting of billions would take minutes, plane by plane."""
    decoder = Decoder([StoredFilter(SHUFFLE, (1 << 31,))], 6)
    assert decoder.decode(as_bytes(b"sample"), 0).tobytes() == b"sample"


def test_what_is_left_to_hdf5() -> None:
    gzip = StoredFilter(GZIP, (4,))
    assert why_left_to_hdf5([StoredFilter(SHUFFLE, (4,)), gzip]) is None
    assert why_left_to_hdf5([StoredFilter(6, ())]) == "only HDF5 itself can decode scaleoffset"
    assert why_left_to_hdf5([gzip, gzip]) == "it is compressed twice"
    assert why_left_to_hdf5([StoredFilter(SHUFFLE, (0,))]) is not None


def test_a_filter_that_is_not_installed_is_named_when_it_is_wanted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file.create_dataset("x", data=np.zeros((8, 4), "i4"), chunks=(2, 4), scaleoffset=0)
    monkeypatch.setattr(h5py.h5z, "filter_avail", lambda code: code != h5py.h5z.FILTER_SCALEOFFSET)
    found = describe(tmp_path / "a.h5")
    assert [d.name for d in found.datasets] == ["x"]
    with pytest.raises(DatasetError, match=r"HDF5 filter scaleoffset.*registered filters"):
        found.dataset("x")
    monkeypatch.setattr(plugins, "register", lambda: None)
    with pytest.raises(DatasetError, match=r"HDF5 filter scaleoffset.*pip install hdf5plugin"):
        found.dataset("x")
