"""Values that are in memory already, such as labels out of a table."""

from __future__ import annotations

from functools import cached_property
from hashlib import sha256
from typing import Any

import numpy as np
from numpy.typing import NDArray

from prefetcher.columns.column import Array
from prefetcher.errors import RowsError, SettingsError


class InMemory:
    """An array with a value for each sample of the data set, or for each that `rows` names.

    Its text has a checksum, so that a saved place in the data knows it again. That, and a batch
    that is asked for again, would be wrong if the array changed. So it is copied, unless nothing
    can write to it, as to a `np.memmap` of mode "r".

    Args:
        array: Shape (samples, ...).
    """

    def __init__(self, array: Array) -> None:
        self.array = array if _is_constant(array) else array.copy()

    @cached_property
    def _checksum(self) -> str:
        # As bytes, because dates have no buffer of their own type.
        content = np.ascontiguousarray(self.array).reshape(-1).view(np.uint8)
        return sha256(content.data).hexdigest()[:16]

    def __repr__(self) -> str:
        return f"array {self.array.dtype} {self.array.shape} {self._checksum}"

    def of_all(self, part: str, samples: range | NDArray[np.int64], length: int) -> Array:
        """The values by sample number, of which only those of `samples` are used.

        Args:
            part: The parameter, for messages.
            samples: The numbers of the samples that are used.
            length: Samples in the data set.

        Raises:
            RowsError: There are neither as many values as samples, nor as many as are used.
        """
        array = self.array
        if len(array) == length:
            return array
        if len(array) != len(samples):
            of_rows = f", or {len(samples)}, one for each that rows= names"
            raise RowsError(
                f"{part} is an array of {len(array)} values: pass {length}, one for each sample of "
                f"the file{of_rows if len(samples) != length else ''}"
            )
        numbers = np.asarray(samples)
        if len(np.unique(numbers)) < len(numbers):
            raise RowsError(
                f"{part} is an array with a value for each of rows=, which names some samples "
                f"twice: pass {length} values, one for each sample of the file"
            )
        every = np.zeros((length, *array.shape[1:]), array.dtype)
        every[numbers] = array
        return every


def check_unmasked(what: str, values: Any, remedy: str) -> None:
    """Refuses a masked array, whose mask nothing here would heed.

    Args:
        what: What it was given as, for the message.
        values: Anything. A masked array of which nothing is masked is like any other.
        remedy: What to write instead.

    Raises:
        SettingsError: Something is masked.
    """
    if np.ma.is_masked(values):
        masked = int(np.ma.getmaskarray(values).sum())
        raise SettingsError(
            f"{what} is a masked array, and {masked} of its {values.size} values are masked: "
            f"{remedy}"
        )


def _is_constant(array: Array) -> bool:
    """Whether nothing writes to this memory: neither this array nor what it is a view of."""
    memory: Any = array  # in the end whatever owns the memory, such as bytes or a file's mapping
    while isinstance(memory, np.ndarray):
        if memory.flags.writeable:
            return False
        memory = memory.base
    return memory is None or _is_read_only(memory)


def _is_read_only(owner: Any) -> bool:
    """Whether the object that memory belongs to lets nobody write to it, as bytes do."""
    try:
        with memoryview(owner) as view:
            return view.readonly
    except TypeError:  # it does not say
        return False
