"""The last proof that a fast way is right: some of its bytes beside those that h5py gives."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import NamedTuple

import h5py
import numpy as np

from prefetcher.errors import CorruptError


class Probe(NamedTuple):
    """A part of a dataset that a fast way can read for comparison."""

    where: tuple[slice, ...]
    """The part."""
    read: Callable[[], bytes]
    """Reads its bytes in the fast way."""
    hdf5_survives: bool = True
    """Whether HDF5 answers damaged bytes there with an error. Plugin filters may crash instead."""


def agrees(dataset: h5py.Dataset, probes: Iterable[Probe]) -> bool:
    """Whether the fast way gives the bytes that h5py gives, wherever h5py gives any."""
    return all(_same(dataset, probe) for probe in probes)


def _same(dataset: h5py.Dataset, probe: Probe) -> bool:
    found = None
    with suppress(CorruptError):
        found = probe.read()
    if found is None and not probe.hdf5_survives:
        return True
    try:
        expected = np.asarray(dataset[probe.where]).tobytes()
    except (OSError, RuntimeError, ValueError):
        # Damaged: whoever wants these rows is told by the fast way, which knows their offset.
        return True
    return found == expected
