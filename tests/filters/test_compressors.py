"""Compressors outside HDF5: the bytes that h5py gives, and nothing but errors for damaged ones.

That damaged bytes crash no decoder is also tried in `tests/hdf5/test_fuzz.py`, in child processes.
"""

from __future__ import annotations

import sys
import threading
import tracemalloc
from base64 import b64decode
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import h5py
import hdf5plugin
import numpy as np
import pytest
from helpers.processes import run_python
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from prefetcher.cli import main
from prefetcher.errors import CorruptError, DatasetError
from prefetcher.filters import compressors, plugins
from prefetcher.filters.compressors import BZIP2, LZF, LZO, SZIP
from prefetcher.filters.decode import Bytes, Decoder, StoredFilter, why_left_to_hdf5
from prefetcher.hdf5.describe import FileDescription, describe
from prefetcher.hdf5.properties import stored_filters, unavailable
from prefetcher.hdf5.source import Source

OPTIONS: dict[str, Mapping[str, Any]] = {
    "gzip": {"compression": "gzip"},
    "lzf": {"compression": "lzf"},
    "lzf, shuffle, fletcher32": {"compression": "lzf", "shuffle": True, "fletcher32": True},
    "bzip2": {**hdf5plugin.BZip2()},
    "szip": {"compression": "szip"},
    "szip, large blocks": {"compression": "szip", "compression_opts": ("ec", 32)},
}
ROWS = (np.arange(60 * 50) % 31).astype("<u2").reshape(60, 50)
LZO_PLAIN = (np.arange(300) // 7 % 11).astype("u1")
LZO_STORED = b64decode(  # LZO_PLAIN by lzo1x_1_compress of liblzo 2.10, which PyTables calls
    "BQAAAAAAAAABoQACoQADoQAEoQAFoQAGoQAHoQAIoQAJoQAKoAAgqzABAAEHBwcHBwcICAgICAgICQkJCQkJEQAA"
)


class Stored(NamedTuple):
    """Rows as one storage chunk of a file."""

    filters: tuple[StoredFilter, ...]
    mask: int
    data: Bytes
    size: int

    def decoded(self, data: Bytes | None = None) -> bytes:
        """The decoded bytes, also of other data than what was stored."""
        decoder = Decoder(self.filters, self.size)
        return decoder.decode(self.data if data is None else data, self.mask).tobytes()

    def refuses(self, data: Bytes) -> bool:
        """Whether data is refused. If not, other bytes of the right size came of it."""
        try:
            assert len(self.decoded(data)) == self.size
        except CorruptError:
            return True
        return False


def stored(rows: NDArray[Any], name: str) -> Stored:
    """What HDF5 makes of rows that are one storage chunk."""
    if name == "lzo":
        assert rows is ROWS
        return Stored((StoredFilter(LZO, (1,)),), 0, as_bytes(LZO_STORED), LZO_PLAIN.nbytes)
    return written(rows, OPTIONS[name])


def written(rows: NDArray[Any], options: Mapping[str, Any]) -> Stored:
    with h5py.File("memory", "w", driver="core", backing_store=False) as file:
        dataset = file.create_dataset("x", data=rows, chunks=rows.shape, **options)
        filters = stored_filters(dataset.id.get_create_plist())
        mask, data = dataset.id.read_direct_chunk((0,) * rows.ndim)
    return Stored(filters, mask, as_bytes(data), rows.nbytes)


def as_bytes(data: bytes) -> Bytes:
    return np.frombuffer(data, np.uint8)


@st.composite
def arrays(draw: st.DrawFn) -> NDArray[Any]:
    """Rows that compress well, badly or not at all, also in odd sizes; szip takes all of them."""
    shape = (*draw(st.lists(st.integers(1, 12), max_size=2)), draw(st.integers(32, 90)))
    dtype = draw(st.sampled_from(["u1", "i1", "<u2", ">i2", "<f4", ">i4", "<f8", ">u8"]))
    rng = np.random.default_rng(draw(st.integers(0, 99)))
    if draw(st.booleans()):
        noise = rng.integers(0, 256, (*shape[:-1], shape[-1] * np.dtype(dtype).itemsize), np.uint8)
        return noise.view(dtype)
    return rng.integers(0, draw(st.integers(1, 120)), shape).astype(dtype)


@pytest.mark.parametrize("name", OPTIONS)
@settings(max_examples=100, deadline=None)
@given(rows=arrays())
def test_what_hdf5_stores_is_decoded(name: str, rows: NDArray[Any]) -> None:
    assert stored(rows, name).decoded() == rows.tobytes()


@settings(max_examples=200, deadline=None)
@given(rows=arrays(), mode=st.sampled_from(["nn", "ec"]), block=st.integers(4, 16))
def test_szip_of_every_setting_that_is_not_left_to_hdf5(
    rows: NDArray[Any], mode: str, block: int
) -> None:
    found = written(rows, {"compression": "szip", "compression_opts": (mode, 2 * block)})
    assert why_left_to_hdf5(found.filters) is None
    assert found.decoded() == rows.tobytes()


def test_what_lzo_itself_stored_is_decoded() -> None:
    found = stored(ROWS, "lzo")
    assert found.decoded() == LZO_PLAIN.tobytes()


def test_what_lies_behind_lzo_data_stops_the_library() -> None:
    """It counts zeros as far as they go, and would read memory that is another's or nobody's."""
    zeros = np.zeros(50, np.uint8)[:10]

    def decode(data: Bytes, *, out: int) -> bytes:
        memory = data.base
        assert memory is not None
        assert len(data) == 10
        assert memory[10:].tolist() == [255] * 16
        return bytes(out)

    assert compressors._decoded_lzo(decode, zeros, 7).tobytes() == bytes(7)


def test_settings_that_are_left_to_hdf5() -> None:
    assert why_left_to_hdf5([StoredFilter(SZIP, (141, 8, 8, 1024))]) is None
    for code, values in [
        (SZIP, ()),
        (SZIP, (141, 8, 8)),
        (SZIP, (141, 4, 8, 1024)),  # imagecodecs has no such blocks
        (SZIP, (141, 34, 8, 1024)),
        (SZIP, (141, 32, 8, 16)),  # would take more than twice the memory of the result
        (SZIP, (141, 8, 24, 1024)),
        (SZIP, (141, 8, 8, 1 << 31)),
        (LZF, (4, 261, 1 << 31)),  # imagecodecs gives no storage chunk of 2 GiB
    ]:
        told = why_left_to_hdf5([StoredFilter(code, values)])
        assert told == f"only HDF5 itself can decode {StoredFilter(code, values).name}"


def test_a_storage_chunk_that_did_not_get_smaller_is_stored_as_it_is() -> None:
    noise = np.random.default_rng(0).integers(0, 256, 5000, np.uint8)
    found = stored(noise, "lzf")
    assert Decoder(found.filters, found.size).is_plain(found.mask)
    assert found.decoded() == noise.tobytes()


@pytest.mark.parametrize("name", [*OPTIONS, "lzo"])
def test_what_is_cut_short_is_refused(name: str) -> None:
    found = stored(ROWS, name)
    assert found.mask == 0
    whole = found.decoded()
    for length in range(len(found.data)):
        cut = found.data[:length]
        # The last bytes may be but the end of a stream.
        assert found.refuses(cut) or (length > len(found.data) - 5 and found.decoded(cut) == whole)


@pytest.mark.parametrize("name", [*OPTIONS, "lzo"])
@settings(deadline=None)
@given(noise=st.binary(max_size=300))
def test_noise_is_refused_or_has_the_right_size(name: str, noise: bytes) -> None:
    found = stored(ROWS, name)
    for data in (as_bytes(noise), np.append(found.data[:4], as_bytes(noise))):
        found.refuses(data)
        Decoder(found.filters, found.size).hdf5_survives(data, 0)


@pytest.mark.parametrize("name", [name for name in OPTIONS if "fletcher32" not in name])
def test_what_decodes_to_more_is_refused_and_takes_no_memory(name: str) -> None:
    bomb = stored(np.zeros(30_000_000, np.uint8), name).data
    small = stored(np.zeros(1000, np.uint8), name)
    tracemalloc.start()
    try:
        assert small.refuses(bomb)
        assert not Decoder(small.filters, small.size).hdf5_survives(bomb, 0)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 2 * len(bomb) + (6 << 20)  # libbz2 has 3.7 MB for itself


def test_a_size_that_no_memory_has_is_not_believed() -> None:
    found = stored(ROWS, "szip")
    for size in (0, ROWS.nbytes - 1, ROWS.nbytes + 1, (1 << 32) - 1):
        head = as_bytes(size.to_bytes(4, "little"))
        with pytest.raises(CorruptError, match="its szip header is damaged"):
            found.decoded(np.append(head, found.data[4:]))


def test_szip_never_hands_out_memory_that_was_not_filled() -> None:
    """libaec's own function does where lines are filled to whole blocks, as these are."""
    found = stored(ROWS, "szip, large blocks")
    assert found.filters[0].values[3] % found.filters[0].values[1]
    with pytest.raises(CorruptError, match="its szip data is"):
        found.decoded(found.data[: len(found.data) // 2])


@pytest.mark.parametrize(("name", "may"), [("lzf", True), ("bzip2", False), ("lzo", False)])
def test_whether_rows_that_are_no_stream_may_be_shown_to_hdf5(name: str, may: bool) -> None:
    """The bzip2 plugin would wait for the end of a stream for ever, also of another one."""
    found = stored(ROWS, name)
    for mask in (0, 1):
        decoder = Decoder(found.filters, found.size)
        assert decoder.hdf5_survives(as_bytes(ROWS.tobytes()), mask) is may


@pytest.mark.parametrize("name", [*OPTIONS, "lzo"])
def test_other_threads_run_meanwhile(name: str) -> None:
    """The interpreter lets another thread in only where a decoder lets go of it."""
    noise = np.random.default_rng(0).integers(0, 9, 3_000_000).astype("u1")
    found = stored(ROWS, name) if name == "lzo" else stored(noise, name)
    go, ran = threading.Lock(), []
    go.acquire()

    def run() -> None:
        with go:
            ran.append(threading.get_ident())

    thread = threading.Thread(target=run)
    thread.start()
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1000)
    try:
        go.release()
        sum(range(300_000))
        assert not ran
        for _ in range(100_000):
            found.decoded()
            if ran:
                break
        assert ran
    finally:
        sys.setswitchinterval(interval)
        thread.join(10)


@pytest.fixture
def without(monkeypatch: pytest.MonkeyPatch) -> None:
    """As where imagecodecs is not installed."""
    monkeypatch.setattr(compressors, "imagecodecs", lambda: None)


@pytest.mark.usefixtures("without")
@pytest.mark.parametrize("name", ["lzf", "szip"])
def test_without_the_package_hdf5_reads_it_and_what_to_install_is_said(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "a.h5"
    with h5py.File(path, "w") as file:
        file.create_dataset("x", data=ROWS, chunks=(8, 50), **OPTIONS[name])
    description = describe(path)
    found = description.dataset("x")
    assert (found.way, found.missing_filter) == ("general", "")
    says = f"{name} is decoded outside HDF5 by imagecodecs, which is not installed: "
    assert found.why == says + "pip install 'prefetcher[codecs]'"
    assert rows_of(description) == ROWS.tobytes()
    assert main(["inspect", str(path)]) == 0
    assert "pip install 'prefetcher[codecs]'" in " ".join(capsys.readouterr().out.split())


def rows_of(description: FileDescription) -> bytes:
    rows = description.dataset("x")
    out = np.zeros((rows.rows, rows.row_bytes), np.uint8)
    source = Source(description, ["x"])
    try:
        source.read("x", [(0, rows.rows)], [out])
    finally:
        source.close()
    return out.tobytes()


def write_lzo(path: Path) -> None:
    """As PyTables does, where it was built with lzo: the last storage chunk did not get smaller."""
    properties = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    properties.set_chunk(LZO_PLAIN.shape)
    properties.set_filter(LZO, h5py.h5z.FLAG_OPTIONAL, (1,))
    with h5py.File(path, "w") as file:
        space = h5py.h5s.create_simple((2 * LZO_PLAIN.size,))
        made = h5py.h5d.create(file.id, b"x", h5py.h5t.STD_U8LE, space, properties)
        made.write_direct_chunk((0,), LZO_STORED, 0)
        made.write_direct_chunk(LZO_PLAIN.shape, LZO_PLAIN.tobytes(), 1)


def test_lzo_needs_no_filter_of_hdf5(tmp_path: Path) -> None:
    write_lzo(tmp_path / "a.h5")
    description = describe(tmp_path / "a.h5")
    assert description.dataset("x").filters == ("lzo",)
    assert rows_of(description) == 2 * LZO_PLAIN.tobytes()


@pytest.mark.usefixtures("without")
def test_lzo_is_refused_without_the_package(tmp_path: Path) -> None:
    write_lzo(tmp_path / "a.h5")
    with pytest.raises(DatasetError, match=r"filter lzo, which is .* 'prefetcher\[codecs\]'$"):
        describe(tmp_path / "a.h5").dataset("x")


def test_bzip2_needs_no_plugin(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file.create_dataset("x", data=ROWS, chunks=(8, 50), **OPTIONS["bzip2"])
    told = run_python(
        """
        import sys
        import numpy as np
        sys.modules["hdf5plugin"] = None
        from prefetcher.hdf5.describe import describe
        from prefetcher.hdf5.source import Source
        description = describe(file)
        source = Source(description, ["x"])
        out = np.zeros((60, 100), np.uint8)
        source.read("x", [(0, 60)], [out])
        source.close()
        print(int(out.view("<u2").sum()))
        """,
        file=tmp_path / "a.h5",
    )
    assert int(told) == ROWS.sum()


def test_what_h5py_lacks_is_looked_for_in_the_plugin_package(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """zfp and blosc2 too, which only HDF5 decodes. What h5py has itself needs no such package."""
    asked = []
    monkeypatch.setattr(plugins, "register", lambda: asked.append("hdf5plugin"))
    monkeypatch.setattr(h5py.h5z, "filter_avail", lambda code: code in (SZIP, LZF))
    assert unavailable([StoredFilter(LZF, ()), StoredFilter(SZIP, ())]) is None
    assert asked == []
    for code in (hdf5plugin.Blosc2.filter_id, hdf5plugin.Zfp.filter_id, BZIP2):
        assert unavailable([StoredFilter(code, ())]) == StoredFilter(code, ())
    assert asked == 3 * ["hdf5plugin"]
