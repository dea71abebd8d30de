"""From the numbers of samples to rows of a dataset, over all files. Pure arithmetic."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate

import numpy as np
from numpy.typing import NDArray

Numbers = NDArray[np.int64]


class RowMap:
    """Where each sample stands in one dataset. Rows are counted over all files.

    Args:
        rows: Rows of the dataset in each file.
        samples: Samples in each file.
        first: The first sample's place in each file, in strides from its first row.
        stride: Rows from one sample to the next.
    """

    def __init__(
        self, rows: Sequence[int], samples: Sequence[int], first: Sequence[int], stride: int
    ) -> None:
        self._stride = stride
        self.ends: Numbers = np.cumsum(samples)
        """One past the last sample of each file."""
        starts = np.fromiter(accumulate(rows, initial=0), np.int64, len(rows) + 1)
        self._low, self._high = starts[:-1], starts[1:]
        before = self.ends - np.asarray(samples)
        self._offset: Numbers = self._low + (np.asarray(first) - before) * stride
        self.is_identity = stride == 1 and not self._offset.any()
        """Whether sample i stands at row i."""

    def rows(self, numbers: Numbers) -> Numbers:
        """The row at which each sample stands."""
        if self.is_identity:
            return numbers
        return numbers * self._stride + self._offset[self._files(numbers)]

    def bounds(self, numbers: Numbers) -> tuple[Numbers, Numbers]:
        """The first row of each sample's file, and one past its last."""
        files = self._files(numbers)
        return self._low[files], self._high[files]

    def row_of(self, number: int, ahead: int) -> int:
        """The row that lies ahead of where a sample stands, counted over all files.

        Beyond a file's ends it is its first or last row.
        """
        numbers = np.array([number])
        low, high = self.bounds(numbers)
        return int(np.clip(self.rows(numbers) + ahead, low, high - 1)[0])

    def _files(self, numbers: Numbers) -> Numbers:
        files: Numbers
        if len(self.ends) == 1:
            files = np.zeros(len(numbers), np.int64)
        else:
            files = np.searchsorted(self.ends, numbers, side="right")
        return files
