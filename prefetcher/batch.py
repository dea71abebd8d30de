"""What a batch looks like: from rows of datasets to the structure that Keras gets.

Pure functions of their input: they run on any batcher, in any number at once.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Collection, Iterator, Mapping
from functools import partial
from types import GeneratorType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from prefetcher.arguments import Names, Transform
from prefetcher.clock import State, doing
from prefetcher.columns.column import Column, RowValueError, View
from prefetcher.columns.memory import InMemory
from prefetcher.columns.varied import Varied
from prefetcher.errors import CorruptError, TransformError
from prefetcher.messages.user_code import definition_of, line_of
from prefetcher.order.plan import Place

Made = tuple[View, Callable[[NDArray[Any]], NDArray[Any]] | Varied]
"""Which rows a value is made of, and how."""
Batch = tuple[Any, ...]
"""(x,), (x, y) or (x, y, sample_weight); each an array, or a tuple or dict of arrays."""


_NOT_NUMBERS = {
    "S": "text",
    "U": "text",
    "O": "objects",
    "V": "bytes without a meaning",
    "M": "times",
    "m": "times",
}


class Recipe:
    """Turns the arrays of one batch into (x, y, ...), the user's transform applied.

    Args:
        parts: x, y and sample weights, as many as there are: names, columns, and arrays.
        values: How the value of each name and column is made.
        transform: The user's function, or None.
        seed: Keys the generator of a transform that has a parameter named `rng`.
        locate: Names a row for a message: of this view, of this sample, which of its rows.
        rank: Of this process, where several share the batches: each has its own dice.
    """

    def __init__(
        self,
        parts: tuple[Names, ...],
        values: Mapping[str | Column, Made],
        transform: Transform | None = None,
        seed: int = 0,
        locate: Callable[[View, int, int], str] | None = None,
        rank: int = 0,
    ) -> None:
        self.parts = parts
        self._locate = locate
        self._values = values
        self._transform = transform
        self._seed = seed
        self._rank = (rank,) if rank else ()  # the first has the dice of a process that is alone
        self._extras = _extras(transform) if transform is not None else frozenset()

    def make(
        self,
        arrays: Mapping[View | InMemory, NDArray[Any]],
        rows: NDArray[np.int64],
        place: Place,
        where: Callable[[], str],
    ) -> Batch:
        """The batch at `place`.

        Args:
            arrays: An array (samples, ...) for each view, and for what is in memory.
            rows: The numbers of the samples, int64 (samples,).
            place: Keys the transform's generator.
            where: Says which rows of which file these are, for an error message.

        Raises:
            CorruptError: No value can be made of a row.
            TransformError: The transform raised, or its result is no batch of these samples.
        """
        batch = tuple(self._pack(part, arrays, rows) for part in self.parts)
        if self._transform is None:
            return batch
        try:
            with doing(State.TRANSFORM):
                changed = self._call(self._transform, batch, rows, place)
        except Exception as error:
            raise TransformError(
                f"transform raised {type(error).__name__}: {error} (at {where()})"
                f"{line_of(error, self._transform)}"
            ) from error
        wrong = self._wrong(changed, len(rows))
        if wrong:
            what, remedy = wrong
            raise TransformError(
                f"transform returned {what} (at {where()}): {remedy}"
                f"{definition_of(self._transform)}"
            )
        return changed if isinstance(changed, tuple) else (changed,)

    def _wrong(self, changed: object, samples: int) -> tuple[str, str] | None:
        """What is wrong with a transform's result, and the remedy; None if it is a batch."""
        if changed is None:
            return "None", "did you forget `return`?"
        if isinstance(changed, GeneratorType):
            return "a generator", "write `return`, not `yield`"
        if isinstance(changed, list):  # Keras would take it for several inputs and no target
            return (
                f"a list of {len(changed)}",
                "return a tuple (x, y), or ([a, b],) for a model with two inputs",
            )
        if isinstance(changed, dict) and {"x", "y"} <= changed.keys() != self._input_names:
            return (
                "a dict with the keys x and y",
                "return a tuple (x, y), or ({...},) for a model with inputs of these names",
            )
        batch = changed if isinstance(changed, tuple) else (changed,)
        if not 1 <= len(batch) <= 3:
            return f"{len(batch)} parts", "return x, (x, y) or (x, y, sample_weight)"
        return next(filter(None, map(partial(_wrong_part, samples), _PARTS, batch)), None)

    @property
    def _input_names(self) -> Collection[str]:
        """The keys of the dict that the model's inputs are, if they are one."""
        return self.parts[0].keys() if isinstance(self.parts[0], dict) else ()

    def _pack(
        self,
        part: Any,
        arrays: Mapping[View | InMemory, NDArray[Any]],
        samples: NDArray[np.int64],
    ) -> Any:
        if isinstance(part, dict):
            return {key: self._pack(each, arrays, samples) for key, each in part.items()}
        if isinstance(part, tuple):
            return tuple(self._pack(each, arrays, samples) for each in part)
        if isinstance(part, InMemory):
            array = arrays[part]
        else:
            view, make = self._values[part]
            try:
                rows = arrays[view]
                array = make(rows, samples) if isinstance(make, Varied) else make(rows)
            except RowValueError as fault:
                at, step = divmod(fault.at, view.span.rows)
                row = self._row(view, int(samples[at]), step)
                raise CorruptError(f"{row} {fault.why}") from fault
        return array if array.dtype.isnative else _native(array)

    def _row(self, view: View, sample: int, step: int) -> str:
        if self._locate is None:
            return f"a row of sample {sample} in {view.dataset}"
        return self._locate(view, sample, step)

    def _call(
        self, transform: Transform, batch: Batch, rows: NDArray[np.int64], place: Place
    ) -> object:
        extras: dict[str, Any] = {}
        if "rng" in self._extras:
            extras["rng"] = np.random.default_rng([self._seed, *place, *self._rank])
        if "rows" in self._extras:
            extras["rows"] = rows
        return transform(*batch, **extras)


