"""What a user of a sequence should know and would not see: each said once."""

from __future__ import annotations

import logging
import warnings
from typing import Final

from prefetcher.tickets.callers import user_stacklevel

_logger = logging.getLogger("prefetcher")

_MANY_REPLAYS: Final = 100  # a TensorFlow fit makes 2 of its own


class Remarks:
    """The remarks on one sequence.

    Args:
        where: Its file and datasets, for messages.
        shuffle: Whether it shuffles.
    """

    def __init__(self, where: str, *, shuffle: bool) -> None:
        self._where = where
        self._shuffle = shuffle
        self._made: set[str] = set()

    def on_predict(self) -> None:
        """Keras predicts: warns if the results will not be in the order of the file."""
        if self._shuffle and self._first("predict"):
            warnings.warn(
                f"predict over {self._where} with shuffle=True: row i of the result is not sample "
                "i of the file. Make a PrefetchSequence with shuffle=False for it",
                UserWarning,
                stacklevel=user_stacklevel(),
            )

    def on_replays(self, replays: int, batches: int) -> None:
        """Warns if many batches are read on their own, in the thread that asks for them.

        Args:
            replays: Batches that were read so.
            batches: All that were handed out.
        """
        if replays < _MANY_REPLAYS or 4 * replays < batches or not self._first("replays"):
            return
        if self._shuffle:
            _logger.warning(
                "batches of %s are asked for again, or by several iterators that take turns, and "
                "each of them is read on its own: make a PrefetchSequence for each iterator",
                self._where,
            )
        else:
            _logger.warning(
                "batches of %s are asked for in random order but kept in file order, so each is "
                "read on its own: write fit(..., shuffle=False), or shuffle=True here",
                self._where,
            )

    def _first(self, remark: str) -> bool:
        new = remark not in self._made
        self._made.add(remark)
        return new
