"""Functions called in a fresh process, so that no system profits or suffers from another.

A function that is called so takes and gives what JSON knows.
"""

from __future__ import annotations

import importlib
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
LAST_LINES = 5
"""Of a child that failed: its error, and a little of where it came from."""


class ChildError(Exception):
    """The function failed in its process, or took too long; its last lines say how."""


def call(
    target: str,
    *,
    timeout_s: float = 600,
    backend: str = "",
    environment: Mapping[str, str] | None = None,
    **arguments: Any,
) -> Any:
    """Calls a function in a process of its own.

    Args:
        target: ``module:function``, as in ``bench.reading:read``.
        timeout_s: After this the process is killed.
        backend: What Keras shall use there; else what `KERAS_BACKEND` says here.
        environment: Variables that the process has besides ours.
        **arguments: For the function.

    Returns:
        What the function gave.

    Raises:
        ChildError: It raised, was killed or took too long.
    """
    surroundings = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3", **(environment or {})}
    if backend:
        surroundings["KERAS_BACKEND"] = backend
    with tempfile.TemporaryDirectory() as folder:
        answer = Path(folder) / "answer.json"
        try:
            done = subprocess.run(
                [sys.executable, "-m", "bench.child", target, str(answer)],
                input=json.dumps(arguments),
                capture_output=True,
                text=True,
                cwd=ROOT,
                env=surroundings,
                timeout=timeout_s,
                check=False,
            )
        except subprocess.TimeoutExpired:
            raise ChildError(f"{target} was not done after {timeout_s:.0f} s") from None
        if done.returncode:
            last = "\n".join(done.stderr.splitlines()[-LAST_LINES:])
            raise ChildError(f"{target} ended with code {done.returncode}: {last}")
        return json.loads(answer.read_text())


def main() -> None:
    """The child's side: arguments from stdin, the result into the file that was named."""
    target, answer = sys.argv[1:]
    module, _, function = target.partition(":")
    arguments = json.load(sys.stdin)
    result = getattr(importlib.import_module(module), function)(**arguments)
    Path(answer).write_text(json.dumps(result, allow_nan=False))
    sys.stderr.flush()
    # Without the interpreter's own end: who leaves a thread behind in h5py waits there for ever.
    os._exit(0)


if __name__ == "__main__":
    main()
