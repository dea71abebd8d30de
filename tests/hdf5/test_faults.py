"""A read that fails once: the rows are right all the same, or our own error comes. Never others.

A small C library stands before the system's reads and fails the n-th one of an HDF5 file, whether
HDF5 or this package asks. It is loaded before everything else, so all of it runs in one child.
"""

from __future__ import annotations

import ctypes
import errno
import json
import os
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from itertools import product
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from prefetcher.errors import PrefetchError
from prefetcher.hdf5.attributes import encode, read_attributes
from prefetcher.hdf5.describe import describe
from prefetcher.hdf5.source import Source
from prefetcher.storage import retry

MARK = "\nseen: "
SHIM = r"""
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/uio.h>
#include <unistd.h>

long fault_first = 0, fault_count = 1, fault_seen = 0;
int fault_errno = EIO;

static int is_hdf5(int fd) {
    char link[64], path[4096];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t length = readlink(link, path, sizeof path);
    return length > 3 && !memcmp(path + length - 3, ".h5", 3);
}

static int fails(int fd) {
    if (!is_hdf5(fd)) return 0;
    long number = __sync_add_and_fetch(&fault_seen, 1);
    if (!fault_first || number < fault_first || number >= fault_first + fault_count) return 0;
    errno = fault_errno;
    return 1;
}

#define BEFORE(name, parameters, arguments)                                     \
    ssize_t name parameters {                                                   \
        static ssize_t (*real) parameters;                                      \
        if (!real) real = (ssize_t (*) parameters) dlsym(RTLD_NEXT, #name);     \
        return fails(fd) ? -1 : real arguments;                                 \
    }
typedef const struct iovec *vector;
BEFORE(read, (int fd, void *to, size_t n), (fd, to, n))
BEFORE(pread, (int fd, void *to, size_t n, off_t at), (fd, to, n, at))
BEFORE(pread64, (int fd, void *to, size_t n, off64_t at), (fd, to, n, at))
BEFORE(preadv, (int fd, vector to, int n, off_t at), (fd, to, n, at))
BEFORE(preadv64, (int fd, vector to, int n, off64_t at), (fd, to, n, at))
BEFORE(preadv2, (int fd, vector to, int n, off_t at, int how), (fd, to, n, at, how))
BEFORE(preadv64v2, (int fd, vector to, int n, off64_t at, int how), (fd, to, n, at, how))
"""

ROWS = (np.arange(3200 * 30) % 251 + 1).astype("u1").reshape(3200, 30)
RECORD = np.dtype([("a", "u1"), ("b", ">f4"), ("c", "i8", (4,))])
OWN = {"x": "own/x", "y": ["a", "b"], "splits": ["own"], "source": "a test"}


def plain(file: h5py.Group) -> None:
    file["x"] = ROWS


def labels(file: h5py.File) -> None:
    """All of it fits what HDF5 reads ahead."""
    file["x"] = ROWS[:, 0].astype("i4")


def gzip(file: h5py.File) -> None:
    file.create_dataset("x", data=ROWS, chunks=(500, 30), compression="gzip")


def guessed(file: h5py.File) -> None:
    file.create_dataset("x", data=ROWS, chunks=(700, 16), shuffle=True, fletcher32=True)


def scaleoffset(file: h5py.File) -> None:
    file.create_dataset("x", data=ROWS.astype("i4"), chunks=(500, 30), scaleoffset=0)


def records(file: h5py.Group) -> None:
    rows = np.zeros(3200, RECORD)
    rows["a"], rows["b"], rows["c"] = ROWS[:, 0], ROWS[:, 1], ROWS[:, 2:6]
    file["x"] = rows


def large_chunks(file: h5py.File) -> None:
    """Storage chunks that HDF5's cache does not take are read like contiguous rows."""
    type_id = h5py.h5t.C_S1.copy()
    type_id.set_size(400)
    properties = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    properties.set_chunk((3200,))
    space = h5py.h5s.create_simple((3200,))
    made = h5py.h5d.create(file.id, b"x", type_id, space, properties)
    h5py.Dataset(made)[:] = np.array([b"abc" * 100] * 3200, "S400")


def deep(file: h5py.File) -> None:
    for number in range(10):  # more than HDF5 keeps beside a group itself
        file[f"group/within/{number}"] = ROWS[:3]
    file["group/within/x"] = ROWS
    file["x"] = h5py.SoftLink("/group/within/x")


