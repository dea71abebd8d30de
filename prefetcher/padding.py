"""A batch filled up with rows of weight 0, so that all processes and devices have as much of it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from prefetcher.batch import Batch, flatten
from prefetcher.order.shard import Filling


def padded(batch: Batch, filling: Filling) -> Batch:
    """The same batch, filled up by rows of its own; targets have a weight for each row.

    What is filled up weighs 0, and the samples so much that the mean over all rows is the mean over
    the samples. Weights that the batch has already are multiplied.

    Args:
        batch: (x,), (x, y) or (x, y, sample_weight).
        filling: Which of its rows are samples of this process, how many rows it shall have, and
            what a sample weighs.
    """
    turn = np.arange(filling.rows) % _rows(batch[0])
    parts = tuple(_each(part, lambda array: _taken(array, turn)) for part in batch)
    if len(parts) == 1:
        return parts
    weight = np.zeros(filling.rows, np.float32)
    weight[: filling.own] = filling.weight
    x, y, *given = parts
    return (x, y, _each(given[0], lambda own: _weighed(own, weight)) if given else weight)


def _taken(array: Any, turn: NDArray[np.int64]) -> Any:
    """The rows `turn` of an array; the array itself where those are its rows."""
    return array if len(turn) == len(array) else np.asarray(array)[turn]


def _weighed(given: Any, weight: NDArray[np.float32]) -> NDArray[Any]:
    """Weights (rows, ...) times those of the rows, floating-point as they are fractions."""
    own = np.asarray(given)
    dtype = own.dtype if own.dtype.kind == "f" else weight.dtype
    return (own * weight.reshape(-1, *[1] * (own.ndim - 1))).astype(dtype)


def _each(part: Any, change: Callable[[Any], Any]) -> Any:
    """The same structure of tuples, lists and dicts with every array changed."""
    if isinstance(part, dict):
        return {key: _each(value, change) for key, value in part.items()}
    if isinstance(part, tuple | list):
        changed = [_each(value, change) for value in part]
        if hasattr(part, "_fields"):  # a named tuple, which takes its values one by one
            return type(part)(*changed)
        return changed if isinstance(part, list) else tuple(changed)
    return change(part)


def _rows(part: Any) -> int:
    """Rows of the arrays of a structure."""
    return len(next(flatten(part)))
