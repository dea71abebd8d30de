"""Storage chunks encoded outside HDF5: it reads them as its own, and so does the package."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from numpy.typing import NDArray

from prefetcher.filters import plugins
from prefetcher.filters.decode import Decoder, StoredFilter
from prefetcher.filters.encode import Encoder, encoder_for
from prefetcher.hdf5.properties import stored_filters
from prefetcher.writing.codec import CodecName, create_options
from prefetcher.writing.writer import HDF5Writer

CODECS: list[CodecName] = ["none", "gzip", "lz4", "zstd"]
ROWS = 64


def rows_of(dtype: str, count: int = ROWS) -> NDArray[Any]:
    """Rows that compress, 4 KiB and more to 64 of them."""
    return np.sort(np.random.default_rng(3).integers(0, 99, (count, 64)), axis=1).astype(dtype)


def filters_of(codec: CodecName, dtype: str) -> tuple[StoredFilter, ...]:
    with h5py.File("filters", "w", driver="core", backing_store=False) as file:
        options = create_options(codec, np.dtype(dtype), 1 << 20)
        dataset = file.create_dataset(
            "x", (0, 64), dtype, chunks=(ROWS, 64), maxshape=(None, 64), **options
        )
        return stored_filters(dataset.id.get_create_plist())


def encoder(codec: CodecName, dtype: str) -> Encoder:
    """As another process gets it."""
    found = encoder_for(filters_of(codec, dtype), ROWS)
    assert found
    copy: Encoder = pickle.loads(pickle.dumps(found))
    return copy


@pytest.mark.parametrize("dtype", ["u1", "<i4", ">f8", "S5", "?"])
@pytest.mark.parametrize("codec", CODECS)
def test_our_decoder_takes_it_back(codec: CodecName, dtype: str) -> None:
    rows = rows_of(dtype)
    encoded = encoder(codec, dtype).encode(rows)
    decoder = Decoder(filters_of(codec, dtype), rows.nbytes)
    assert decoder.decode(encoded.data, encoded.mask).tobytes() == rows.tobytes()
    assert (len(encoded.data) < rows.nbytes) == (codec != "none")


@pytest.mark.parametrize("codec", CODECS)
def test_hdf5_reads_it_and_a_last_storage_chunk_that_is_short(
    tmp_path: Path, codec: CodecName
) -> None:
    rows = rows_of("i4", 20_000)
    with HDF5Writer(tmp_path / "data.h5", codec=codec, x=((64,), "i4")) as out:
        out.append(x=rows)
    with h5py.File(tmp_path / "data.h5") as file:
        assert len(rows) % file["x"].chunks[0]
        assert np.array_equal(file["x"][:], rows)


def test_zeros_fill_a_short_one() -> None:
    made = encoder("gzip", "u1")
    rows = rows_of("u1", 5)
    filled = np.concatenate([rows, np.zeros((ROWS - 5, 64), np.uint8)])
    assert made.encode(rows).data.tobytes() == made.encode(filled).data.tobytes()


@pytest.mark.parametrize("codec", ["gzip", "lz4", "zstd"])
def test_what_does_not_get_smaller_stays_as_it_is(tmp_path: Path, codec: CodecName) -> None:
    rows = np.random.default_rng(0).integers(0, 256, (ROWS, 64), np.uint8)
    filters = filters_of(codec, "u1")
    encoded = encoder(codec, "u1").encode(rows)
    assert encoded.data.tobytes() == rows.tobytes()
    assert Decoder(filters, rows.nbytes).is_plain(encoded.mask)
    noise = np.random.default_rng(0).integers(0, 256, (9, 1 << 18), np.uint8)
    with HDF5Writer(tmp_path / "data.h5", codec=codec, x=((1 << 18,), "u1")) as out:
        out.append(x=noise)
    with h5py.File(tmp_path / "data.h5") as file:
        assert np.array_equal(file["x"][:], noise)


def test_what_cannot_be_called_is_left_to_hdf5(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(plugins, "encoder", lambda *_: None)
    assert encoder_for(filters_of("zstd", "i4"), ROWS) is None
    rows = rows_of("i4", 20_000)
    with HDF5Writer(tmp_path / "data.h5", codec="zstd", x=((64,), "i4")) as out:
        out.append(x=rows)
    with h5py.File(tmp_path / "data.h5") as file:
        assert np.array_equal(file["x"][:], rows)
        assert file["x"].id.get_storage_size() < rows.nbytes / 4
