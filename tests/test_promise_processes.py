"""The promise: several processes together train as one would, and each sample once in a pass."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import pytest
from conftest import MakeSamples
from helpers.groups import EPOCHS, train_group
from helpers.processes import run_script

pytestmark = pytest.mark.skipif(
    keras.backend.backend() != "jax", reason="Keras trains over several processes on JAX alone"
)

N = 93
"""Samples: of the last batch of 8, two processes cannot have equal parts."""

EVEN = 92
"""Samples of whose last batch, a short one, they can."""

SETTINGS: list[dict[str, Any]] = [{"rows": (0, EVEN)}, {"pad_to": 2}]


def test_two_processes_train_as_one(samples: MakeSamples) -> None:
    one, two = (train_group(count, samples(N), *SETTINGS) for count in (1, 2))
    for (alone,), together, given in zip(one, two, SETTINGS, strict=True):
        for each in together:
            np.testing.assert_allclose(
                each["weights"], alone["weights"], atol=1e-5, err_msg=str(given)
            )
            assert each["steps"] == alone["steps"]
            assert each["trained"] == together[0]["trained"]
    (short, filled) = (np.array(together[0]["trained"]) for together in two)
    assert (short[:EVEN] == EPOCHS).all()
    assert short.sum() == EPOCHS * EVEN
    assert (filled[:N] >= EPOCHS).all()
    assert filled.sum() == EPOCHS * (N + 1)  # one row of weight 0 in each pass


def test_a_batch_that_two_devices_cannot_share_is_refused_before_the_first_step(
    samples: MakeSamples,
) -> None:
    """In one process as well: Keras says so at the end of the first epoch. The remedies work."""
    run_script(
        f"""
import os
os.environ["XLA_FLAGS"] = "--xla_force_host_platform_device_count=2"
import keras, prefetcher, pytest
from helpers.sequences import small

keras.distribution.set_distribution(keras.distribution.DataParallel())
model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(1)])
model.compile("sgd", "mse")
file = {str(samples(N))!r}

def steps(**settings):
    with small(file, chunk_size=24, **settings) as sequence:
        model.fit(sequence, verbose=0)
    return int(model.optimizer.iterations)

with pytest.raises(prefetcher.SettingsError, match="write pad_to=2"):
    steps(batch_size=8)
with pytest.raises(prefetcher.SettingsError, match="write batch_size=10"):
    steps(batch_size=9)
assert model.optimizer.iterations == 0
assert steps(batch_size=8, pad_to=2) == 12
assert steps(batch_size=10, drop_remainder=True) == 12 + 9
"""
    )
