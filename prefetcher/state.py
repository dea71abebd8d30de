"""Where a training stands in its data, as small JSON, and whether a saved place fits this data.

The order is a function of (seed, pass, position), so a place is the pass and which positions of it
were trained: one number when they were trained in order, else a compressed bit for each. With it go
the settings that shape the order and a fingerprint of the file, because a place means nothing in
another order or among other rows.
"""

from __future__ import annotations

import base64
import zlib
from collections.abc import Iterator, Mapping
from functools import cached_property
from hashlib import sha256
from typing import Any

import numpy as np
from numpy.typing import NDArray

from prefetcher.errors import StateError
from prefetcher.hdf5.fingerprint import fingerprint
from prefetcher.order.plan import Plan
from prefetcher.pipeline.stream import Feed
from prefetcher.tickets.iteration import Rest

VERSION = 4
"""Of the JSON and of the order: a change to how the plan draws must raise it."""


class Identity:
    """What a place in the data depends on: the order and the file.

    Args:
        feed: Settings, file and plan of one sequence.
    """

    def __init__(self, feed: Feed) -> None:
        self._feed = feed

    def state(self, pass_number: int, rest: Rest) -> dict[str, Any]:
        """The state in which `rest` is what is left of that pass."""
        return {
            "version": VERSION,
            "pass": pass_number,
            "trained": _trained(rest, self._feed.plan.num_batches),
            "order": self._order,
            "file": self._file,
        }

    def place(self, state: Mapping[str, Any]) -> tuple[int, Rest]:
        """The pass that `state` is in and what is left of it.

        Raises:
            StateError: It is no state of this data; the message names what differs.
        """
        try:
            differing = list(self._differing(state))
            pass_number = _pass(state["pass"])
            rest = _rest(state["trained"], self._feed.plan.num_batches)
        except (AttributeError, LookupError, TypeError, ValueError, zlib.error) as error:
            raise StateError(
                f"this is no state of a PrefetchSequence ({error!r}): pass what state_dict() gave"
            ) from error
        if differing:
            raise StateError(
                f"the state does not fit {self._feed.where}, as {'; '.join(differing)}. Use the "
                "same file and settings, or begin anew"
            )
        return pass_number, rest

    def _differing(self, state: Mapping[str, Any]) -> Iterator[str]:
        if state["version"] != VERSION:
            yield f"its version is {state['version']}, not {VERSION}"
            return
        for part, ours in (("order", self._order), ("file", self._file)):
            for name, value in ours.items():
                if state[part][name] != value:
                    yield f"{name} was {state[part][name]!r} and is {value!r}"

    @cached_property
    def _order(self) -> dict[str, Any]:
        """The settings that shape the order."""
        plan, settings = self._feed.plan, self._feed.settings
        return {
            "seed": plan.seed,
            "shuffle": plan.shuffle,
            "batch_size": plan.batch_size,
            "chunk_size": plan.chunk_size,
            "block_size": plan.block_size,
            "storage chunk rows": plan.align,
            "drop_remainder": plan.drop_remainder,
            "rows": _rows(plan),
            "weights": plan.weights is not None and _numbers("weights", plan.weights),
            "x": str(settings.x),
            "y": str(settings.y),
            "sample_weight": str(settings.sample_weight),
        }

    @cached_property
    def _file(self) -> dict[str, Any]:
        """What tells this file from another. Its name and times do not: it may be copied."""
        shards, datasets = self._feed.shards, self._feed.datasets
        names = [part.name for part in self._feed.parts]
        names += [dataset.csr.indptr.name for dataset in datasets if dataset.csr]
        found = fingerprint(shards, names)
        return {
            "files": len(shards.files),
            "bytes": shards.size,
            "datasets": sorted(str(dataset) for dataset in datasets),
            "checksum of storage": found.storage,
            "checksum of samples": found.rows,
        }


def _rows(plan: Plan) -> str:
    """The rows that are samples, as text of bounded length."""
    samples = plan.samples
    if isinstance(samples, range):
        return f"{samples.start}:{samples.stop}:{samples.step}"
    return _numbers("rows", samples)


def _numbers(what: str, numbers: NDArray[Any]) -> str:
    return f"{len(numbers)} {what} {sha256(numbers.tobytes()).hexdigest()[:16]}"


def _pass(number: Any) -> int:
    """The number of a pass.

    Raises:
        ValueError: It is none.
    """
    if not isinstance(number, int) or number < 0:
        raise ValueError(f"pass {number!r}")
    return number


def _trained(rest: Rest, num_batches: int) -> int | str:
    """What is not in `rest`: how many, if they are the first of the pass, else packed bits."""
    done = num_batches - len(rest)
    if done == 0 or (rest[0] == done and rest[-1] == num_batches - 1):
        return done
    bits = np.ones(num_batches, np.bool_)
    bits[np.asarray(rest)] = False
    return base64.b64encode(zlib.compress(np.packbits(bits).tobytes())).decode()


def _rest(trained: int | str, num_batches: int) -> Rest:
    """The reverse of `_trained`.

    Raises:
        ValueError: It leaves nothing of the pass, or was not made by `_trained`.
    """
    if isinstance(trained, int):
        rest: Rest = range(trained, num_batches)
    else:
        unpacking = zlib.decompressobj()
        bits = unpacking.decompress(base64.b64decode(trained), num_batches // 8 + 2)
        if not unpacking.eof:  # cut short, or made to fill the memory
            raise ValueError(f"bits that are not of {num_batches} batches")
        packed = np.frombuffer(bits, np.uint8)
        rest = np.flatnonzero(np.unpackbits(packed, count=num_batches) == 0)
    if not 0 < len(rest) <= num_batches:
        raise ValueError(f"{len(rest)} of {num_batches} batches left")
    return rest
