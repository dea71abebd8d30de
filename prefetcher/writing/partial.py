"""A file that appears under its name only when it is whole and its rows were read back."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple, Self

import h5py
import numpy as np
from numpy.typing import NDArray

from prefetcher.errors import CorruptError, FileBusyError, FileError
from prefetcher.filters.encode import Encoded, Encoder
from prefetcher.messages.wording import written
from prefetcher.writing.codec import CodecName
from prefetcher.writing.growing import GrowingDataset, Witness
from prefetcher.writing.names import check_names

_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


class Layout(NamedTuple):
    """What rows of a dataset are like, and how they are stored."""

    shape: tuple[int, ...]
    """Of one row: no leading 0 or None."""
    dtype: np.dtype[Any]
    storage_rows: int
    codec: CodecName = "none"


def partial_of(path: Path) -> Path:
    """The name under which a file is written: beside it, so that renaming is one step."""
    return path.with_name(path.name + ".partial")


class PartialFile:
    """Datasets that grow in ``NAME.partial``, until `commit` turns it into ``NAME``.

    One that is resumable can go back to its last `checkpoint` after the process was killed: between
    two of them, rows are only written behind the file's end, and nothing that the last one wrote is
    touched. One thread uses it at a time.
    """

    def __init__(self, path: Path, partial: Path, file: h5py.File) -> None:
        self._path = path
        self._partial = partial
        self._file = file
        self._closed = False
        self._grown: dict[str, GrowingDataset] = {}

    @classmethod
    def create(
        cls,
        path: Path,
        layouts: Mapping[str, Layout],
        *,
        partial: Path | None = None,
        resumable: bool = False,
    ) -> Self:
        """Begins a file that will replace `path`.

        Args:
            path: The name that it gets in the end.
            layouts: Its datasets.
            partial: Another name to write it under than that of `partial_of`.
            resumable: True keeps all metadata in memory from one `checkpoint` to the next.

        Raises:
            DatasetError: Their names cannot be those of datasets of one file.
            FileBusyError: Another process writes the partial file now.
            FileError: It cannot be made there.
        """
        check_names(layouts)
        partial = partial or partial_of(path)
        _make_way(partial)
        # Not libver="latest": its headers carry the time, and the same rows would differ in bytes.
        made = cls(path, partial, _opened(partial, "w"))
        try:
            with made._errors_named():
                if resumable:
                    _hold_metadata(made._file)
                for name, layout in layouts.items():
                    made._grown[name] = GrowingDataset.create(made._file, name, *layout)
        except BaseException:
            made.discard()
            raise
        return made

    @classmethod
    def resume(cls, path: Path, nbytes: int, datasets: Mapping[str, Any]) -> Self:
        """Goes on from a checkpoint: `nbytes` and `datasets` are what it returned.

        Rows of a dataset beyond the number given there are dropped.

        Raises:
            FileError: The partial file is gone, or shorter than it was.
        """
        partial = partial_of(path)
        # A longer one is fine: what was written after the checkpoint is written over.
        if not partial.is_file() or partial.stat().st_size < nbytes:
            raise FileError(
                f"{partial.name} is not what was left of the broken off run: begin anew, without "
                f"{written('resume', value=True)}"
            )
        made = cls(path, partial, _opened(partial, "r+"))
        with made._errors_named():
            _hold_metadata(made._file)
            for name, state in datasets.items():
                dataset = made._file[name]
                dataset.resize(state["rows"], axis=0)
                made._grown[name] = GrowingDataset(
                    dataset, Witness.of_state(state["witness"], state["rows"])
                )
        return made

    @property
    def rows(self) -> dict[str, int]:
        """Rows of each dataset that the file holds; rows that wait for their storage chunk not."""
        return {name: dataset.written for name, dataset in self._grown.items()}

    @property
    def encoders(self) -> dict[str, Encoder]:
        """What encodes storage chunks, of datasets that have a codec; any thread may use them."""
        found = {name: dataset.encoder for name, dataset in self._grown.items()}
        return {name: encoder for name, encoder in found.items() if encoder and encoder.filters}

    def append(self, name: str, rows: NDArray[Any], encoded: Encoded | None = None) -> None:
        """Writes rows of the dataset's own shape and dtype behind those that are there.

        Args:
            name: The dataset.
            rows: Any number.
            encoded: What its encoder made of them, if they are as many as a storage chunk has.
        """
        with self._errors_named():
            self._grown[name].append(rows, encoded)

    def flush(self, names: Iterable[str] | None = None) -> None:
        """Writes the rows that wait for their storage chunk: no more are to come."""
        with self._errors_named():
            for name in self._grown if names is None else names:
                self._grown[name].flush()

    def set_attributes(self, place: str, attributes: Mapping[str, Any]) -> None:
        """Sets attributes of a group or dataset; "" is the file itself."""
        with self._errors_named():
            self._file[place or "/"].attrs.update(attributes)

    def checkpoint(self) -> tuple[int, dict[str, Any]]:
        """Puts what was written safely on the disk; returns what `resume` needs, as JSON."""
        with self._errors_named():
            self._file.flush()
            os.fsync(self._file.id.get_vfd_handle())
        datasets = {
            name: {"rows": dataset.written, "witness": dataset.witness.state()}
            for name, dataset in self._grown.items()
        }
        return self._partial.stat().st_size, datasets

    def commit(self) -> None:
        """Closes the file, reads a sample of its rows back, and gives it its name.

        Raises:
            CorruptError: What was read back is not what was written.
            FileError: The disk is full, or the file cannot be written.
        """
        self.flush()
        with self._errors_named():
            self._file.flush()  # a full disk is met here, where the file can still be given up
            self._close()
            self._verify()
            _sync(self._partial)
            self._partial.replace(self._path)

    def _verify(self) -> None:
        with h5py.File(self._partial, "r") as file:
            for name, dataset in self._grown.items():
                row = dataset.witness.wrong_row(file[name])
                if row is not None:
                    raise CorruptError(
                        f"row {row} of {name} in {self._partial.name} is not what was written: "
                        "the disk or the memory of this machine is at fault; write it again"
                    )

    def suspend(self) -> None:
        """Closes the file and leaves it as it is; it can be resumed from its last checkpoint."""
        # HDF5 raises once more for a disk that is full, which was told already.
        with suppress(OSError, RuntimeError):
            self._close()

    def _close(self) -> None:
        """Closes the file once: HDF5 2.0 crashes on a second try after one that failed."""
        if not self._closed:
            self._closed = True
            self._file.close()

    def discard(self) -> None:
        """Closes the file and removes it."""
        # What HDF5 cannot write, it must not try to at the close: HDF5 2.0 crashes when that fails.
        with suppress(OSError, RuntimeError, ValueError):
            for dataset in self._grown.values():
                dataset.drop()
        self.suspend()
        self._partial.unlink(missing_ok=True)

    @contextmanager
    def _errors_named(self) -> Iterator[None]:
        try:
            yield
        except (CorruptError, FileError):
            raise
        except (OSError, RuntimeError) as error:  # HDF5's own errors are of either kind
            raise _explained(self._partial, error) from error


def _make_way(partial: Path) -> None:
    """Removes a link, which would be written through, and refuses what is no file."""
    if partial.is_symlink():
        partial.unlink()
    if partial.exists() and not partial.is_file():
        raise FileError(f"{partial.name} is no regular file: remove it")


def _opened(partial: Path, mode: str) -> h5py.File:
    try:
        return h5py.File(partial, mode)
    except BlockingIOError as error:
        raise FileBusyError(f"{partial.name} is being written by another process") from error
    except (OSError, RuntimeError) as error:
        raise _explained(partial, error) from error


def _explained(partial: Path, error: Exception) -> FileError:
    number = getattr(error, "errno", None)
    if number in _NO_ROOM or any(f"errno = {code}," in str(error) for code in _NO_ROOM):
        return FileError(
            f"the disk is full: no room for more of {partial.name}; free some and start again"
        )
    return FileError(f"{partial.name} cannot be written: {error}")


def _hold_metadata(file: h5py.File) -> None:
    """Has HDF5 write its indexes only when it is asked to flush, not in between."""
    config = file.id.get_mdc_config()
    config.evictions_enabled = False
    config.incr_mode = config.flash_incr_mode = config.decr_mode = 0
    file.id.set_mdc_config(config)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDWR)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
