"""Every error this package raises. Each is also the builtin that a caller would expect.

PrefetchError
├── SettingsError        ValueError          settings that cannot work, with what to write instead
├── ClosedError          RuntimeError        you asked a sequence that was closed
├── BackendError         ImportError         Keras is to run on a backend that is not installed
├── ProcessError         RuntimeError        a sequence was pickled, or used in another process; or
│                                            another process of a training failed
├── StateError           ValueError          a saved state that does not fit, or is damaged
├── TransformError       RuntimeError        the user's transform raised, or gave a wrong batch
├── FileError            OSError             the file cannot be used
│   ├── FileMissingError FileNotFoundError   there is no such file
│   ├── NotHDF5Error                         not HDF5, or cut short
│   ├── FileBusyError    BlockingIOError     another process has it open for writing
│   ├── FileChangedError                     it grew or was rewritten since it was described
│   ├── OpenFilesError                       the process may not open so many files (ulimit -n)
│   └── UnsafeFileError  PermissionError     it points outside itself (links, external storage)
├── DatasetError         ValueError          the datasets do not fit together or cannot be batched
│   └── NoDatasetError   KeyError            no dataset of that name
├── RowsError            IndexError          rows out of range
└── ReadError            OSError             the system could not read: file, dataset, rows
    └── CorruptError                         a checksum or a decoder says the bytes are wrong

A message says what was expected, what was found and what to do.
"""


class PrefetchError(Exception):
    """The root of every error of this package."""


class SettingsError(PrefetchError, ValueError):
    """Settings that cannot work; the message says what to write instead."""


class ClosedError(PrefetchError, RuntimeError):
    """The sequence was closed by its owner; make a new one to read on."""


class BackendError(PrefetchError, ImportError):
    """Keras is to run on a backend that is not installed; the message says which one is."""


class ProcessError(PrefetchError, RuntimeError):
    """A sequence was pickled, or used in another process than its own; threads do not travel.

    Or another of the processes that train as one failed in a way that has no class here.
    """


class StateError(PrefetchError, ValueError):
    """A saved state belongs to another file, other settings or another model, or is damaged."""


class TransformError(PrefetchError, RuntimeError):
    """The user's transform raised (see ``__cause__``) or returned a batch that does not fit."""


class FileError(PrefetchError, OSError):
    """The file cannot be used."""


class FileMissingError(FileError, FileNotFoundError):
    """There is no file at that path."""


class NotHDF5Error(FileError):
    """The file is not HDF5, or it was cut short."""


class FileBusyError(FileError, BlockingIOError):
    """Another process holds the file open for writing."""


class FileChangedError(FileError):
    """The file grew or was rewritten after it was described: its rows may no longer lie there."""


class OpenFilesError(FileError):
    """More files would be open than the system lets this process have (`ulimit -n`)."""


class UnsafeFileError(FileError, PermissionError):
    """The file points outside itself, so reading it would read other files of this machine."""


class DatasetError(PrefetchError, ValueError):
    """The datasets do not fit together, or one cannot be cut into batches."""


class NoDatasetError(DatasetError, KeyError):
    """The file has no dataset of that name; the message lists those it has."""

    # KeyError would show the message in quotes, with its line breaks escaped.
    __str__ = Exception.__str__


class RowsError(PrefetchError, IndexError):
    """Rows were asked for that the datasets do not have."""


class ReadError(PrefetchError, OSError):
    """The system could not read, also not after the retries; the message names what and where."""


class CorruptError(ReadError):
    """The stored bytes are wrong: a checksum does not match or a storage chunk does not decode."""
