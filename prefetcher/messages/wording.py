"""Settings as the reader of a message writes them: arguments in Python, flags on a command line."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar

_flags: ContextVar[bool] = ContextVar("flags", default=False)
_OTHER_FLAGS = {"label_cols": "label-col"}


class Word(str):
    """Stands for a value that the reader is to fill in."""

    __slots__ = ()

    def __repr__(self) -> str:
        return str(self)


@contextmanager
def as_flags() -> Iterator[None]:
    """Messages made in the block, by this thread, name flags."""
    token = _flags.set(True)
    try:
        yield
    finally:
        _flags.reset(token)


def written(name: str, value: object = None) -> str:
    """A setting, with a value if one is given.

    ``written("size", (8, 9))`` is "size=(8, 9)" or "--size 8 9".
    """
    if not _flags.get():
        given = dict(value) if isinstance(value, Mapping) else value
        return f"{name}=" if value is None else f"{name}={given!r}"
    flag = "--" + _OTHER_FLAGS.get(name, name.replace("_", "-"))
    return flag if value is None or value is True else f"{flag} {_as_words(value)}"


def _as_words(value: object) -> str:
    if isinstance(value, Mapping):
        return ",".join(f"{key}={share}" for key, share in value.items())
    if isinstance(value, tuple | list):
        return " ".join(map(str, value))
    return str(value)
