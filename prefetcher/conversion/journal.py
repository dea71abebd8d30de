"""Where an unfinished conversion stands, so that another run can go on with it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from prefetcher.errors import SettingsError
from prefetcher.messages.wording import written
from prefetcher.writing.partial import partial_of


class Journal:
    """A small file beside the unfinished one. It is there only while that one can be gone on with.

    Args:
        out: The file that is being made.
        fingerprint: Of the source, its order and the settings: no other conversion can go on.
    """

    def __init__(self, out: Path, fingerprint: str) -> None:
        self._out = out
        self._path = Path(f"{partial_of(out)}.json")
        self._fingerprint = fingerprint

    def read(self) -> dict[str, Any] | None:
        """What was written last; None where there is nothing to go on with.

        Raises:
            SettingsError: It is of another conversion.
        """
        try:
            content = json.loads(self._path.read_bytes())
        except (FileNotFoundError, ValueError, RecursionError):
            return None
        if not isinstance(content, dict):
            return None
        if content.pop("fingerprint", None) != self._fingerprint:
            raise SettingsError(
                f"{partial_of(self._out).name} was begun from another source or with other "
                f"settings: give the same ones, or leave out {written('resume', value=True)} to "
                "begin anew"
            )
        found: dict[str, Any] = content
        return found

    def write(self, content: dict[str, Any]) -> None:
        """Replaces what was written before, in one step."""
        partial = self._path.with_name(self._path.name + ".new")
        partial.unlink(missing_ok=True)  # a link is not written through
        partial.write_text(json.dumps({"fingerprint": self._fingerprint, **content}), "utf-8")
        partial.replace(self._path)

    def remove(self) -> None:
        """The unfinished file cannot be gone on with, now or ever."""
        self._path.unlink(missing_ok=True)
