"""A read that HDF5 could not do: everything is opened anew before it is tried again.

`test_faults` fails every single read, where a C compiler is; here h5py's own calls fail.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from helpers.leaks import open_hdf5_files

from prefetcher.errors import (
    CorruptError,
    DatasetError,
    FileBusyError,
    FileChangedError,
    FileError,
    FileMissingError,
    ReadError,
)
from prefetcher.hdf5.describe import describe
from prefetcher.hdf5.opening import open_file
from prefetcher.hdf5.source import Source
from prefetcher.storage import retry

ROWS = np.ones(50, "i4")
PACKED: dict[str, Any] = {"chunks": (10,), "scaleoffset": 0}  # which is left to HDF5
TEXT = "file read failed: time = Thu, filename = 'a.h5', errno = {}, error message = 'x', buf = 0x1"


@pytest.fixture
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file of packed numbers, which only h5py reads, and of plain ones."""
    monkeypatch.setattr(retry, "_FIRST_PAUSE_S", 0)
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file.create_dataset("packed", data=ROWS, **PACKED)
        file["numbers"] = np.arange(50)
    return tmp_path / "a.h5"


def failing(call: Callable[..., Any], *errors: Exception) -> Callable[..., Any]:
    """The same call, but it raises these first, one each time."""
    left = list(errors)

    def first_failing(*arguments: Any, **options: Any) -> Any:
        if left:
            raise left.pop(0)
        return call(*arguments, **options)

    return first_failing


def system(number: int, kind: Callable[[str], Exception] = RuntimeError) -> Exception:
    """As h5py has it: where it is no OSError, the number stands in the text."""
    return kind(f"Can't do it ({TEXT.format(number)})")


def read(source: Source, name: str = "packed") -> bytes:
    row_bytes = {"packed": 4, "numbers": 8}[name]
    out = np.full((50, row_bytes), 0xA5, np.uint8)
    source.read(name, [(0, 50)], [out])
    return out.tobytes()


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    """Every file that is opened from now on."""
    names: list[bytes] = []
    real = h5py.h5f.open

    def note(name: bytes, *arguments: Any, **options: Any) -> Any:
        names.append(name)
        return real(name, *arguments, **options)

    monkeypatch.setattr(h5py.h5f, "open", note)
    return names


