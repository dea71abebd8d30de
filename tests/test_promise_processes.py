"""The promise: several processes together train as one would, and each sample once in a pass."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import pytest
from conftest import MakeSamples
from helpers.groups import train_group

pytestmark = pytest.mark.skipif(
    keras.backend.backend() != "jax", reason="Keras trains over several processes on JAX alone"
)

N = 93
"""Samples: of the last batch of 8, two processes cannot have equal parts."""

SETTINGS: list[dict[str, Any]] = [
    {"rows": (0, 92)},  # a short last batch
    {"rows": (0, 92), "shuffle": False},
    {"drop_remainder": True},
    {"pad_to": 2},
]


def test_two_processes_train_as_one(samples: MakeSamples) -> None:
    one, two = (train_group(count, samples(N), *SETTINGS) for count in (1, 2))
    for (alone,), together, given in zip(one, two, SETTINGS, strict=True):
        for each in together:
            np.testing.assert_allclose(
                each["weights"], alone["weights"], atol=1e-5, err_msg=str(given)
            )
            assert each["steps"] == alone["steps"]
            assert each["trained"] == together[0]["trained"]
        _check_counts(np.array(together[0]["trained"]), np.array(alone["trained"]), given)


def _check_counts(trained: Any, alone: Any, given: dict[str, Any]) -> None:
    """How often each id reached a step in three passes, in all processes together."""
    if "pad_to" in given:
        assert trained[:N].min() == 3
        assert trained.sum() == 3 * (N + 1)  # a row is there twice, with weight 0
        return
    assert (trained == alone).all()
    if "rows" in given:
        assert (trained[:92] == 3).all()
    assert trained.sum() == 3 * (88 if "drop_remainder" in given else 92)
