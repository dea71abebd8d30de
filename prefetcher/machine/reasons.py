"""Why a reading is null. Every reading is optional, and each reason is told once."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


class Reasons:
    """Collects one reason for each reading that is not available. Not shared between threads."""

    def __init__(self) -> None:
        self._known: set[str] = set()
        self._untold: dict[str, str] = {}

    def note(self, name: str, reason: str) -> None:
        """Keeps why the reading `name` is null; the first reason stands, later ones are dropped."""
        if name not in self._known:
            self._known.add(name)
            self._untold[name] = reason

    def take(self) -> dict[str, str]:
        """Reasons, by reading, that were noted since the last call; often empty."""
        untold, self._untold = self._untold, {}
        return untold

    def attempt(
        self, name: str, reading: Callable[[], T], errors: tuple[type[Exception], ...]
    ) -> T | None:
        """Takes the reading `name`; when it raises one of `errors`, notes it and returns None."""
        try:
            return reading()
        except errors as error:
            self.note(name, f"{type(error).__name__}: {error}")
            return None
