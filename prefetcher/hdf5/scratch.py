"""Memory that a reading thread keeps from one read to the next, whatever file it reads."""

from __future__ import annotations

import threading

import numpy as np
from numpy.typing import NDArray

Bytes = NDArray[np.uint8]


class Scratch(threading.local):
    """A few pieces of memory for each thread, as large as the largest that was asked for.

    One object serves all files of a data set, so what a thread holds does not grow with their
    number. It goes back when the thread ends, or with this object.
    """

    def __init__(self) -> None:
        self._pieces: dict[str, Bytes] = {}

    def piece(self, use: str, nbytes: int) -> Bytes:
        """Memory for this use, uint8 (nbytes,); it holds anything, and is overwritten later."""
        piece = self._pieces.get(use)
        if piece is None or len(piece) < nbytes:
            piece = self._pieces[use] = np.empty(nbytes, np.uint8)
        return piece[:nbytes]
