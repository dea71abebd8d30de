"""What callbacks count while they watch a training: their plain attributes that changed.

Keras has no way to save a callback. What `EarlyStopping`, `ReduceLROnPlateau` and their like need
to go on is in attributes that are numbers, arrays, or lists and dicts of them. Those that a
constructor was given are settings, not counters, and stay as the user writes them now. So do
texts: they may be paths, and a backup may come from somebody else.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from prefetcher.errors import StateError
from prefetcher.resume.store import Arrays

Frozen = Any
"""A value as JSON holds it, in which {"array": name} stands for an array of that name."""

_NOT_PLAIN = "OSUMm"  # objects, texts, dates


class Counters:
    """What callbacks have counted since this was made, at the beginning of training.

    Args:
        callbacks: Objects of any kind; several of one class are told apart by their order.
    """

    def __init__(self, callbacks: Sequence[object]) -> None:
        self._callbacks = dict(_named(callbacks))
        self._before = {name: _attributes(name, each) for name, each in self._callbacks.items()}

    def freeze(self) -> tuple[dict[str, Frozen], Arrays]:
        """The attributes that differ from what they were at the beginning, by callback."""
        frozen: dict[str, Frozen] = {}
        kept: dict[str, Any] = {}
        for name, callback in self._callbacks.items():
            changed = {
                attribute: (value, arrays)
                for attribute, (value, arrays) in _attributes(name, callback).items()
                if not _same((value, arrays), self._before[name].get(attribute))
            }
            frozen[name] = {attribute: value for attribute, (value, _) in changed.items()}
            for _, arrays in changed.values():
                kept |= arrays
        return frozen, kept

    def thaw(self, frozen: Mapping[str, Frozen], arrays: Arrays) -> None:
        """Puts back what `freeze` gave, into what the callbacks themselves had as counters.

        A callback that is gone is passed over, and so is an attribute that it did not have at the
        beginning, or has as a setting.

        Raises:
            StateError: It was not made by `freeze`.
        """
        for name in frozen.keys() & self._callbacks.keys():
            for attribute in frozen[name].keys() & self._before[name].keys():
                value = thaw(frozen[name][attribute], arrays)
                setattr(self._callbacks[name], attribute, value)


def freeze(value: Any, name: str, arrays: dict[str, Any]) -> Frozen:
    """A copy of a plain value for JSON; its arrays are copied into `arrays`, under `name`.

    Raises:
        TypeError: The value holds something that is not plain.
    """
    if value is None or isinstance(value, bool | int | float):
        return value
    if isinstance(value, np.ndarray | np.generic) and value.dtype.kind not in _NOT_PLAIN:
        arrays[name] = np.array(value)
        return {"array": name}
    if isinstance(value, list | tuple):
        return [freeze(item, f"{name}.{at}", arrays) for at, item in enumerate(value)]
    if isinstance(value, dict) and all(isinstance(key, str) for key in value):
        items = {key: freeze(item, f"{name}.{key}", arrays) for key, item in value.items()}
        return {"dict": items}
    raise TypeError(f"{name} is {type(value).__name__}, which is not plain")


def thaw(frozen: Frozen, arrays: Arrays) -> Any:
    """The reverse of `freeze`; tuples come back as lists.

    Raises:
        StateError: It was not made by `freeze`.
    """
    if frozen is None or isinstance(frozen, bool | int | float):
        return frozen
    if isinstance(frozen, list):
        return [thaw(item, arrays) for item in frozen]
    match frozen:
        case {"array": str(name)} if name in arrays and arrays[name].dtype.kind not in _NOT_PLAIN:
            array = arrays[name]
            return array.copy() if array.ndim else array[()]
        case {"dict": dict(items)}:
            return {key: thaw(item, arrays) for key, item in items.items()}
    raise StateError(f"the backup holds {frozen!r:.40}, where a number or an array should be")


def _named(callbacks: Sequence[object]) -> Iterator[tuple[str, object]]:
    """Yields each with its class and its number among those of its class."""
    count: dict[str, int] = {}
    for callback in callbacks:
        kind = type(callback).__name__
        count[kind] = count.get(kind, -1) + 1
        yield f"{kind}.{count[kind]}", callback


def _attributes(name: str, callback: object) -> dict[str, tuple[Frozen, Arrays]]:
    """The plain attributes of a callback that its constructor was not given."""
    found: dict[str, tuple[Frozen, Arrays]] = {}
    settings = _settings(callback)
    for attribute, value in vars(callback).items():
        arrays: dict[str, Any] = {}
        if attribute not in settings:
            try:
                found[attribute] = freeze(value, f"counters/{name}.{attribute}", arrays), arrays
            except TypeError:
                continue  # a model, a function, an open file: nothing that could be put back
    return found


def _settings(callback: object) -> set[str]:
    """Names of all constructors' parameters, and what Keras gives every callback."""
    constructors = (vars(base).get("__init__") for base in type(callback).__mro__)
    parameters = (inspect.signature(init).parameters for init in constructors if callable(init))
    return {"params", "model", "_model"}.union(*parameters)


def _same(one: tuple[Frozen, Arrays], other: tuple[Frozen, Arrays] | None) -> bool:
    if other is None or one[0] != other[0] or one[1].keys() != other[1].keys():
        return False
    return all(np.array_equal(array, other[1][name]) for name, array in one[1].items())
