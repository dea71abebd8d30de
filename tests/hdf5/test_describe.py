"""What `describe` finds, and the errors for files and datasets that cannot be used."""

from __future__ import annotations

import ctypes
import os
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from prefetcher import PrefetchSequence
from prefetcher.columns.ragged import TEXT
from prefetcher.errors import (
    DatasetError,
    FileBusyError,
    FileMissingError,
    NoDatasetError,
    NotHDF5Error,
    UnsafeFileError,
)
from prefetcher.hdf5 import absent, looking
from prefetcher.hdf5 import describe as describe_module
from prefetcher.hdf5.describe import describe, identify
from prefetcher.hdf5.shards import describe_all
from prefetcher.hdf5.source import Source


@pytest.fixture
def samples(tmp_path: Path) -> Path:
    path = tmp_path / "samples.h5"
    with h5py.File(path, "w") as file:
        file["images"] = np.zeros((10, 4, 3), np.uint8)
        options = {"chunks": (4, 2), "compression": "gzip", "shuffle": True}
        file.create_dataset("train/deep/features", data=np.ones((10, 4), ">f4"), **options)
        file["alias"] = h5py.SoftLink("/train/deep/features")
        file["note"] = 5
        file["words"] = np.array(["a", "bc"], dtype=h5py.string_dtype())
        file["circle"] = file["/"]
    return path


def test_every_dataset_of_every_group_is_described(samples: Path) -> None:
    found = describe(samples)
    assert [d.name for d in found.datasets] == [
        "images",
        "note",
        "words",
        "train/deep/features",
        "alias",
    ]
    images = found.dataset("images")
    assert (images.shape, images.layout) == ((10, 4, 3), "contiguous")
    assert images.dtype == np.uint8
    assert (images.rows, images.row_shape, images.row_bytes) == (10, (4, 3), 12)
    assert (images.storage_chunk, images.storage_rows, images.stored_bytes) == (None, 1, 120)
    assert found.size == samples.stat().st_size


def test_a_chunked_dataset_shows_its_storage(samples: Path) -> None:
    features = describe(samples).dataset("/train/deep/features")
    assert features.layout == "chunked"
    assert (features.storage_chunk, features.storage_rows) == ((4, 2), 4)
    assert features.filters == ("shuffle", "gzip-4")
    assert features.dtype == np.dtype(">f4")
    assert describe(samples).dataset("alias").shape == features.shape


def test_a_wrong_name_lists_what_there_is(samples: Path) -> None:
    with pytest.raises(NoDatasetError, match=r"no dataset 'x' in samples.h5; it has images uint8"):
        describe(samples).dataset("x")


def test_a_file_without_datasets_says_so(tmp_path: Path) -> None:
    h5py.File(tmp_path / "empty.h5", "w").close()
    with pytest.raises(NoDatasetError, match="holds no dataset"):
        describe(tmp_path / "empty.h5").dataset("x")


def test_a_scalar_is_listed_but_refused(samples: Path) -> None:
    found = describe(samples)
    with pytest.raises(DatasetError, match="without rows"):
        found.dataset("note")


@pytest.mark.parametrize(
    "dtype",
    [
        h5py.ref_dtype,
        h5py.regionref_dtype,
        h5py.vlen_dtype(h5py.vlen_dtype("i4")),
        h5py.vlen_dtype(h5py.string_dtype()),
        np.dtype([("n", "i4"), ("text", h5py.string_dtype())]),
    ],
    ids=str,
)
def test_objects_that_are_no_rows_of_numbers_or_text_are_refused(
    tmp_path: Path, dtype: Any
) -> None:
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file.create_dataset("x", (5,), dtype)
    with pytest.raises(DatasetError, match="fixed size"):
        describe(tmp_path / "a.h5").dataset("x")


@pytest.mark.parametrize(
    ("dtype", "elements", "shown"),
    [
        (h5py.vlen_dtype("u1"), np.dtype("u1"), "x vlen uint8 (5,)"),
        (h5py.vlen_dtype(">f4"), np.dtype(">f4"), "x vlen >f4 (5,)"),
        (h5py.string_dtype(), TEXT, "x vlen text (5,)"),
        (h5py.string_dtype("ascii"), TEXT, "x vlen text (5,)"),
    ],
)
def test_rows_of_variable_length_tell_their_elements(
    tmp_path: Path, dtype: Any, elements: Any, shown: str
) -> None:
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file.create_dataset("x", (5,), dtype)
    found = describe(tmp_path / "a.h5").dataset("x")
    assert found.elements == elements
    assert str(found) == shown
    assert found.way == "general"
    assert "variable length" in found.why
    size = (tmp_path / "a.h5").stat().st_size
    assert found.rows * found.row_bytes >= size  # all of the file may be theirs


