"""Keeps an accelerator fed from an HDF5 file too big for memory.

with prefetcher.PrefetchSequence("samples.h5", x="images", y="angles") as train:
    model.fit(train, epochs=5)
"""

from importlib.metadata import version
from typing import TYPE_CHECKING, Any

from prefetcher.backends import import_with_keras
from prefetcher.columns.axis import Axis
from prefetcher.columns.column import Column
from prefetcher.columns.fields import Field
from prefetcher.columns.packed import Unpacked
from prefetcher.columns.padded import Padded
from prefetcher.columns.rows import Row, Window
from prefetcher.columns.sparse import Sparse
from prefetcher.errors import (
    BackendError,
    ClosedError,
    CorruptError,
    DatasetError,
    FileBusyError,
    FileChangedError,
    FileError,
    FileMissingError,
    NoDatasetError,
    NotHDF5Error,
    OpenFilesError,
    PrefetchError,
    ProcessError,
    ReadError,
    RowsError,
    SettingsError,
    StateError,
    TransformError,
    UnsafeFileError,
)
from prefetcher.monitor import Monitor, read_log
from prefetcher.pipeline.stats import Stats

if TYPE_CHECKING:
    from prefetcher.callbacks import MonitorCallback
    from prefetcher.ceiling import replay
    from prefetcher.columns.pictures import Picture
    from prefetcher.conversion.convert import Converted, convert
    from prefetcher.resume.backup import Backup
    from prefetcher.resume.training import fit
    from prefetcher.sequence import PrefetchSequence
    from prefetcher.splitting import folds, split
    from prefetcher.writing.writer import HDF5Writer

    __version__: str

__all__ = [
    "PrefetchSequence",
    "Row",
    "Window",
    "Field",
    "Axis",
    "Sparse",
    "Unpacked",
    "Padded",
    "Picture",
    "Column",
    "split",
    "folds",
    "fit",
    "Backup",
    "HDF5Writer",
    "convert",
    "Converted",
    "Monitor",
    "MonitorCallback",
    "replay",
    "Stats",
    "read_log",
    "PrefetchError",
    "SettingsError",
    "ClosedError",
    "BackendError",
    "ProcessError",
    "StateError",
    "TransformError",
    "FileError",
    "FileMissingError",
    "NotHDF5Error",
    "FileBusyError",
    "FileChangedError",
    "OpenFilesError",
    "UnsafeFileError",
    "DatasetError",
    "NoDatasetError",
    "RowsError",
    "ReadError",
    "CorruptError",
]


_LAZY = {
    "PrefetchSequence": "prefetcher.sequence",
    "split": "prefetcher.splitting",
    "folds": "prefetcher.splitting",
    "MonitorCallback": "prefetcher.callbacks",
    "replay": "prefetcher.ceiling",
    "HDF5Writer": "prefetcher.writing.writer",
    "Picture": "prefetcher.columns.pictures",
    "convert": "prefetcher.conversion.convert",
    "Converted": "prefetcher.conversion.convert",
    "fit": "prefetcher.resume.training",
    "Backup": "prefetcher.resume.backup",
}
"""Where names live whose import takes time: Keras takes seconds, and a log is read without it."""


def __getattr__(name: str) -> Any:
    """Imports what takes time when it is first needed."""
    if name == "__version__":
        return version("prefetcher")
    if name in _LAZY:
        return getattr(import_with_keras(_LAZY[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    """What a terminal completes: the public names, those that are not imported yet included."""
    own = (name for name in globals() if name.startswith("__"))
    return sorted({*__all__, "__version__", *own})
