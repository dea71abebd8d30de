"""A process that appends to an HDF5 file in SWMR mode, step by step, as it is told."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_WRITER = """
import sys
import h5py, numpy as np

def append(dataset, stop):
    start = len(dataset)
    dataset.resize(stop, axis=0)
    dataset[start:] = np.arange(start, stop).reshape(-1, *[1] * (dataset.ndim - 1))
    dataset.flush()

with h5py.File(sys.argv[1], "w", libver="latest") as file:
    columns = {"chunks": (8, 4), "maxshape": (None, 4), "dtype": "f4"}
    file.create_dataset("x", (0, 4), **columns, compression="gzip")
    file.create_dataset("plain", (0, 4), **columns)
    file.create_dataset("y", (0, 1), chunks=(8, 1), maxshape=(None, 1), dtype="f4")
    file.create_dataset("fixed", data=np.repeat(np.arange(30, dtype="f4")[:, None], 4, axis=1))
    file.swmr_mode = True
    print("open", flush=True)
    for line in sys.stdin:
        *names, rows = line.split()
        if rows == "on":  # appends until it is told to stop, or has very much
            for step in range(100_000):
                rows = len(file["x"]) + 3
                for name in names:
                    append(file[name], rows)
                if step % 10 == 9:
                    print(rows, flush=True)
        for name in names:
            append(file[name], int(rows))
        print("done", flush=True)
print("closed", flush=True)
sys.stdin.read()
"""


class Writer:
    """Its datasets hold each row's number in every column: "x" (gzip), "plain" and "y" (n, 1).

    "fixed" (30, 4) is contiguous and does not grow.
    """

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process

    def append(self, rows: int, *names: str) -> None:
        """Appends to datasets, all that grow if none is named, until they have so many rows."""
        self._tell(" ".join([*(names or ("x", "plain", "y")), str(rows)]))
        self._wait_for("done")

    def append_on(self) -> None:
        """Appends to all from now on, a few rows at a time, until it is killed."""
        self._tell("x plain y on")
        self.wait_for_more()

    def wait_for_more(self) -> None:
        """Waits until it has appended some rows more."""
        assert self._line()

    def close(self) -> None:
        """Closes the file in the usual way."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._wait_for("closed")

    def kill(self) -> None:
        """Ends the process as a crash would."""
        self._process.kill()
        self._process.wait(30)

    def _tell(self, line: str) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(line + "\n")
        self._process.stdin.flush()

    def _wait_for(self, line: str) -> None:
        assert self._line() == line

    def _line(self) -> str:
        assert self._process.stdout is not None
        return self._process.stdout.readline().strip()


@contextmanager
def appending(path: Path, rows: int) -> Iterator[Writer]:
    """A process that has `path` open in SWMR mode and has appended so many rows."""
    with subprocess.Popen(
        [sys.executable, "-c", _WRITER, path],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        writer = Writer(process)
        try:
            writer._wait_for("open")
            writer.append(rows)
            yield writer
        finally:
            writer.kill()
