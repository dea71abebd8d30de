"""Keeps an accelerator fed from an HDF5 file too big for memory.

with prefetcher.PrefetchSequence("samples.h5", x="images", y="angles") as train:
    model.fit(train, epochs=5)
"""

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
