"""What a sequence may leave behind: threads and open files. Nothing."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import psutil

from helpers.waiting import LIMIT_S, join

THREAD_PREFIX = "prefetch-"
_DESCRIPTORS = Path("/proc/self/fd")


def pipeline_threads() -> list[threading.Thread]:
    """The pipeline threads that run now, of all sequences of this process."""
    return [t for t in threading.enumerate() if t.name.startswith(THREAD_PREFIX)]


def join_pipeline_threads(limit_s: float = LIMIT_S) -> None:
    """Waits until no pipeline thread is left; fails with all stacks after `limit_s` seconds."""
    for thread in pipeline_threads():
        join(thread, limit_s)


def open_hdf5_files() -> list[str]:
    """The HDF5 files that this process holds open, once for each descriptor."""
    if _DESCRIPTORS.is_dir():
        return sorted(filter(_is_hdf5, map(_target, _DESCRIPTORS.iterdir())))
    return sorted(f.path for f in psutil.Process().open_files() if _is_hdf5(f.path))


def _target(descriptor: Path) -> str:
    try:
        return os.readlink(descriptor)  # noqa: PTH115 - a Path would lose "(deleted)" and sockets
    except OSError:  # closed since the folder was listed
        return ""


def _is_hdf5(target: str) -> bool:
    return target.removesuffix(" (deleted)").endswith(".h5")
