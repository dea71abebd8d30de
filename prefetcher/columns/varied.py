"""Values that are made in another way of each file's rows."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from prefetcher.columns.column import Array

Numbers = NDArray[np.int64]


@dataclass(frozen=True)
class Varied:
    """Makes values of rows as their files want it. Pure; any thread.

    Attributes:
        makes: The ways, each from rows (samples, ...) to values of the same shape and dtype.
        which: The way of each sample, by its number.
    """

    makes: Sequence[Callable[[Array], Array]]
    which: Callable[[Numbers], NDArray[np.intp]]

    def __call__(self, rows: Array, samples: Numbers) -> Array:
        """The values (samples, ...) of rows as they are stored."""
        way = self.which(samples)
        used: list[int] = np.unique(way).tolist()
        if len(used) == 1:
            return self.makes[used[0]](rows)
        places = [np.flatnonzero(way == number) for number in used]
        values = [self.makes[way](rows[at]) for way, at in zip(used, places, strict=True)]
        made = np.empty((len(rows), *values[0].shape[1:]), values[0].dtype)
        for at, some in zip(places, values, strict=True):
            made[at] = some
        return made