def _native(array: NDArray[Any]) -> NDArray[Any]:
    """The same in this machine's byte order: no backend takes another."""
    dtype = array.dtype.newbyteorder("=")
    if not dtype.names:
        return array.astype(dtype)
    records = np.zeros(array.shape, dtype)  # what lies between fields is never written to
    records[...] = array
    return records


def not_numbers(dtype: np.dtype[Any]) -> str:
    """What an array of this dtype holds that Keras takes on no backend; "" where it takes it."""
    if dtype.names or dtype.kind in _NOT_NUMBERS:
        return "records" if dtype.names else _NOT_NUMBERS[dtype.kind]
    widest = np.dtype(complex if dtype.kind == "c" else float).itemsize
    return "numbers of more than 64 bits" if dtype.kind in "fc" and dtype.itemsize > widest else ""


def flatten(structure: Any) -> Iterator[Any]:
    """Yields the leaves of nested tuples, lists and dicts, in order."""
    if isinstance(structure, dict):
        structure = tuple(structure.values())
    if isinstance(structure, tuple | list):
        for item in structure:
            yield from flatten(item)
    else:
        yield structure


def _extras(transform: Transform) -> frozenset[str]:
    """What it wants besides the parts of the batch: parameters of these names."""
    try:
        parameters = inspect.signature(transform).parameters
    except (TypeError, ValueError):  # a builtin may have no signature
        return frozenset()
    return frozenset({"rng", "rows"} & parameters.keys())


_PARTS = ("x", "y", "sample_weight")


def _wrong_part(samples: int, name: str, part: object) -> tuple[str, str] | None:
    leaves = list(flatten(part))
    if not leaves:
        return f"no array in {name}", f"every part holds arrays of {samples} rows, or is left out"
    for leaf in leaves:
        shape = np.shape(leaf)
        if not shape or shape[0] != samples:
            is_array = hasattr(leaf, "shape")
            what = "an array" if is_array else f"a {type(leaf).__name__}"
            remedy = f"every array it returns must have {samples} rows"
            if isinstance(part, list) and not is_array:
                remedy += "; a list stands for several arrays: np.asarray makes one"
            return f"{what} of shape {shape} for {samples} samples", remedy
    return None
