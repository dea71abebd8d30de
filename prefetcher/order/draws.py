"""What a pass hands out before it is shuffled: each sample once, or draws in proportion to weights.

Draws are numbered in the order of their rows, so that blocks of neighbouring draws lie side by side
in the file, whatever the order that the user named the samples in. Pure.

With weights a pass has as many draws as there are samples. The samples lie on a line, each as long
as its weight. The line is cut into as many equal stretches as there are draws, and each draw takes
a place at random in its own stretch. So with `w = n * weight / sum`, a sample is drawn `w` times on
average, and always fewer than two off it; with equal weights each sample comes exactly once. Any
draw is found without those before it, and nothing is kept for a pass.
"""

from __future__ import annotations

from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from prefetcher.order.permutation import key_of, uniform
from prefetcher.order.samples import Samples, first_from, has_copies, is_ascending, rows_at

Numbers = NDArray[np.int64]

_KEY = 0x4452_4157  # "DRAW": other numbers than those that shuffle


class Copies(NamedTuple):
    """How often a row comes among some draws, for several stretches of draws."""

    mean: NDArray[np.float64]
    most: Numbers


class Draws(Protocol):
    """The draws of each pass, in ascending order of their rows.

    Attributes:
        count: Draws in a pass.
        copies: Whether a row may be drawn more than once in a pass.
    """

    count: int
    copies: bool

    def rows(self, key: np.uint64, draws: Numbers) -> Numbers:
        """File rows of these draws in the pass of that key."""

    def first_from(self, key: np.uint64, rows: Numbers) -> Numbers:
        """The first draw at each row or behind it, `count` where there is none."""

    def copies_in(self, key: np.uint64, starts: Numbers) -> Copies:
        """How often rows come among the draws from each of `starts` to the next.

        Args:
            key: Of the pass.
            starts: Ascending, no two alike; each is the first draw of its row.
        """


class EachOnce:
    """Each sample once, repeats of a row included, in every pass alike."""

    def __init__(self, samples: Samples) -> None:
        self._samples = _ascending(samples)
        self.count = len(samples)
        self.copies = has_copies(self._samples)

    def rows(self, _key: np.uint64, draws: Numbers) -> Numbers:
        """As `Draws`; the pass does not matter."""
        return rows_at(self._samples, draws)

    def first_from(self, _key: np.uint64, rows: Numbers) -> Numbers:
        """As `Draws`."""
        return first_from(self._samples, rows)

    def copies_in(self, _key: np.uint64, starts: Numbers) -> Copies:
        """As `Draws`."""
        if isinstance(self._samples, range) or not self.copies:
            return Copies(np.ones(len(starts)), np.ones_like(starts))
        firsts = np.flatnonzero(np.diff(self._samples, prepend=-1))
        return _copies(np.diff(firsts, append=self.count), np.searchsorted(firsts, starts))


class Weighted:
    """Samples in proportion to their weights, with copies.

    Args:
        samples: At least one.
        weights: One for each sample, finite, none negative, one positive at least.
    """

    copies = True

    def __init__(self, samples: Samples, weights: NDArray[np.float64]) -> None:
        self.count = len(samples)
        weights = weights / weights.max()  # so that no sum is out of range
        if not is_ascending(samples):
            rows = rows_at(samples, np.arange(len(samples)))
            turn = np.argsort(rows, kind="stable")
            samples, weights = rows[turn], weights[turn]
        drawn = np.flatnonzero(weights)
        if len(drawn) < self.count:
            samples, weights = rows_at(samples, drawn), weights[drawn]
        self._samples = samples
        self._ends = np.cumsum(weights)  # one by one in this order: the same on every machine
        self._stretch = float(self._ends[-1]) / self.count

    def rows(self, key: np.uint64, draws: Numbers) -> Numbers:
        """As `Draws`."""
        return rows_at(self._samples, self._numbers(key, draws))

    def first_from(self, key: np.uint64, rows: Numbers) -> Numbers:
        """As `Draws`."""
        numbers = first_from(self._samples, rows)
        begins = np.where(numbers > 0, self._ends[np.maximum(numbers, 1) - 1], 0) / self._stretch
        draws = np.minimum(begins.astype(np.int64), self.count - 1)
        return draws + (self._places(key, draws) < begins)

    def copies_in(self, key: np.uint64, starts: Numbers) -> Copies:
        """As `Draws`: the mean that is expected, and the most that is possible."""
        shares = np.diff(self._ends, prepend=0) / self._stretch
        mean, most = _copies(shares, self._numbers(key, starts))
        return Copies(mean, np.ceil(most).astype(np.int64) + 1)

    def _numbers(self, key: np.uint64, draws: Numbers) -> Numbers:
        """Which of the samples that can be drawn these draws have."""
        at = self._places(key, draws) * self._stretch
        return np.minimum(np.searchsorted(self._ends, at, side="right"), len(self._ends) - 1)

    def _places(self, key: np.uint64, draws: Numbers) -> NDArray[np.float64]:
        """Where on the line the draws take their samples, in stretches."""
        places = draws + uniform(draws, key_of(int(key), _KEY))
        below = np.nextafter(draws + 1.0, 0)  # rounding may reach the next stretch
        capped: NDArray[np.float64] = np.minimum(places, below)
        return capped


def draws_of(samples: Samples, weights: NDArray[np.float64] | None) -> Draws:
    """The draws of these samples, each once where there are no weights."""
    return EachOnce(samples) if weights is None else Weighted(samples, weights)


def _copies(of_row: NDArray[Any], firsts: Numbers) -> Copies:
    """What is known of each row, for the stretches of rows that begin at `firsts`."""
    rows = np.diff(firsts, append=len(of_row))
    return Copies(np.add.reduceat(of_row, firsts) / rows, np.maximum.reduceat(of_row, firsts))


def _ascending(samples: Samples) -> Samples:
    """The same samples by row; their own array where they are so already."""
    if is_ascending(samples):
        return samples
    return samples[::-1] if isinstance(samples, range) else np.sort(samples)
