"""Which leaves are inputs and which are targets: a guess by names, weights and layouts. Pure."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NamedTuple

from prefetcher.cli.leaves import Leaf

_TARGETS = (
    "y", "angle", "label", "target", "class", "steering", "action", "output", "reconstruction",
    "mask",
)  # fmt: skip
"""What the names of targets contain, likeliest first; anything else is told by its size."""

_AXES = (
    "axis0", "axis1", "date", "dates", "datetime", "frame_index", "id", "ids", "idx", "index",
    "indexes", "indices", "level_0", "time", "times", "timestamp", "timestamps", "_index",
)  # fmt: skip
"""Names of what only says which row is which: no input, and no target."""

_CELLS = ("cell_type", "celltype", "label", "annotation", "class", "type", "cluster", "leiden")
"""What the names of AnnData's columns of classes contain, likeliest first."""

_BATCHES = ("batch", "donor", "patient", "sample", "replicate", "plate", "lane")
"""The same of columns that say where a cell is from: the last that anybody predicts."""

_CODES = re.compile(r"obs/(?P<column>[^/]+)/codes")
_ACTIONS = ("action", "actions")
_WORDS = re.compile(r"[a-z]+")


class Roles(NamedTuple):
    """Inputs, at least one, and the target, if there is one."""

    x: tuple[Leaf, ...]
    y: Leaf | None


def guessed(leaves: Sequence[Leaf]) -> Roles | None:
    """What looks like inputs and a target; None where nothing would train.

    Layouts that are known go by their names. Else the heaviest rows are the inputs, unless they are
    called like a target, and the target is what is called so or is light, of as many rows and in
    the same group.
    """
    usable = [leaf for leaf in leaves if leaf.own not in _AXES]
    return _demonstrations(usable) or _cells(usable) or _heaviest(usable)


def _demonstrations(leaves: Sequence[Leaf]) -> Roles | None:
    """Observations and the actions beside them, as robots and agents record them."""
    for action in leaves:
        if action.own in _ACTIONS and not action.is_complex:
            seen = tuple(
                leaf
                for leaf in _beside(action, leaves)
                if leaf.is_observation and not leaf.is_complex
            )
            if seen:
                return Roles(seen, action)
    return None


def _cells(leaves: Sequence[Leaf]) -> Roles | None:
    """The matrix of AnnData, and the codes of a column of its observations."""
    x = next((leaf for leaf in leaves if leaf.name == "X"), None)
    if x is None or not any(leaf.name.startswith("obs/") for leaf in leaves):
        return None
    codes = [
        leaf
        for leaf in leaves
        if _CODES.fullmatch(leaf.name) and leaf.dataset.rows == x.dataset.rows
    ]
    return Roles((x,), min(codes, key=_unlikeliness_of_cells, default=None))


def _unlikeliness_of_cells(codes: Leaf) -> int:
    found = _CODES.fullmatch(codes.name)
    column = found["column"].lower() if found else ""
    if any(word in column for word in _BATCHES):
        return len(_CELLS) + 1
    return _rank(column, _CELLS)


def _heaviest(leaves: Sequence[Leaf]) -> Roles | None:
    weights: dict[str, int] = {}
    for leaf in leaves:
        weights[leaf.dataset.name] = weights.get(leaf.dataset.name, 0) + leaf.nbytes

    def weight(leaf: Leaf) -> tuple[bool, bool, int, int]:
        # A single row beside others is a mean, or the like.
        rows = leaf.dataset.rows
        return rows > 1, not leaf.is_complex, weights[leaf.dataset.name], rows

    if not leaves:
        return None
    x = max(leaves, key=weight)
    if _is_target(x):
        x = max(
            (leaf for leaf in _beside(x, leaves) if not _is_target(leaf)), key=weight, default=x
        )
    if x.field:
        return _of_records(x, leaves)
    lighter = [leaf for leaf in _beside(x, leaves) if _is_target(leaf) or leaf.nbytes < x.nbytes]
    return Roles((x,), _likeliest(lighter))


def _of_records(one: Leaf, leaves: Sequence[Leaf]) -> Roles:
    """All fields of a table but one, which is called like a target or is a flag."""
    fields = [leaf for leaf in leaves if leaf.dataset is one.dataset]
    beside = [leaf for leaf in _beside(one, leaves) if leaf.dataset is not one.dataset]
    y = (
        _likeliest([leaf for leaf in (*fields, *beside) if _is_target(leaf)])
        or next((leaf for leaf in reversed(fields) if leaf.is_byte), None)
        or _likeliest([leaf for leaf in beside if leaf.nbytes < one.nbytes])
    )
    x = tuple(leaf for leaf in fields if leaf is not y)
    return Roles(x, y) if x else Roles((one,), None)


def _beside(one: Leaf, leaves: Sequence[Leaf]) -> list[Leaf]:
    """The others with as many rows, in the same group."""
    return [
        leaf
        for leaf in leaves
        if leaf is not one and leaf.dataset.rows == one.dataset.rows and leaf.family == one.family
    ]


def _likeliest(targets: Sequence[Leaf]) -> Leaf | None:
    numbers = [leaf for leaf in targets if not leaf.is_complex]
    return min(numbers, key=lambda leaf: (_rank_of_target(leaf), leaf.nbytes), default=None)


def _rank_of_target(leaf: Leaf) -> int:
    return 0 if leaf.own == "y" else _rank(leaf.own, _TARGETS[1:]) + 1


def _rank(name: str, words: Sequence[str]) -> int:
    return next((rank for rank, word in enumerate(words) if word in name), len(words))


def _is_target(leaf: Leaf) -> bool:
    """Whether a word of its name is that of a target: "class_ids" and "masks", not "masked"."""
    own, first, *others = leaf.own, *_TARGETS
    every = {ending for word in others for ending in (word, f"{word}s", f"{word}es")}
    return own == first or not every.isdisjoint(_WORDS.findall(own))
