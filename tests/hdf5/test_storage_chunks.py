"""Storage chunks: what is decoded how often, what damage says, how many threads at once."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from prefetcher.errors import CorruptError
from prefetcher.filters.decode import Bytes, Decoder
from prefetcher.hdf5 import index
from prefetcher.hdf5.describe import describe
from prefetcher.hdf5.source import Source

ROWS = np.random.default_rng(0).integers(0, 20, (60, 6, 5), np.uint8)


def make(path: Path, chunks: tuple[int, ...], **options: object) -> Path:
    with h5py.File(path, "w") as file:
        file.create_dataset("x", data=ROWS, chunks=chunks, **options)
    return path


def counted(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The sizes of what is decoded from now on."""
    sizes: list[int] = []
    decode = Decoder.decode

    def note(self: Decoder, data: Bytes, mask: int) -> Bytes:
        sizes.append(len(data))
        return decode(self, data, mask)

    monkeypatch.setattr(Decoder, "decode", note)
    return sizes


@pytest.mark.parametrize("chunks", [(10, 6, 5), (10, 3, 2), (10, 4, 5), (10, 6, 1)])
def test_each_storage_chunk_is_decoded_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, chunks: tuple[int, ...]
) -> None:
    source = Source(describe(make(tmp_path / "a.h5", chunks, compression="gzip")), ["x"])
    sizes = counted(monkeypatch)
    out = np.empty((60, 30), np.uint8)
    source.read("x", [(10, 40)], [out[place : place + 1] for place in range(30)])
    source.close()
    per_slab = int(np.prod([-(-n // c) for n, c in zip((6, 5), chunks[1:], strict=True)]))
    assert len(sizes) == 3 * per_slab
    assert out[:30].tobytes() == ROWS[10:40].tobytes()


@pytest.mark.parametrize("options", [{"compression": "gzip"}, {"fletcher32": True}, {}])
@pytest.mark.parametrize("chunks", [(10, 6, 5), (10, 3, 2), (10, 6, 1)])
def test_single_rows_of_one_storage_chunk_decode_it_once(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    chunks: tuple[int, ...],
    options: dict[str, object],
) -> None:
    """As a random split asks for them; in any order, and a row may come twice."""
    source = Source(describe(make(tmp_path / "a.h5", chunks, **options)), ["x"])
    sizes = counted(monkeypatch)
    rows = [11, 13, 17, 19, 18, 18, 21, 58, 59]
    out = np.empty((len(rows), 30), np.uint8)
    places = [out[place : place + 1] for place in range(len(rows))]
    source.read("x", [(row, row + 1) for row in rows], places)
    source.close()
    per_slab = int(np.prod([-(-n // c) for n, c in zip((6, 5), chunks[1:], strict=True)]))
    assert len(sizes) <= 3 * per_slab
    assert out.tobytes() == ROWS[rows].tobytes()


def test_rows_without_a_filter_are_not_decoded_at_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = Source(describe(make(tmp_path / "a.h5", (8, 6, 5))), ["x"])
    sizes = counted(monkeypatch)
    out = np.empty((33, 30), np.uint8)
    source.read("x", [(5, 38)], [out])
    source.close()
    assert sizes == []
    assert out.tobytes() == ROWS[5:38].tobytes()


def test_threads_decode_at_the_same_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = Source(describe(make(tmp_path / "a.h5", (10, 6, 5), compression="gzip")), ["x"])
    together = threading.Barrier(2, timeout=30)
    decode = Decoder.decode

    def meet(self: Decoder, data: Bytes, mask: int) -> Bytes:
        together.wait()
        return decode(self, data, mask)

    monkeypatch.setattr(Decoder, "decode", meet)
    out = np.empty((20, 30), np.uint8)
    with ThreadPoolExecutor(2) as pool:
        reads = [pool.submit(source.read, "x", [(a, a + 10)], [out[a : a + 10]]) for a in (0, 10)]
        for read in reads:
            read.result(timeout=30)
    source.close()
    assert out.tobytes() == ROWS[:20].tobytes()


@pytest.mark.parametrize("chunks", [None, (10, 6, 5), (7, 4, 3)])
def test_many_threads_get_the_right_rows(tmp_path: Path, chunks: tuple[int, ...] | None) -> None:
    options = {"compression": "gzip", "shuffle": True} if chunks else {}
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file.create_dataset("x", data=ROWS, chunks=chunks, **options)
    source = Source(describe(tmp_path / "a.h5"), ["x"])

    def rows(seed: int) -> bool:
        rng = np.random.default_rng(seed)
        for _ in range(50):
            start, stop = sorted(rng.integers(0, 61, 2).tolist())
            out = np.empty((stop - start, 30), np.uint8)
            source.read("x", [(start, stop)], np.array_split(out, 3))
            if out.tobytes() != ROWS[start:stop].tobytes():
                return False
        return True

    with ThreadPoolExecutor(4) as pool:
        assert all(pool.map(rows, range(8)))
    source.close()


def damage(path: Path, number: int) -> tuple[int, int]:
    """Changes the last bytes of one storage chunk; returns where it lies and its size."""
    with h5py.File(path) as file:
        info = file["x"].id.get_chunk_info(number)
    content = bytearray(path.read_bytes())
    content[info.byte_offset + info.size - 1] ^= 0xFF
    path.write_bytes(content)
    return info.byte_offset, info.size


def test_damage_names_rows_storage_chunk_and_offset(tmp_path: Path) -> None:
    path = make(tmp_path / "a.h5", (10, 3, 5), compression="gzip")
    offset, size = damage(path, 5)
    source = Source(describe(path), ["x"])
    out = np.empty((60, 30), np.uint8)
    source.read("x", [(0, 20)], [out[:20]])
    with pytest.raises(
        CorruptError,
        match=rf"rows 20 to 30 of x in a.h5 are damaged: storage chunk \(2, 1, 0\) at byte "
        rf"{offset} \({size} bytes\): its deflate stream is damaged",
    ):
        source.read("x", [(20, 30)], [out[20:30]])
    source.read("x", [(30, 60)], [out[30:]])
    source.close()


def test_rows_damaged_at_opening_are_told_when_they_are_read(tmp_path: Path) -> None:
    path = make(tmp_path / "a.h5", (10, 6, 5), compression="gzip", fletcher32=True)
    damage(path, 0)
    source = Source(describe(path), ["x"])
    out = np.empty((10, 30), np.uint8)
    with pytest.raises(CorruptError, match=r"storage chunk \(0, 0, 0\).*its checksum is"):
        source.read("x", [(0, 10)], [out])
    source.read("x", [(10, 20)], [out])
    source.close()


def lying(
    monkeypatch: pytest.MonkeyPatch, change: Callable[[index.StoredChunk], index.StoredChunk]
) -> None:
    between = index.ChunkIndex.between

    def changed(self: index.ChunkIndex, first: int, last: int) -> list[index.StoredChunk]:
        return [change(chunk) for chunk in between(self, first, last)]

    monkeypatch.setattr(index.ChunkIndex, "between", changed)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda chunk: chunk._replace(offset=1 << 40), "the file has only"),
        (lambda chunk: chunk._replace(size=1 << 31), "can be that large"),
        (lambda chunk: chunk._replace(mask=1), "instead of 300"),
    ],
)
def test_an_index_that_lies(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    change: Callable[[index.StoredChunk], index.StoredChunk],
    says: str,
) -> None:
    source = Source(describe(make(tmp_path / "a.h5", (10, 6, 5), compression="gzip")), ["x"])
    lying(monkeypatch, change)
    with pytest.raises(CorruptError, match=says):
        source.read("x", [(0, 10)], [np.empty((10, 30), np.uint8)])
    source.close()


def test_scratch_is_stated_and_kept_within(tmp_path: Path) -> None:
    path = make(tmp_path / "a.h5", (10, 3, 5), compression="gzip")
    with h5py.File(path) as file:
        largest = max(file["x"].id.get_chunk_info(n).size for n in range(12))
    source = Source(describe(path), ["x"])
    assert source.scratch_bytes == largest + 150 + 2 * 150  # stored, band, decoded and unshuffled
    source.close()
    assert source.way_of("x") == "storage chunks"


def indexed(dataset: Any) -> index.ChunkIndex:
    return index.ChunkIndex(dataset, index.walk_index(dataset))


@pytest.mark.parametrize("libver", ["earliest", "latest"])
def test_the_index_finds_what_was_written_in_any_order(tmp_path: Path, libver: str) -> None:
    with h5py.File(tmp_path / "a.h5", "w", libver=libver) as file:
        rows = file.create_dataset("x", (40, 4), "u1", chunks=(10, 2), compression="gzip")
        for a, b in reversed(list(itertools.product((0, 20, 30), (0, 2)))):
            rows[a : a + 10, b : b + 2] = a + b
        found = indexed(rows)
        places = {
            info.chunk_offset: info.byte_offset
            for info in (rows.id.get_chunk_info(n) for n in range(6))
        }
    assert found.grid == (4, 2)
    assert [chunk.number for chunk in found.between(0, 8)] == [0, 1, 4, 5, 6, 7]
    assert [chunk.offset for chunk in found.between(4, 6)] == [places[20, 0], places[20, 2]]
    assert [chunk.number for chunk in found.ends()] == [0, 7]
    assert found.between(2, 4) == []


def test_an_index_in_any_order_is_put_in_the_order_of_rows() -> None:
    class Walked:
        """A dataset whose own index goes another way."""

        shape, chunks = (40, 4), (10, 2)

        def __init__(self, corners: list[tuple[int, int]]) -> None:
            self.id = self
            self._corners = corners

        def chunk_iter(self, note: Callable[[h5py.h5d.StoreInfo], None]) -> None:
            for at, corner in enumerate(self._corners):
                note(h5py.h5d.StoreInfo(corner, 0, 100 + at, 9))

    found = indexed(Walked([(30, 2), (0, 0), (20, 2)]))
    assert [(c.number, c.offset) for c in found.between(0, 8)] == [(0, 101), (5, 102), (7, 100)]
    with pytest.raises(CorruptError, match="twice"):
        indexed(Walked([(10, 2), (10, 2)]))
    for corner in [(40, 0), (0, 4), (5, 0)]:
        with pytest.raises(CorruptError, match="off the grid"):
            indexed(Walked([corner]))
