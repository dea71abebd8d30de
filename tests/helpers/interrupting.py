"""Ctrl-C at every point where Python may raise it, one after the other, instead of by chance."""

from __future__ import annotations

import dis
import sys
from collections.abc import Callable, Iterator
from functools import cache
from itertools import count
from types import CodeType, FrameType, FunctionType, ModuleType
from typing import Any

import pytest


def at_every_point(call: Callable[[], object], *places: ModuleType | FunctionType) -> Iterator[str]:
    """Runs `call` again and again, each time interrupted one point later, until it gets through.

    A point is where the interpreter looks for signals: at a function's beginning, after a call and
    where a loop goes back. Fails where the call swallows the interrupt.

    Args:
        call: What is interrupted; it runs on this thread.
        places: The modules, and single functions of others, that are interrupted.

    Yields:
        Where the call was interrupted, each time.
    """
    within = frozenset(
        place.__code__ if isinstance(place, FunctionType) else str(place.__file__)
        for place in places
    )
    for number in count(1):
        tracer = _Tracer(number, within)
        before = sys.gettrace()
        sys.settrace(tracer.enter)
        try:
            call()
        except KeyboardInterrupt:
            caught = True
        else:
            caught = False
        finally:
            sys.settrace(before)
            tracer.forget()
        if tracer.where is None:
            assert number > 1, "there was no point at all"
            return
        if not caught:
            pytest.fail(f"the interrupt at {tracer.where} was lost")
        yield tracer.where


_LOOKING = ("CALL", "RESUME", "JUMP_BACKWARD")
"""Steps at whose end the interpreter looks for signals."""
_TOO_LATE = ("PUSH_EXC_INFO", "SWAP", "POP_EXCEPT")
"""Steps that follow a call that raised, or that end a handler: nothing is raised before them."""


class _Tracer:
    """Raises `KeyboardInterrupt` at the point of that number."""

    def __init__(self, number: int, within: frozenset[str | CodeType]) -> None:
        self._left = number
        self._within = within
        self._done: dict[FrameType, str] = {}
        self.where: str | None = None

    def enter(self, frame: FrameType, event: str, arg: Any) -> Any:
        """For `sys.settrace`: a function is called."""
        if not self._within & {frame.f_code, frame.f_code.co_filename}:
            return None
        frame.f_trace_opcodes = True
        frame.f_trace_lines = False
        return self._step

    def forget(self) -> None:
        """Lets go of all frames, which hold what their functions held."""
        self._done.clear()

    def _step(self, frame: FrameType, event: str, arg: Any) -> Any:
        """Before each step of a function: the one before it may have looked for signals."""
        if event != "opcode":
            return self._step
        steps = _steps(frame.f_code)
        done = self._done.get(frame, "")
        self._done[frame] = steps[frame.f_lasti]
        if done.startswith(_LOOKING) and steps[frame.f_lasti] not in _TOO_LATE:
            self._left -= 1
            if not self._left:
                self.forget()
                self.where = f"{frame.f_code.co_qualname}, line {frame.f_lineno}"
                raise KeyboardInterrupt(self.where)
        return self._step


@cache
def _steps(code: CodeType) -> dict[int, str]:
    return {step.offset: step.opname for step in dis.get_instructions(code)}
