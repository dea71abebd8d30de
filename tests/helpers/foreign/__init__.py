"""Small files as other libraries write them.

Each library writes in a process of its own: every wheel brings its own copy of HDF5, and two copies
in one process may take each other's filters.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

Writers = Mapping[str, Callable[[Path], None]]
"""A function that writes a file of its own, by the name of the file without its suffix."""

LIBRARIES = ("netcdf", "pytables", "frames", "scientific", "layouts", "types")
HOSTILE = ("hostile",)


def write_all(folder: Path, libraries: Sequence[str] = LIBRARIES) -> dict[str, Path]:
    """Writes the files of these libraries into `folder`; their paths by name.

    A library that is missing is an error, because the extra `dev` has it.
    """
    env = os.environ | {"PYTHONPATH": os.pathsep.join([str(Path(__file__).parents[2]), *sys.path])}
    for library in libraries:
        done = subprocess.run(
            [sys.executable, "-W", "error", "-m", f"helpers.foreign.{library}", str(folder)],
            env=env, capture_output=True, text=True, check=False, timeout=120,
        )  # fmt: skip
        if done.returncode:
            raise RuntimeError(f"{library} wrote no files: {done.stderr[-2000:]}")
    return {path.stem: path for path in sorted(folder.glob("*.h5"))}


def write(writers: Writers) -> None:
    """Writes each file into the folder that the command line names."""
    for name, writer in writers.items():
        writer(Path(sys.argv[1]) / f"{name}.h5")
