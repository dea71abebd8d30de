"""Which rows go where, and in which order: pure functions of the settings."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from prefetcher.conversion.source import RowNumbers
from prefetcher.errors import DatasetError


class Portion(NamedTuple):
    """The rows of one group of the file, in the order in which they are written."""

    name: str
    """The group: "train"; "" where the file is not split."""
    rows: RowNumbers


def portions(
    rows: RowNumbers,
    strata: NDArray[Any] | None,
    split: Mapping[str, float] | None,
    seed: int,
    *,
    shuffle: bool,
) -> tuple[Portion, ...]:
    """Deals rows out to the groups of a file.

    Args:
        rows: The usable rows of the source, ascending.
        strata: The class of each of them: every group gets its share of every class.
        split: Names and shares of the groups; None for no groups.
        seed: Decides which rows go where, and the shuffled order.
        shuffle: False keeps the order of the source within each group.

    Raises:
        DatasetError: A group would get no row.
    """
    rng = np.random.default_rng(seed)
    dealt = _dealt(rows, strata, split, rng) if split else {"": rows}
    empty = [name for name, part in dealt.items() if not len(part)]
    if empty:
        raise DatasetError(
            f"{len(rows)} rows leave none for {empty[0] or 'the file'}: give more, or other shares"
        )
    return tuple(
        Portion(name, rng.permutation(part) if shuffle else np.sort(part))
        for name, part in dealt.items()
    )


def _dealt(
    rows: RowNumbers,
    strata: NDArray[Any] | None,
    split: Mapping[str, float],
    rng: np.random.Generator,
) -> dict[str, RowNumbers]:
    classes = np.zeros(len(rows), np.int64) if strata is None else strata
    edges = np.cumsum([0.0, *split.values()])
    dealt: dict[str, list[RowNumbers]] = {name: [] for name in split}
    for value in np.unique(classes):
        mixed = rng.permutation(rows[classes == value])
        bounds = _rounded(edges * len(mixed), rng)
        for name, start, stop in zip(split, bounds, bounds[1:], strict=False):
            dealt[name].append(mixed[start:stop])
    return {name: np.concatenate(parts) for name, parts in dealt.items()}


def _rounded(edges: NDArray[np.float64], rng: np.random.Generator) -> list[int]:
    """Whole numbers next to the edges; one draw for all, so that each share is right on average."""
    first, *inner, last = edges.tolist()
    shift = rng.uniform()
    return [round(first), *(int(edge + shift) for edge in inner), round(last)]
