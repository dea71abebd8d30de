"""Who calls: what Keras does not say, read off the stack.

Keras tells a `Sequence` neither which of its iterators asks for a batch, nor whether an epoch
belongs to `fit` or to `predict`. Both are on the stack of the call. Checked against Keras 3.15 on
its three backends. Where a later Keras has other names, its calls count as plain indexing.
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Container, Iterator
from itertools import count, islice
from types import FrameType
from typing import Final

_ADAPTER: Final = "keras.src.trainers.data_adapters.py_dataset_adapter"
_METHODS: Final = frozenset({"fit", "evaluate", "predict"})
_LENGTH: Final = frozenset({"num_batches", "__len__"})
_ASKERS: Final = f"{__package__}.askers"
_NEAR: Final = 8  # calls between a sequence and the adapter: those of sequences that wrap it

SHAPES: Final = "get_tf_dataset"
"""Draws batches on TensorFlow to learn their shapes, and trains on none of them."""

_ASKS_FOR: Final = {SHAPES: SHAPES, "_run": "_run", "get_index": "_run"}
"""The adapter's functions that ask, and for whom: threads fetch what `_run` begins."""

Asker = int | str
"""An iterator of Keras: a generator is known by its frame's identity, a function by its name.

An identity may come again once its generator is gone. But each generator reads the number of
batches before it asks for any, and that is taken for its beginning.
"""


def keras_asks() -> Asker | None:
    """The iterator of Keras that asks the sequence which calls this; None for anybody else.

    A bare loop, because it runs for every batch.
    """
    frame: FrameType | None = sys._getframe(1)  # noqa: SLF001 - the way there is
    asker: Asker | None = None
    for _ in range(_NEAR):
        if frame is None:
            break
        if frame.f_globals.get("__name__") == _ADAPTER:
            asker = _asker(frame)
            if _asks(asker):
                break  # otherwise it is a comprehension within one that does
        frame = frame.f_back
    return asker


def keras_begins() -> Asker | None:
    """The iterator of Keras that begins by reading the length of the sequence which calls this."""
    for frame in islice(_callers(), _NEAR):
        if frame.f_code.co_name not in _LENGTH:  # a sequence that wraps another reads through these
            asker = _asker(frame) if _in_adapter(frame) else None
            return asker if _asks(asker) else None
    return None


def keras_adapter() -> object | None:
    """Keras's adapter if that makes the call; None for a loop of the user's own."""
    for frame in islice(_callers(), _NEAR):
        if _in_adapter(frame):
            return frame.f_locals.get("self")
    return None


def keras_works_with(adapters: Container[object]) -> bool:
    """Whether Keras's `fit`, `evaluate` or `predict` with one of these runs on this thread."""
    iterators = (frame.f_locals.get("epoch_iterator") for frame in _callers() if _is_method(frame))
    return any(getattr(each, "data_adapter", None) in adapters for each in iterators)


def keras_resets() -> bool:
    """Whether `EpochIterator.reset` is what calls `on_epoch_end`, through the data adapter.

    Nothing else tells a reset from the end of an epoch.
    """
    return any(
        frame.f_code.co_name == "reset" and _module(frame).startswith("keras.")
        for frame in islice(_callers(), _NEAR)
    )


def keras_method() -> str | None:
    """Keras's "fit", "evaluate" or "predict" that runs on this thread, the innermost of them."""
    return next((frame.f_code.co_name for frame in _callers() if _is_method(frame)), None)


def user_stacklevel() -> int:
    """The `stacklevel` for a warning in the caller that is to show the user's line."""
    for level, frame in zip(count(1), _stack(), strict=False):
        if not _module(frame).startswith(("keras.", "prefetcher.")):
            return level
    return 1


def _callers() -> Iterator[FrameType]:
    """Yields the stack from the sequence on that is asked, innermost first."""
    return (frame for frame in _stack() if _module(frame) != _ASKERS)


def _stack() -> Iterator[FrameType]:
    """Yields the stack above this module, innermost first."""
    frame: FrameType | None = sys._getframe(1)  # noqa: SLF001 - the way there is
    while frame is not None:
        if frame.f_globals is not globals():
            yield frame
        frame = frame.f_back


def _is_method(frame: FrameType) -> bool:
    return frame.f_code.co_name in _METHODS and _module(frame).startswith("keras.")


def _module(frame: FrameType) -> str:
    return str(frame.f_globals.get("__name__", ""))


def _in_adapter(frame: FrameType) -> bool:
    return _module(frame) == _ADAPTER


def _asker(frame: FrameType) -> Asker:
    if frame.f_code.co_flags & inspect.CO_GENERATOR:
        return id(frame)
    return _ASKS_FOR.get(frame.f_code.co_name, frame.f_code.co_name)


def _asks(asker: Asker | None) -> bool:
    return isinstance(asker, int) or asker in _ASKS_FOR
