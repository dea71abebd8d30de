"""Rows that could not be had: told ten at a time, or left out and reported."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path

from prefetcher.conversion.options import OnError
from prefetcher.conversion.source import Failure
from prefetcher.errors import FileError
from prefetcher.messages.wording import written

LISTED = 10
"""Failures that an error lists: enough to see what is wrong, few enough to read."""


class Failures:
    """What went wrong so far, by the row of the source.

    Args:
        on_error: "fail" raises when `LISTED` are known, or at the end; "skip" only counts.
    """

    def __init__(self, on_error: OnError) -> None:
        self._fatal = on_error == "fail"
        self._found: dict[int, Failure] = {}

    def add(self, failures: Mapping[int, Failure]) -> None:
        """Takes note of more.

        Raises:
            FileError: They are not to be skipped, and there are enough to tell.
        """
        self._found.update(failures)
        if len(self._found) >= LISTED:
            self.check()

    def check(self) -> None:
        """Raises `FileError` if there is a failure and it is not to be skipped."""
        if self._fatal and self._found:
            listed = "\n".join(f"  {name}: {reason}" for name, reason in self._first())
            more = " or more" if len(self._found) >= LISTED else ""
            raise FileError(
                f"{len(self._found)}{more} could not be read; mend or remove them, or leave them "
                f"out with {written('on_error', 'skip')}:\n{listed}"
            )

    def _first(self) -> Iterator[Failure]:
        for row in sorted(self._found)[:LISTED]:
            yield self._found[row]

    @property
    def stop_writing(self) -> bool:
        """Whether nothing will come of the file, and only more failures are looked for."""
        return self._fatal and bool(self._found)

    @property
    def rows(self) -> Mapping[int, Failure]:
        """All of them."""
        return self._found

    def __len__(self) -> int:
        return len(self._found)

    def report(self, path: Path) -> Path | None:
        """Writes what was left out to `path`, one JSON object a line; None if nothing was."""
        path.unlink(missing_ok=True)
        if not self._found:
            return None
        lines = (json.dumps({"row": row, **f._asdict()}) for row, f in sorted(self._found.items()))
        path.write_text("\n".join(lines) + "\n", encoding="utf-8")
        return path
