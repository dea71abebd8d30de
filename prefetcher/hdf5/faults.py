"""What h5py raises, told apart: the system's errors, which may pass, and damage of the file."""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from prefetcher.errors import NotHDF5Error, PrefetchError

RAISED = (OSError, RuntimeError, LookupError, ValueError, TypeError, MemoryError)
"""h5py has no error class of its own: the builtin depends on where HDF5 noticed the fault."""

_NUMBER = re.compile(r"errno = (\d+)")
_NONSENSE = {errno.EINVAL, errno.EFAULT, errno.EFBIG, errno.EOVERFLOW}
"""What the system says to offsets and sizes that no file has: they come from damaged bytes."""


def system_error(error: Exception) -> OSError | None:
    """The system's error behind what h5py raised, with its errno; None where HDF5 saw damage.

    Only reads of rows and opening a file give an `errno`. Whatever else reads metadata raises
    KeyError or RuntimeError, and the number stands in the text alone.
    """
    number = error.errno if isinstance(error, OSError) else None
    if number is None and (found := _NUMBER.search(str(error))):
        number = int(found[1])
    if not number or number in _NONSENSE:
        return None
    return OSError(number, os.strerror(number))


@contextmanager
def damage_reported(path: Path) -> Iterator[None]:
    """Turns what h5py raises over damaged metadata into `NotHDF5Error`.

    Raises:
        NotHDF5Error: HDF5 does not understand the file's bytes.
        OSError: The system could not read them: an error with its errno, none of our own.
    """
    try:
        yield
    except PrefetchError:
        raise
    except RAISED as error:
        damage = f"{path.name} is damaged: copy or write it again ({error})"
        raise system_error(error) or NotHDF5Error(damage) from error