@pytest.mark.parametrize("error", [OSError(errno.EIO, "weak"), system(errno.EIO)], ids=repr)
def test_a_read_through_h5py_that_failed_is_done_by_another_handle(
    path: Path, opened: list[bytes], monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    told: list[Mapping[str, object]] = []
    with closing(Source(describe(path), ["packed"], on_retry=told.append)) as source:
        before = len(opened)
        read_direct = failing(h5py.Dataset.read_direct, error)
        monkeypatch.setattr(h5py.Dataset, "read_direct", read_direct)
        assert read(source) == ROWS.tobytes()
        assert len(opened) == before + 1
        assert len(open_hdf5_files()) == 2  # h5py's and our own, as before
        assert read(source) == ROWS.tobytes()
        assert len(opened) == before + 1
    assert [(event["dataset"], event["rows"]) for event in told] == [("packed", [0, 50])]
    assert "Input/output error" in str(told[0]["error"])


def test_one_that_fails_for_ever_says_what_the_system_said(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with closing(Source(describe(path), ["packed"])) as source:
        errors = [OSError(errno.EIO, f"weak, {at}") for at in range(4)]
        read_direct = failing(h5py.Dataset.read_direct, *errors)
        monkeypatch.setattr(h5py.Dataset, "read_direct", read_direct)
        with pytest.raises(ReadError, match=r"rows 0 to 50 of packed in a.h5 failed: \[Errno 5\]"):
            read(source)
        assert read(source) == ROWS.tobytes()


def test_what_h5py_says_of_damage_is_damage(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with closing(Source(describe(path), ["packed"])) as source:
        errors = [OSError("filter returned failure during read"), RuntimeError("wrong signature")]
        read_direct = failing(h5py.Dataset.read_direct, *errors)
        monkeypatch.setattr(h5py.Dataset, "read_direct", read_direct)
        with pytest.raises(CorruptError, match="wrong signature"):
            read(source)


def test_offsets_that_no_file_has_are_damage(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The system refuses them too, with a number of its own."""
    with closing(Source(describe(path), ["packed"])) as source:
        errors = [system(errno.EINVAL), system(errno.EINVAL)]
        read_direct = failing(h5py.Dataset.read_direct, *errors)
        monkeypatch.setattr(h5py.Dataset, "read_direct", read_direct)
        with pytest.raises(CorruptError, match="damaged"):
            read(source)


def test_a_proof_that_failed_is_tried_again_and_no_disproof(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[Mapping[str, object]] = []
    getitem = failing(h5py.Dataset.__getitem__, OSError(errno.EIO, "weak moment"))
    monkeypatch.setattr(h5py.Dataset, "__getitem__", getitem)
    with closing(Source(describe(path), ["numbers"], on_retry=told.append)) as source:
        assert read(source, "numbers") == np.arange(50).tobytes()
        assert source.way_of("numbers") == "contiguous"
    assert [(event["file"], event["attempt"]) for event in told] == [("a.h5", 1)]


def test_a_proof_that_fails_for_ever_is_a_read_error(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    getitem = failing(h5py.Dataset.__getitem__, *[OSError(errno.EIO, "weak")] * 9)
    monkeypatch.setattr(h5py.Dataset, "__getitem__", getitem)
    with pytest.raises(ReadError, match=r"reading a.h5 failed: .*Input/output"):
        Source(describe(path), ["numbers"], retries=2)


def test_describing_is_tried_again(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for number, error in enumerate([OSError(errno.ESTALE, "weak"), system(errno.ESTALE)]):
        monkeypatch.setattr(h5py.h5f, "open", failing(h5py.h5f.open, error))
        assert len(describe(path, retries=1).datasets) == 2
        monkeypatch.setattr(h5py.h5f, "open", failing(h5py.h5f.open, *[error] * (number + 1)))
        with pytest.raises(ReadError, match=r"reading a.h5 failed: .*[Ss]tale"):
            describe(path, retries=number)


@pytest.mark.parametrize("kind", [RuntimeError, KeyError, ValueError])
def test_metadata_that_could_not_be_read_is_not_damaged(
    path: Path, monkeypatch: pytest.MonkeyPatch, kind: Callable[[str], Exception]
) -> None:
    errors = [system(errno.EIO, kind), system(errno.EIO, kind)]
    monkeypatch.setattr(h5py.Group, "__getitem__", failing(h5py.Group.__getitem__, *errors))
    assert len(describe(path).datasets) == 2
    monkeypatch.setattr(h5py.Group, "__getitem__", failing(h5py.Group.__getitem__, kind("odd")))
    description = describe(path)
    with pytest.raises(DatasetError, match=r"numbers in a.h5 cannot be read: HDF5 cannot .*odd"):
        description.dataset("numbers")
    assert description.dataset("packed").rows == 50


@pytest.mark.parametrize(
    ("number", "error", "says"),
    [
        (errno.EMFILE, FileError, r"a.h5 cannot be opened: .*Too many open files"),
        (errno.ENOTDIR, FileMissingError, "there is no file"),
        (errno.EACCES, FileError, "may not be read"),
        (errno.EIO, OSError, "Input/output error"),
    ],
)
def test_what_the_system_says_to_opening(
    path: Path, monkeypatch: pytest.MonkeyPatch, number: int, error: type[Exception], says: str
) -> None:
    monkeypatch.setattr(h5py.h5f, "open", failing(h5py.h5f.open, OSError(number, "unable to open")))
    with pytest.raises(error, match=says):
        open_file(path)


def test_a_file_that_was_replaced_is_not_opened_anew(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its rows would be another's, and nothing else would tell."""
    with closing(Source(describe(path), ["packed"])) as source:
        with h5py.File(path.with_name("b.h5"), "w") as file:
            file.create_dataset("packed", data=np.zeros(50, "i4"), **PACKED)
        path.with_name("b.h5").replace(path)
        read_direct = failing(h5py.Dataset.read_direct, OSError(errno.EIO, "weak moment"))
        monkeypatch.setattr(h5py.Dataset, "read_direct", read_direct)
        with pytest.raises(FileChangedError, match=r"a.h5 was written to"):
            read(source)
        assert len(open_hdf5_files()) == 1


def test_a_file_is_found_again_from_another_folder(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(path.parent)
    with closing(Source(describe(path.name), ["packed"])) as source:
        monkeypatch.chdir(os.sep)
        read_direct = failing(h5py.Dataset.read_direct, OSError(errno.EIO, "weak moment"))
        monkeypatch.setattr(h5py.Dataset, "read_direct", read_direct)
        assert read(source) == ROWS.tobytes()


def test_a_writer_of_this_process_is_found_without_locks(path: Path) -> None:
    """HDF5 has what the file does not hold yet; many network file systems cannot lock."""
    with (
        h5py.File(path, "r+", locking=False),
        pytest.raises(FileBusyError, match=r"this process has a.h5 open for writing"),
    ):
        describe(path)
    with h5py.File(path, "r"):
        assert len(describe(path).datasets) == 2


def test_names_keep_the_order_of_their_making_where_the_file_has_it(tmp_path: Path) -> None:
    for number, libver in enumerate(("earliest", "latest")):
        for tracked in (False, True):
            path = tmp_path / f"{number}{tracked}.h5"
            with h5py.File(path, "w", libver=libver, track_order=tracked) as file:
                for name in "zebra ant Ä cat bee dog elk fox gnu hen".split():  # noqa: SIM905
                    file[name] = [1]
            with h5py.File(path) as file:
                assert [dataset.name for dataset in describe(path).datasets] == list(file)