def test_arrays_as_elements_are_refused_with_the_shape_to_store(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file.create_dataset("x", shape=(5,), dtype=np.dtype(("f4", (3,))))
    with pytest.raises(DatasetError, match=r"store it as float32 \(5, 3\)"):
        describe(tmp_path / "a.h5").dataset("x")


def test_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(FileMissingError, match=r"gone.h5"):
        describe(tmp_path / "gone.h5")


def test_a_folder_and_a_text_file_are_not_hdf5(tmp_path: Path) -> None:
    with pytest.raises(NotHDF5Error, match="folder"):
        describe(tmp_path)
    (tmp_path / "text.h5").write_text("epoch,loss\n" * 500)
    with pytest.raises(NotHDF5Error, match=r"text.h5 is not an HDF5 file"):
        describe(tmp_path / "text.h5")


def test_a_truncated_file(samples: Path) -> None:
    os.truncate(samples, samples.stat().st_size // 2)
    with pytest.raises(NotHDF5Error, match="cut short"):
        describe(samples)


def test_a_file_this_process_writes_is_busy(samples: Path) -> None:
    with h5py.File(samples, "r+"), pytest.raises(FileBusyError, match="this process"):
        describe(samples)


_WRITER = """
import sys, h5py
file = h5py.File(sys.argv[1], "r+", locking=True)
print("open", flush=True)
sys.stdin.read()
"""


def test_a_file_another_process_writes_is_busy(samples: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", _WRITER, samples], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as writer:
        assert writer.stdout is not None
        assert writer.stdout.readline() == b"open\n"
        try:
            with pytest.raises(FileBusyError, match=r"samples.h5 is open for writing elsewhere"):
                describe(samples)
        finally:
            writer.kill()


class Watch:
    """Tells whether a file was opened since the watch began (inotify)."""

    def __init__(self, path: Path) -> None:
        libc = ctypes.CDLL(None, use_errno=True)
        self._fd: int = libc.inotify_init1(os.O_NONBLOCK)
        opened = 0x20
        assert libc.inotify_add_watch(self._fd, os.fsencode(path), opened) >= 0

    def opened(self) -> bool:
        try:
            return bool(os.read(self._fd, 4096))
        except BlockingIOError:
            return False

    def close(self) -> None:
        os.close(self._fd)


def _link(file: h5py.File, outside: Path) -> None:
    file["x"] = h5py.ExternalLink(str(outside), "secret")


def _nested_link(file: h5py.File, outside: Path) -> None:
    file["a/b/x"] = h5py.ExternalLink(str(outside), "/")
    file["x"] = h5py.SoftLink("/a/b/x/secret")


def _external_storage(file: h5py.File, outside: Path) -> None:
    file.create_dataset("x", shape=(5,), dtype="u1", external=[(str(outside), 0, 5)])


def _virtual(file: h5py.File, outside: Path) -> None:
    layout = h5py.VirtualLayout(shape=(5,), maxshape=(None,), dtype="u1")
    source = h5py.VirtualSource(outside, "secret", shape=(5,), maxshape=(None,))
    layout[: h5py.h5s.UNLIMITED] = source[: h5py.h5s.UNLIMITED]
    file.create_virtual_dataset("x", layout)


def _virtual_link(file: h5py.File, outside: Path) -> None:
    """Over a name of its own file, which is a link out of it."""
    file["link"] = h5py.ExternalLink(str(outside), "secret")
    layout = h5py.VirtualLayout(shape=(5,), dtype="u1")
    layout[:] = h5py.VirtualSource(".", "link", shape=(5,))
    file.create_virtual_dataset("x", layout)


def _virtual_storage(file: h5py.File, outside: Path) -> None:
    file.create_dataset("raw", shape=(5,), dtype="u1", external=[(str(outside), 0, 5)])
    layout = h5py.VirtualLayout(shape=(5,), dtype="u1")
    layout[:] = h5py.VirtualSource(".", "raw", shape=(5,))
    file.create_virtual_dataset("x", layout)


@pytest.mark.skipif(sys.platform != "linux", reason="inotify tells who opened a file")
@pytest.mark.parametrize(
    "make", [_link, _nested_link, _external_storage, _virtual, _virtual_link, _virtual_storage]
)
def test_what_points_outside_is_refused_without_opening_it(tmp_path: Path, make: object) -> None:
    outside = tmp_path / "outside.h5"
    with h5py.File(outside, "w") as file:
        file.create_dataset("secret", data=np.arange(5, dtype="u1"), maxshape=(None,))
    assert callable(make)
    with h5py.File(tmp_path / "trap.h5", "w") as file:
        make(file, outside)
        file["good"] = np.arange(5, dtype="u1")
    watch = Watch(outside)
    found = describe(tmp_path / "trap.h5")
    with pytest.raises(UnsafeFileError, match=r"trap.h5 points outside itself.*allow_external"):
        found.dataset("x")
    with closing(Source(found, ["good"])) as source:
        source.read("good", [(0, 5)], [np.empty((5, 1), np.uint8)])
    assert not watch.opened()
    names = [d.name for d in describe(tmp_path / "trap.h5", allow_external=True).datasets]
    assert any(name.endswith(("x", "secret")) for name in names)
    watch.close()


def test_a_virtual_dataset_over_its_own_file_is_safe(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "own.h5", "w") as file:
        file["source"] = np.arange(6, dtype="u1")
        layout = h5py.VirtualLayout(shape=(6,), dtype="u1")
        layout[:] = h5py.VirtualSource(file["source"])
        file.create_virtual_dataset("view", layout)
    view = describe(tmp_path / "own.h5").dataset("view")
    assert (view.layout, view.way) == ("virtual", "general")


@pytest.fixture
def wide(tmp_path: Path) -> Path:
    """Five hundred groups of two datasets, one of a very long name."""
    path = tmp_path / "wide.h5"
    with h5py.File(path, "w") as file:
        for number in range(500):
            file[f"data/demo_{number}/obs"] = np.zeros((3, 2), np.uint8)
            file[f"data/demo_{number}/actions"] = np.zeros(3)
        file["n" * 60_000] = np.zeros(3)
    return path


@pytest.fixture
def described(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Every dataset that is described from now on."""
    names: list[str] = []
    real = looking.dataset_of

    def note(file: h5py.File, name: str, *arguments: object, **keywords: bool) -> object:
        names.append(name)
        return real(file, name, *arguments, **keywords)

    for module in (looking, describe_module, absent):
        monkeypatch.setattr(module, "dataset_of", note)
    return names


def test_only_what_is_named_is_described(wide: Path, described: list[str]) -> None:
    """20,000 datasets took 23 seconds and 350 MB."""
    shards = describe_all(wide)
    shards.look_up(["data/demo_7/obs", "/data/demo_7//actions"])
    assert shards.dataset("data/demo_7/obs").row_shape == (2,)
    assert shards.dataset("data/demo_7/actions").rows == 3
    assert described == ["data/demo_7/actions", "data/demo_7/obs"]


def test_several_names_take_one_opening_of_each_file(
    wide: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[bytes] = []
    real = h5py.h5f.open

    def note(name: bytes, *arguments: object, **keywords: object) -> object:
        opened.append(name)
        return real(name, *arguments, **keywords)

    monkeypatch.setattr(h5py.h5f, "open", note)
    shards = describe_all([wide, wide])
    assert not opened
    shards.look_up(["data/demo_1/obs", "data/demo_1/actions"])
    for _ in range(2):
        assert shards.dataset("data/demo_1/obs").rows == 6
        assert shards.dataset("data/demo_1/actions").rows == 6
    assert len(opened) == 2
    first, second = shards.parts("data/demo_1/obs")
    assert first is second  # what is alike takes memory once


def test_a_sparse_group_is_looked_up_once(tmp_path: Path, described: list[str]) -> None:
    """With the datasets that it is made of, which readers and checksums ask for by name."""
    with h5py.File(tmp_path / "cells.h5ad", "w") as file:
        group = file.create_group("X")
        group.attrs["encoding-type"], group.attrs["shape"] = "csr_matrix", (4, 5)
        group["data"], group["indices"], group["indptr"] = np.ones(4), np.arange(4), np.arange(5)
        file["y"] = np.arange(4)
    with PrefetchSequence(tmp_path / "cells.h5ad", "X", "y") as train:
        ((x, _),) = train
        assert x.shape == (4, 5)
        train.state_dict()
    assert sorted(described) == ["X/data", "X/indices", "X/indptr", "y"]


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("data/demo_3/ops", r"it has n{200}\.\.\..* and 997 others: did you mean '.*/obs'"),
        ("nothing", "and 997 others$"),
        ("data", r"is a group of data/demo_.* float64 \(3,\).* and 996 others: name one of these"),
    ],
)
def test_of_a_name_that_is_not_there_a_little_is_told(
    wide: Path, described: list[str], name: str, says: str
) -> None:
    """One such message had 660,094 characters."""
    with pytest.raises(NoDatasetError, match=says) as caught:
        describe_all(wide).dataset(name)
    assert len(str(caught.value)) < 800
    assert len(described) <= 4


def test_a_file_is_known_before_it_is_opened(samples: Path, tmp_path: Path) -> None:
    known = identify(samples)
    assert (known.size, known.datasets) == (samples.stat().st_size, ())
    assert known.dataset("images").rows == 10
    assert known.has_dataset("alias")
    assert not known.has_dataset("train")
    assert known.has_group("train")
    assert known.groups() == ["train/deep"]
    with pytest.raises(FileMissingError, match=r"gone\.h5"):
        identify(tmp_path / "gone.h5")
