"""The last proof that a fast way is right: some of its bytes beside those that h5py gives.

It is made once for a file, and kept: to open the file again is then one call of the system.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple, Protocol, TypeVar

import h5py
import numpy as np

from prefetcher.errors import CorruptError
from prefetcher.hdf5.access import Access
from prefetcher.hdf5.faults import RAISED, system_error
from prefetcher.hdf5.places import Places
from prefetcher.order.runs import Run
from prefetcher.storage.protocol import Identity, Range

MOST_PROVED = 32 << 20
"""Room for 20,000 small files, or for the storage chunks of a file of terabytes."""
PROVED_BYTES = 400
"""Of what is kept for a file beside its ways: its tables, roughly."""


_SMALL_WAY = 400  # bytes
_MOST_ALIKE = 1000
_Known = TypeVar("_Known")


class Probe(NamedTuple):
    """A part of a dataset that a fast way can read for comparison."""

    where: tuple[slice, ...]
    """The part."""
    read: Callable[[], bytes]
    """Reads its bytes in the fast way."""


class FastWay(Protocol):
    """A way that does without HDF5: it is proved once, and stays when the file is closed."""

    @property
    def scratch_bytes(self) -> int:
        """The most memory, in bytes, that one reading thread needs for it."""

    @property
    def kept_bytes(self) -> int:
        """Memory that it takes itself, roughly."""

    def ranges(self, runs: Sequence[Run]) -> list[Range]:
        """Where in the file the bytes of these runs of rows lie."""

    def read(self, access: Access, runs: Sequence[Run], places: Places) -> None:
        """Reads runs of rows to the next places."""

    def probes(self, access: Access) -> Iterable[Probe]:
        """Parts of the dataset to compare with h5py."""


Proven = dict[str, "FastWay | None"]
"""What was proved of a file, by the names of its datasets; None for what h5py has to read."""


class Proofs:
    """What was proved of the files of one data set, so that no file is proved twice.

    Holds for as long as the files are the same, whoever opens them. When it holds too much, what
    was proved first is forgotten, and is proved again when it is needed. Any thread may ask.
    """

    def __init__(self, most_bytes: int = MOST_PROVED) -> None:
        self._most_bytes = most_bytes
        self._lock = threading.RLock()
        self._found: dict[int, Proven] = {}
        self._bytes = 0
        self._pinned: dict[int, Identity] = {}
        self._ways: dict[FastWay, FastWay] = {}
        self._alike: dict[tuple[object, ...], Any] = {}

    def __len__(self) -> int:
        """Files of which something is known."""
        return len(self._found)

    def pinned(self, file: int) -> Identity | None:
        """What tells that file apart, where its description did not know all of it."""
        return self._pinned.get(file)

    def pin(self, file: int, identity: Identity) -> Identity:
        """Notes what tells a file apart, as it was when it was first opened; gives what holds."""
        return self._pinned.setdefault(file, identity)

    def find(self, file: int) -> Proven:
        """What is known of the file of that number, by name; not to be changed."""
        return self._found.get(file, {})

    def keep(self, file: int, proven: Proven) -> None:
        """Adds what was proved of a file."""
        with self._lock:
            known = self._found.pop(file, {})
            self._found[file] = self._shared(known | proven)
            self._bytes += 0 if known else PROVED_BYTES
            again = {name: known[name] for name in known.keys() & proven.keys()}
            self._bytes += _size(proven) - _size(again)
            while self._bytes > self._most_bytes and len(self._found) > 1:
                self._bytes -= PROVED_BYTES + _size(self._found.pop(next(iter(self._found))))

    def alike(self, known: dict[str, _Known]) -> dict[str, _Known]:
        """The same, or what another file gave that knows the very same: not to be changed.

        Most files of a data set are laid out alike, and there may be very many.
        """
        key = tuple((name, id(value)) for name, value in known.items())
        if len(self._alike) < _MOST_ALIKE:
            known = self._alike.setdefault(key, known)
        else:
            known = self._alike.get(key, known)
        return known

    def _shared(self, proven: Proven) -> Proven:
        """As `alike`, where that keeps no large way that was forgotten."""
        if any(way is not None and way.kept_bytes > _SMALL_WAY for way in proven.values()):
            return proven
        if len(self._ways) < _MOST_ALIKE:
            return self.alike({name: way and self._ways.setdefault(way, way)
                               for name, way in proven.items()})  # fmt: skip
        return proven


def _size(proven: Proven) -> int:
    return sum(way.kept_bytes for way in proven.values() if way is not None)


def agrees(
    dataset: h5py.Dataset, probes: Iterable[Probe], compared: Callable[[bytes], bytes] = bytes
) -> bool:
    """Whether the fast way gives the bytes that h5py gives, wherever both give any.

    Args:
        dataset: As h5py has it open.
        probes: What the fast way reads.
        compared: Takes out of the bytes what may differ.

    Damage that the fast way sees is no reason to leave it, whatever h5py says of it: whoever wants
    those rows is told, and HDF5 never sees bytes that could crash it or fill the memory.

    Raises:
        OSError: The system could not read, which says nothing about the way.
    """
    return all(_same(dataset, probe, compared) for probe in probes)


def _same(dataset: h5py.Dataset, probe: Probe, compared: Callable[[bytes], bytes]) -> bool:
    try:
        found = probe.read()
    except CorruptError:
        return True
    try:
        expected = np.asarray(dataset[probe.where]).tobytes()
    except RAISED as error:
        if system_error(error):
            raise
        return True  # the fast way could read what HDF5 cannot
    return compared(found) == compared(expected)
