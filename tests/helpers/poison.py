"""Memory whose content nobody may rely on, filled with what no test expects."""

from __future__ import annotations

import sys
from typing import Any

import numpy as np
import pytest

from prefetcher.pipeline import buffers

PATTERN = 0xA5


def poison_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fills all that the package gets uninitialised: `np.empty`, and blocks of its own pool.

    Those are mapped, so that each is zeros when it is new.
    """
    empty, block = np.empty, buffers.Pool._block

    def poisoned_empty(*args: Any, **options: Any) -> Any:
        array = empty(*args, **options)
        caller = str(sys._getframe(1).f_globals.get("__name__"))
        if caller.startswith("prefetcher.") and array.nbytes and not array.dtype.hasobject:
            array.reshape(-1).view(np.uint8).fill(PATTERN)
        return array

    def poisoned_block(pool: buffers.Pool) -> buffers._Block:
        taken = block(pool)
        taken.memory.fill(PATTERN)
        return taken

    monkeypatch.setattr(np, "empty", poisoned_empty)
    monkeypatch.setattr(buffers.Pool, "_block", poisoned_block)
