"""Python processes of their own, for what ends a process or must not outlive one."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from textwrap import dedent

import pytest

PROCESS_LIMIT_S = 90

_HEAD = """
import faulthandler, itertools, os, sys, threading
faulthandler.dump_traceback_later({limit}, exit=True)
import prefetcher
from pathlib import Path
from helpers.sequences import ids, small
file = Path({file!r})
"""


def run_python(body: str, *, file: Path) -> str:
    """Runs `body` and returns what it printed; fails unless it ends by itself with status 0.

    The body finds `file`, `small` and `ids` (helpers.sequences), `prefetcher` and a few modules of
    the standard library. A hang ends with the stacks of all threads.
    """
    head = _HEAD.format(file=str(file), limit=PROCESS_LIMIT_S)
    return run_script(head + dedent(body))


def run_script(script: str) -> str:
    """Runs a bare script with this process's import path, as `run_python` does."""
    env = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    try:
        done = subprocess.run(
            [sys.executable, "-c", script],
            env=env,
            capture_output=True,
            text=True,
            check=False,
            timeout=2 * PROCESS_LIMIT_S,
        )
    except subprocess.TimeoutExpired as hang:
        pytest.fail(f"the process did not end: {hang.stderr!r}")
    assert done.returncode == 0, f"status {done.returncode}\n{done.stdout}\n{done.stderr}"
    return done.stdout
