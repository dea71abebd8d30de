"""The rows that are samples, as a range or as an array, looked at alike. Pure."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

Samples = range | NDArray[np.int64]
"""The file row of each sample, in the order the user named them."""

_AT_ONCE = 1 << 20  # samples that are looked at together, so that no look takes their memory again


def rows_at(samples: Samples, numbers: NDArray[np.int64]) -> NDArray[np.int64]:
    """File rows of the samples with these numbers."""
    if isinstance(samples, range):
        return samples.start + numbers * samples.step
    return samples[numbers]


def first_from(samples: Samples, rows: NDArray[np.int64]) -> NDArray[np.int64]:
    """Of ascending samples, the number of the first that is at each row or behind it."""
    if isinstance(samples, range):
        numbers = -((samples.start - rows) // samples.step)
        return np.clip(numbers, 0, len(samples))
    return np.searchsorted(samples, rows)


def is_ascending(samples: Samples) -> bool:
    """Whether no sample's row is below that of the one before it."""
    if isinstance(samples, range):
        return samples.step > 0 or len(samples) < 2
    return all((piece[1:] >= piece[:-1]).all() for piece in _pieces(samples))


def has_copies(samples: Samples) -> bool:
    """Whether a row comes more than once among ascending samples."""
    if isinstance(samples, range):
        return False
    return any((piece[1:] == piece[:-1]).any() for piece in _pieces(samples))


def storage_chunks_of(samples: NDArray[np.int64], align: int) -> int:
    """How many storage chunks of `align` rows hold these samples, in any order; there are some.

    Takes a byte for each storage chunk of the file, and the memory of the samples for a moment.
    """
    numbers = samples // align
    seen = np.zeros(int(numbers.max()) + 1, np.bool_)
    seen[numbers] = True
    return int(np.count_nonzero(seen))


def even_samples(samples: Samples, align: int) -> int:
    """The fewest samples whose multiples cut no storage chunk, once the first begins at one's edge.

    1 where each storage chunk holds one sample at most, and where the samples lie unevenly, so that
    there is no such number.
    """
    if not isinstance(samples, range) or abs(samples.step) >= align:
        return 1
    return align // math.gcd(align, samples.step)


def _pieces(samples: NDArray[np.int64]) -> Iterator[NDArray[np.int64]]:
    """The samples piece by piece; each begins with the last of the piece before."""
    for start in range(0, len(samples), _AT_ONCE):
        yield samples[max(0, start - 1) : start + _AT_ONCE]
