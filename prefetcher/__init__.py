"""Keeps an accelerator fed from an HDF5 file too big for memory.

with prefetcher.PrefetchSequence("samples.h5", x="images", y="angles") as train:
    model.fit(train, epochs=5)
"""

from typing import TYPE_CHECKING, Any

from prefetcher.errors import (
    ClosedError,
    CorruptError,
    DatasetError,
    FileBusyError,
    FileChangedError,
    FileError,
    FileMissingError,
    NoDatasetError,
    NotHDF5Error,
    PrefetchError,
    ProcessError,
    ReadError,
    RowsError,
    SettingsError,
    TransformError,
    UnsafeFileError,
)
from prefetcher.monitor import Monitor, read_log
from prefetcher.pipeline.stats import Stats

if TYPE_CHECKING:
    from prefetcher.sequence import PrefetchSequence

__all__ = [
    "PrefetchSequence",
    "Monitor",
    "Stats",
    "read_log",
    "PrefetchError",
    "SettingsError",
    "ClosedError",
    "ProcessError",
    "TransformError",
    "FileError",
    "FileMissingError",
    "NotHDF5Error",
    "FileBusyError",
    "FileChangedError",
    "UnsafeFileError",
    "DatasetError",
    "NoDatasetError",
    "RowsError",
    "ReadError",
    "CorruptError",
]


def __getattr__(name: str) -> Any:
    """Imports Keras, which takes seconds, when it is first needed: a log is read without it."""
    if name == "PrefetchSequence":
        from prefetcher.sequence import PrefetchSequence

        return PrefetchSequence
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
