"""What a way of reading needs of an open file. The way itself stays when the file is closed."""

from __future__ import annotations

from typing import NamedTuple

from prefetcher.hdf5.scratch import Scratch
from prefetcher.storage.protocol import StoredBytes


class Access(NamedTuple):
    """The file's bytes, and memory to work in."""

    stored: StoredBytes
    scratch: Scratch
