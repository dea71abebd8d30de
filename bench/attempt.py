"""A child's run that may fail: the failure is noted in the result, and the rest goes on."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from bench.child import ChildError, call
from bench.files import kinds, make
from bench.part import Options, Result


def attempt(result: Result, what: str, target: str, **arguments: Any) -> Any | None:
    """Calls a function in a process of its own, as `bench.child.call` does.

    Args:
        result: Takes a line, should it fail.
        what: What is measured, for that line.
        target: ``module:function``.
        **arguments: For the function, `timeout_s`, `backend` and `environment` for `call`.

    Returns:
        What it gave; None if it failed.
    """
    try:
        return call(target, **arguments)
    except ChildError as error:
        if (line := f"{what}: {error}") not in result.failed:
            result.failed.append(line)
        return None


def pictures(options: Options, kind: str) -> Path:
    """The file of pictures that is stored in this way; drawn, if it is not there yet."""
    return make(
        options.folder, next(each for each in kinds() if each.name == kind), options.samples
    )
