"""The last proof that a fast way is right: some of its bytes beside those that h5py gives."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import NamedTuple

import h5py
import numpy as np

from prefetcher.errors import CorruptError
from prefetcher.hdf5.faults import RAISED, system_error


class Probe(NamedTuple):
    """A part of a dataset that a fast way can read for comparison."""

    where: tuple[slice, ...]
    """The part."""
    read: Callable[[], bytes]
    """Reads its bytes in the fast way."""


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
