"""What a result depends on besides the code: processor, memory, versions, load."""

from __future__ import annotations

import os
import platform
import re
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import psutil

from prefetcher.machine.limits import cpus_allowed

PACKAGES = (
    "prefetcher",
    "numpy",
    "h5py",
    "hdf5plugin",
    "imagecodecs",
    "deflate",
    "keras",
    "tensorflow",
    "jax",
    "torch",
    "grain",
    "spdl-core",
)


def facts() -> dict[str, Any]:
    """The machine now."""
    return {
        "processor": processor(),
        "cpus_allowed": cpus_allowed(),
        "memory_bytes": psutil.virtual_memory().total,
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "load_before": [round(load, 2) for load in os.getloadavg()],
        "packages": dict(versions(PACKAGES)),
    }


def processor() -> str:
    """The processor's name as the system tells it."""
    told = Path("/proc/cpuinfo")
    lines = told.read_text().splitlines() if told.exists() else []
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.processor())


def versions(packages: Sequence[str]) -> Iterator[tuple[str, str]]:
    """Each of these distributions that is installed, with its version."""
    for package in packages:
        try:
            yield package, version(package)
        except PackageNotFoundError:  # then it is not measured either
            continue


def run_name() -> str:
    """Date and machine, as in ``2026-11-24-epyc-2cpu``."""
    words = re.findall(r"[a-z]+", processor().lower())
    known = [word for word in words if word not in {"amd", "intel", "r", "tm", "processor", "cpu"}]
    family = known[0] if known else platform.machine()
    return f"{datetime.now(UTC):%Y-%m-%d}-{family}-{cpus_allowed()}cpu"
