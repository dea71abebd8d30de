"""Which line of the user's own code an error comes from.

Keras shows an error of a data set without the traceback that led to it, so the message has to say.
"""

from __future__ import annotations

import functools
import inspect
import linecache
import sysconfig
import traceback
from pathlib import Path
from types import CodeType
from typing import Any

_OURS = str(Path(__file__).parents[1])
_LIBRARIES = ("site-packages", "dist-packages")
_STANDARD = tuple({sysconfig.get_path("stdlib"), sysconfig.get_path("platstdlib")})
_CYTHON = (".pyx", ".pxi", ".pxd")  # its frames carry the names of files that are not installed


def line_of(error: BaseException, function: Any) -> str:
    """The innermost line of the user's code that led to `error`, as a traceback shows it.

    Args:
        error: What `function` raised.
        function: What was called. Where no code of the user's ran, as with a wrong number of
            arguments, the line is that of its definition.

    Returns:
        Two lines that begin with a line break; "" where there is no Python code to show.
    """
    frames = [
        frame
        for frame in traceback.extract_tb(error.__traceback__)
        if not frame.filename.startswith(_OURS)
    ]
    users = [frame for frame in frames if not _is_library(frame.filename)]
    if not frames:
        return definition_of(function)
    # A transform out of an installed package: its own frame is the one that the user chose.
    frame = users[-1] if users else frames[0]
    return _shown(frame.filename, frame.lineno, frame.name, frame.line)


def definition_of(function: Any) -> str:
    """Where a function, a method or a callable object is defined; "" where that is not Python."""
    code = _code(function)
    if code is None:
        return ""
    line = linecache.getline(code.co_filename, code.co_firstlineno)
    return _shown(code.co_filename, code.co_firstlineno, code.co_name, line)


def _code(function: Any) -> CodeType | None:
    while isinstance(function, functools.partial):
        function = function.func
    function = inspect.unwrap(function)
    if not hasattr(function, "__code__"):
        function = type(function).__call__
    code = getattr(function, "__code__", None)
    return code if isinstance(code, CodeType) else None


def _is_library(filename: str) -> bool:
    if filename.startswith("<frozen") or filename.endswith(_CYTHON):
        return True
    parts = Path(filename).parts
    return any(name in parts for name in _LIBRARIES) or filename.startswith(_STANDARD)


def _shown(filename: str, line: int | None, name: str, source: str | None) -> str:
    return f'\n  File "{filename}", line {line}, in {name}\n    {(source or "").strip()}'.rstrip()
