"""Promise 9, for memory: what a sequence took goes back to the system when it is closed."""

from __future__ import annotations

import sys
from pathlib import Path

import h5py
import numpy as np
import pytest
from helpers.processes import run_python

ROWS, SIDE = 960, 128
"""47 MB of rows that are placed: several times what a process may keep."""

LEFT_MB = 30
"""Megabytes that may stay. What is left by the backend varies by 20 or so."""

BODY = """
import gc
import keras, psutil

def resident():
    gc.collect()
    return psutil.Process().memory_info().rss / 1e6

model = keras.Sequential([
    keras.Input(({side}, {side}, 3), dtype="uint8"),
    keras.layers.Cropping2D({side} // 2 - 2),  # first, so that the model itself takes no memory
    keras.layers.Rescaling(1 / 255),
    keras.layers.Flatten(),
    keras.layers.Dense(1),
])
model.compile("sgd", "mse")

def opened():
    return prefetcher.PrefetchSequence(file, x="x", y="y", batch_size=32, chunk_size=640, readers=2)

def short_fits(sequence, count):
    for _ in range(count):
        model.fit(sequence, steps_per_epoch=4, verbose=0)

sequence = opened()
assert 90e6 < sequence.memory_bytes < 120e6
sequence.close()
"""

MANY = """
for _ in range(4):  # what the backend takes once and keeps
    with opened() as sequence:
        short_fits(sequence, 1)
before = resident()
for _ in range(12):
    with opened() as sequence:
        short_fits(sequence, 1)
print(resident() - before)
"""

ONE = """
with opened() as sequence:
    short_fits(sequence, 4)
before = resident()
with opened() as sequence:
    short_fits(sequence, 40)
    assert resident() - before < 1.2 * sequence.memory_bytes / 1e6
print(resident() - before)
"""


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("memory") / "pictures.h5"
    with h5py.File(path, "w") as file:
        file["x"] = np.ones((ROWS, SIDE, SIDE, 3), np.uint8)
        file["y"] = np.zeros(ROWS, np.float32)
    return path


@pytest.mark.skipif(sys.platform != "linux", reason="resident memory means another thing")
@pytest.mark.parametrize("fits", [ONE, MANY], ids=["many fits of one", "one fit of each of many"])
def test_memory_goes_back_when_a_sequence_is_closed(pictures: Path, fits: str) -> None:
    """The sequences are still there, and TensorFlow never lets them go."""
    left = float(run_python(BODY.format(side=SIDE) + fits, file=pictures))
    assert left < LEFT_MB
