"""Processes that train as one agree with each other, so that none goes on without the others.

A process that leaves while the others wait for it would make them wait for ever. So whatever may
fail in one of them alone is done under `Group.agree`, which returns in all of them, or raises in
all of them.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeVar

import keras
import numpy as np

from prefetcher import errors
from prefetcher.errors import PrefetchError, ProcessError, SettingsError
from prefetcher.order.shard import Shard

Note = Any
"""What one process tells the others: what JSON can hold, and on PyTorch numpy arrays too."""

Everyone = Callable[[Note], Sequence[Note]]
"""Tells all processes, and returns what all of them told, by their index. Blocks until all did."""

_ROOM = 1024  # notes are sent in multiples of so many bytes, as JAX compiles for each size once
_LONGEST = 2000  # characters of an error that are told to others

_Value = TypeVar("_Value")


class _Failure(NamedTuple):
    """An error as the others learn of it."""

    kind: str
    message: str


def _alone(note: Note) -> Sequence[Note]:
    return [note]


@dataclass(frozen=True)
class Group:
    """The processes that train as one; this one alone, unless others are named.

    Attributes:
        index: This process's number among them, from 0. The first one writes for all.
        count: How many they are.
        everyone: How they talk. All of them call it at the same places of the program.
    """

    index: int = 0
    count: int = 1
    everyone: Everyone = _alone

    def agree(
        self,
        call: Callable[[], _Value],
        tell: Callable[[_Value], Note] = lambda _: None,
    ) -> tuple[_Value, Sequence[Note]]:
        """Does the same in every process; returns when all have done it.

        Args:
            call: Called in this process. It waits for no other process.
            tell: Makes the note that all get of what `call` returned.

        Returns:
            What `call` returned here, and the notes of all processes.

        Raises:
            PrefetchError: `call` failed in another process. The error is of the same class there,
                if it is one of this package's, else a `ProcessError`.
            Exception: Whatever `call` raised here, once the others know of it.
        """
        if self.count == 1:
            value = call()
            return value, [tell(value)]
        try:
            value = call()
            note = tell(value)
        except Exception as error:
            self.everyone([_failure(error), None])
            raise
        told = self.everyone([None, note])
        for index, (failure, _) in enumerate(told):
            if failure is not None:
                raise self._failed(index, _Failure(*failure))
        return value, [note for _, note in told]

    def _failed(self, index: int, failure: _Failure) -> PrefetchError:
        where = f"process {index} of {self.count}"
        kind = getattr(errors, failure.kind, None)
        if isinstance(kind, type) and issubclass(kind, PrefetchError):
            return kind(f"{where}: {failure.message}")
        return ProcessError(f"{where} failed: {failure.kind}: {failure.message}")


def group_of(shard: Shard) -> Group:
    """The processes that train with this one, as the backend that runs here knows them.

    Args:
        shard: This process's share of the data.

    Raises:
        SettingsError: The data is shared with others, and nothing joins this process to them.
    """
    if shard.count == 1 and keras.distribution.distribution() is None:
        return Group()  # asking JAX would start it, and nobody shares anything with this process
    joined = _joined()
    if joined.count == 1 and shard.count > 1:
        raise SettingsError(
            f"shard=({shard.index}, {shard.count}): the backup is of all {shard.count} processes, "
            "and this one knows of no other. Join them before the sequence is made: on JAX "
            "keras.distribution.initialize(), on PyTorch torch.distributed.init_process_group()"
        )
    return joined


def _joined() -> Group:
    """The processes that the backend joins. It has what it needs for that in memory already."""
    backend = keras.config.backend()
    if backend == "jax":
        jax = sys.modules["jax"]
        return Group(jax.process_index(), jax.process_count(), _over_jax)
    torch = sys.modules.get("torch.distributed") if backend == "torch" else None
    if torch is not None and torch.is_available() and torch.is_initialized():
        return Group(torch.get_rank(), torch.get_world_size(), _over_torch)
    return Group()


def _over_jax(note: Note) -> Sequence[Note]:
    from jax.experimental.multihost_utils import process_allgather

    content = json.dumps(note).encode()
    sizes = np.asarray(process_allgather(np.int32(len(content))))
    padded = np.zeros(-(-int(sizes.max()) // _ROOM) * _ROOM, np.uint8)
    padded[: len(content)] = np.frombuffer(content, np.uint8)
    rows = np.asarray(process_allgather(padded))
    return [json.loads(row[:size].tobytes()) for row, size in zip(rows, sizes, strict=True)]


def _over_torch(note: Note) -> Sequence[Note]:
    distributed = sys.modules["torch.distributed"]
    notes: list[Note] = [None] * distributed.get_world_size()
    distributed.all_gather_object(notes, note)
    return notes


def _failure(error: Exception) -> _Failure:
    return _Failure(type(error).__name__, str(error)[:_LONGEST])