def own_words(file: h5py.File) -> None:
    file["own/x"] = ROWS
    for group in (file, file["own"]):
        for number in range(12):
            group.attrs[f"another {number}"] = "word" * 20
        group.attrs.update(encode(OWN))
    file["own/x"].attrs.update(encode({"class_names": ["cat", "dog"]}))
    file["x"] = h5py.SoftLink("own/x")


def outside(file: h5py.File, number: int = 0) -> Path:
    """Rows in a file beside this one."""
    path = Path(file.filename).with_name(f"outside-{number}.h5")
    if not path.exists():
        with h5py.File(path, "w") as other:
            options: dict[str, Any] = {"maxshape": (None, 30), "chunks": (500, 30)}
            other.create_dataset("deep/rows", data=ROWS, **options)
            other["part"] = ROWS[number * 1600 : (number + 1) * 1600]
            records(other.create_group("records"))
    return path


def external_link(file: h5py.File) -> None:
    file["x"] = h5py.ExternalLink(outside(file).name, "deep/rows")


def external_records(file: h5py.File) -> None:
    file["x"] = h5py.ExternalLink(outside(file).name, "records/x")


def view(file: h5py.File, name: str, of: str | Path, rows: str) -> None:
    layout = h5py.VirtualLayout(ROWS.shape, "u1")
    layout[:] = h5py.VirtualSource(of, rows, ROWS.shape)
    file.create_virtual_dataset(name, layout)


def virtual(file: h5py.File) -> None:
    file["group/rows"] = ROWS
    view(file, "x", ".", "group/rows")


def virtual_outside(file: h5py.File) -> None:
    view(file, "x", outside(file).name, "deep/rows")


def virtual_nested(file: h5py.File) -> None:
    view(file, "group/middle", outside(file), "deep/rows")
    view(file, "x", ".", "group/middle")


def virtual_of_two(file: h5py.File) -> None:
    layout = h5py.VirtualLayout(ROWS.shape, "u1")
    for number in range(2):
        source = h5py.VirtualSource(outside(file, number).name, "part", (1600, 30))
        layout[number * 1600 : (number + 1) * 1600] = source
    file.create_virtual_dataset("x", layout)


def virtual_growing(file: h5py.File) -> None:
    endless = h5py.h5s.UNLIMITED
    layout = h5py.VirtualLayout(ROWS.shape, "u1", maxshape=(None, 30))
    source = h5py.VirtualSource(outside(file).name, "deep/rows", ROWS.shape, maxshape=(None, 30))
    layout[:endless] = source[:endless]
    file.create_virtual_dataset("x", layout)


def virtual_numbered(file: h5py.File) -> None:
    for number in range(2):
        outside(file, number)
    properties = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    rows = h5py.h5s.create_simple((0, 30), (h5py.h5s.UNLIMITED, 30))
    rows.select_hyperslab((0, 0), (h5py.h5s.UNLIMITED, 1), (1600, 1), (1600, 30))
    part = h5py.h5s.create_simple((1600, 30))
    part.select_all()
    properties.set_virtual(rows, b"outside-%b.h5", b"part", part)
    h5py.h5d.create(file.id, b"x", h5py.h5t.STD_U8LE, rows, properties)


Kind = Callable[[h5py.File], None]
OLD: list[Kind] = [
    labels,
    gzip,
    scaleoffset,
    records,
    large_chunks,
    own_words,
    external_records,
    virtual_of_two,
    virtual_nested,
]
NEW: list[Kind] = [guessed, deep, own_words, virtual, virtual_growing, virtual_numbered]
HELD: list[Kind] = [labels, records, virtual]
"""Read while this process has the dataset open elsewhere too: HDF5 may share what it has of it."""


class Library:
    """The shim in this process."""

    def __init__(self) -> None:
        here = ctypes.CDLL(None)
        names = ("first", "count", "seen")
        self._numbers = {name: ctypes.c_long.in_dll(here, f"fault_{name}") for name in names}
        self._errno = ctypes.c_int.in_dll(here, "fault_errno")

    @property
    def seen(self) -> int:
        return self._numbers["seen"].value

    def fail(self, first: int, count: int = 1, number: int = errno.EIO) -> None:
        """Has `count` reads fail, the first of them after so many (from 1 on; 0: none)."""
        self._errno.value = number
        for name, value in (("first", first), ("count", count), ("seen", 0)):
            self._numbers[name].value = value


