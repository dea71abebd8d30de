"""The promise: several processes together train as one would, and each sample once in a pass."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import pytest
from conftest import MakeSamples
from helpers.launched import EPOCHS, train_group
from helpers.processes import run_script

BACKEND = keras.backend.backend()

on_jax = pytest.mark.skipif(BACKEND != "jax", reason="keras.distribution needs JAX")
on_tensorflow = pytest.mark.skipif(BACKEND != "tensorflow", reason="tf.distribute")

N = 93
"""Samples: of the last batch of 8, two processes cannot have equal parts."""

EVEN = 92
"""Samples of whose last batch, a short one, they can."""

SETTINGS: list[dict[str, Any]] = [{"rows": (0, EVEN)}, {"pad_to": 2}]


@on_jax
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


@on_jax
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


@on_tensorflow
def test_a_mirrored_strategy_trains_as_one_device(samples: MakeSamples) -> None:
    """It shares out an odd last batch unevenly and weighs its samples so, but for `pad_to`."""
    run_script(
        f"""
import keras, numpy as np, tensorflow as tf
from helpers.sequences import small

(cpu,) = tf.config.list_physical_devices("CPU")
tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)

def trained(strategy, **settings):
    keras.utils.set_random_seed(1)
    with strategy.scope():
        scaled = keras.layers.Rescaling(1 / 64)
        model = keras.Sequential([keras.Input((4,)), scaled, keras.layers.Dense(1)])
        model.compile(keras.optimizers.Adam(0.01), "mse")
    with small({str(samples(N))!r}, batch_size=8, chunk_size=32, **settings) as sequence:
        model.fit(sequence, epochs=2, verbose=0)
    return np.concatenate([weight.ravel() for weight in model.get_weights()])

alone = trained(tf.distribute.get_strategy())
mirrored = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
assert np.abs(trained(mirrored) - alone).max() > 1e-5  # so this would be seen
np.testing.assert_allclose(trained(mirrored, pad_to=2), alone, atol=1e-5)
"""
    )
