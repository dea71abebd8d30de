"""Records whose every number says which row it is of."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

N = 60


def fill(rows: NDArray[Any], start: int = 0) -> NDArray[Any]:
    """Gives each number of record i another value that depends on i."""
    for number, name in enumerate(rows.dtype.names or ()):
        kind = rows.dtype[name]
        if kind.names:
            fill(rows[name], start + 10 * number)
        elif name == "id":
            rows[name] = np.arange(len(rows))
        elif kind.base.kind == "S":
            rows[name] = [f"r{row}".encode() for row in range(len(rows))]
        else:
            base = np.arange(len(rows)).reshape(-1, *[1] * len(kind.shape))
            more = np.arange(np.prod(kind.shape, dtype=int)).reshape(kind.shape)
            rows[name] = base + more + start + number
    return rows