def read(path: Path, retries: int) -> tuple[bytes, object]:
    """All rows of "x", in two reads, and what the file says of itself."""
    description = describe(path, allow_external=True, retries=retries)
    rows = description.dataset("x")
    out = np.full((rows.rows, rows.row_bytes), 0xAA, np.uint8)
    source = Source(description, ["x"], retries=retries)
    try:
        source.read("x", [(0, 1700)], [out[:1700]])
        source.read("x", [(1700, 3200)], [out[1700:]])
    finally:
        source.close()
    return out.tobytes(), read_attributes(path, retries=retries)


def outcome(path: Path, expected: tuple[bytes, object], retries: int) -> str:
    try:
        found = read(path, retries)
    except PrefetchError as error:
        return type(error).__name__
    except Exception as error:
        return f"{type(error).__name__}, not ours"
    return "right" if found == expected else "wrong"


def sweep(path: Path, library: Library) -> dict[str, Mapping[str, int]]:
    """Fails every single read of an opening and a pass, then all reads from there on."""
    library.fail(0)
    expected = read(path, 0)
    reads = library.seen
    seen = {name: Counter[str]() for name in ("tried again", "not tried again", "for ever")}
    for number in range(1, reads + 1):
        library.fail(number)
        seen["tried again"][outcome(path, expected, 1)] += 1
    for number in range(1, reads + 1, 3):
        library.fail(number)
        seen["not tried again"][outcome(path, expected, 0)] += 1
    for number in range(1, reads + 1, 7):
        library.fail(number, 1 << 30)
        seen["for ever"][outcome(path, expected, 1)] += 1
    library.fail(0)
    assert outcome(path, expected, 0) == "right"
    return dict(seen)


def written(path: Path, kind: Kind, libver: str) -> Path:
    with h5py.File(path, "w", libver=libver) as file:
        kind(file)
    return path


def run(folder: Path) -> Iterator[tuple[str, dict[str, Mapping[str, int]]]]:
    library = Library()
    for libver, kind in [*product(["earliest"], OLD), *product(["latest"], NEW)]:
        path = written(folder / f"{kind.__name__}-{libver}.h5", kind, libver)
        yield path.stem, sweep(path, library)
    for kind in HELD:
        path = written(folder / f"{kind.__name__}-held.h5", kind, "earliest")
        library.fail(0)
        with h5py.File(path, "r") as file:
            rows = file["x"]
            assert len(rows) == 3200
            with closing(Source(describe(path, allow_external=True), ["x"])):
                yield path.stem, sweep(path, library)


@pytest.fixture(scope="module")
def shim(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The library, compiled."""
    compiler = shutil.which("cc")
    if sys.platform != "linux" or compiler is None:
        pytest.skip("a C compiler on Linux makes what fails the reads")
    folder = tmp_path_factory.mktemp("shim")
    (folder / "shim.c").write_text(SHIM)
    made = folder / "shim.so"
    subprocess.run(
        [compiler, "-shared", "-fPIC", "-O1", "-o", made, folder / "shim.c", "-ldl"], check=True
    )
    return made


@pytest.fixture(scope="module")
def seen(shim: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    """What reading gave, counted, for each kind of file and of failure."""
    env = {
        "LD_PRELOAD": str(shim),
        "PYTHONPATH": os.pathsep.join(sys.path),
        "MALLOC_PERTURB_": "90",  # what HDF5 did not fill before it failed, it must not use
    }
    child = subprocess.run(
        [sys.executable, "-X", "faulthandler", __file__, tmp_path_factory.mktemp("faults")],
        env=os.environ | env,
        capture_output=True, text=True, timeout=150, check=False,
    )  # fmt: skip
    assert child.returncode == 0, child.stderr[-3000:]
    found: dict[str, dict[str, Any]] = json.loads(child.stdout.rpartition(MARK)[2])
    return found


@pytest.mark.parametrize(
    ("what", "is_always"),
    [("tried again", "right"), ("not tried again", "ReadError"), ("for ever", "ReadError")],
)
def test_a_read_that_fails_is_tried_again_or_told(
    seen: Mapping[str, Mapping[str, Any]], what: str, is_always: str
) -> None:
    others = {
        kind: counts[what] for kind, counts in seen.items() if set(counts[what]) != {is_always}
    }
    assert others == {}
    assert sum(seen["labels-earliest"][what].values()) > 4


if __name__ == "__main__":
    retry._FIRST_PAUSE_S = 0
    print(MARK + json.dumps(dict(run(Path(sys.argv[1])))))  # noqa: T201
