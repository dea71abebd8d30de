"""Settings that cannot work are refused, and the message says what to write instead."""

from __future__ import annotations

import json
import re
from typing import Any

import numpy as np
import pytest

from prefetcher.config import Settings
from prefetcher.errors import SettingsError

FILE = "samples.h5"


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"readers": 0}, "readers=0: write readers=1 or more"),
        ({"batchers": -1}, "batchers=-1: write batchers=1 or more"),
        ({"readers": "many"}, """readers='many': write a number of threads, or "auto\""""),
        ({"batch_size": 0}, "batch_size=0: write batch_size=1"),
        ({"batch_size": 2.5}, "batch_size=2.5: expected a whole number"),
        ({"batch_size": True}, "batch_size=True: expected a whole number"),
        ({"chunk_size": 0}, "chunk_size=0: write chunk_size=1"),
        ({"chunk_queue": 0}, "chunk_queue=0: write chunk_queue=1"),
        ({"batch_queue": 0}, "a queue of 0 could never hold a batch"),
        ({"block_size": 0}, "block_size=0: write block_size=1"),
        ({"block_size": 65, "chunk_size": 64}, "write block_size=64 or less"),
        ({"seed": -1}, "seed=-1: write a number from 0 to 2**64 - 1"),
        ({"seed": 2**64}, "write a number from 0"),
        ({"seed": "a"}, "seed='a': expected a whole number"),
        ({"retries": -1}, "retries=-1: write 0 or more"),
        ({"shuffle": "False"}, "shuffle='False': write True or False"),
        ({"drop_remainder": "no"}, "drop_remainder='no': write True or False"),
        ({"allow_external": 1}, "allow_external=1: write True or False"),
        ({"shuffle": None}, "shuffle=None: write True or False"),
        ({"transform": 3}, "transform=3 cannot be called"),
        ({"x": None}, "x=None: name the dataset"),
        ({"x": 5}, "x=5: expected a dataset's name"),
        ({"x": ()}, "x=(): expected a dataset's name"),
        ({"x": ("a", None)}, "x holds None"),
        ({"y": None, "sample_weight": "w"}, "sample_weight='w' without y"),
        ({"weights": np.ones(3), "shuffle": False}, "weights with shuffle=False: draws have no"),
        ({"weights": "w", "shuffle": False}, "what weighs the loss is sample_weight="),
        ({"balance": "labels", "shuffle": False}, "Leave out balance, or shuffle=False"),
        ({"balance": "labels", "weights": "w"}, "leave out one"),
        ({"balance": [0, 1]}, "balance=[0, 1]: write the name of a dataset of classes"),
        ({"weights": np.ones((3, 1))}, "weights is float64 of shape (3, 1): pass a number for"),
        ({"weights": ["a", "b"]}, "weights is <U1 of shape (2,)"),
        ({"weights": [[1], [1, 2]]}, "weights is lists of different lengths"),
        ({"weights": {"a": 1}}, "weights is object of shape ()"),
    ],
)
def test_refused(settings: dict[str, Any], says: str) -> None:
    with pytest.raises(SettingsError, match=re.escape(says)) as caught:
        Settings(FILE, **settings)
    assert isinstance(caught.value, ValueError)


def test_auto_stands_for_a_number_that_is_found_later() -> None:
    settings = Settings(FILE, readers="auto", batchers=3)
    assert settings.workers(auto=1) == (1, 3)
    assert settings.workers(auto=8) == (8, 3)


@pytest.mark.parametrize(
    ("batch_size", "chunk_size", "expected"),
    [(32, 3200, 3200), (48, 3200, 3168), (32, 20, 32), (1, 1, 1), (7, 20, 14)],
)
def test_a_chunk_is_rounded_down_to_whole_batches(
    batch_size: int, chunk_size: int, expected: int
) -> None:
    assert Settings(FILE, batch_size=batch_size, chunk_size=chunk_size).chunk_size == expected


def test_numpy_integers_are_whole_numbers() -> None:
    settings = Settings(FILE, batch_size=np.int64(8), seed=np.uint64(2**63))  # type: ignore[arg-type]
    assert (settings.batch_size, settings.seed) == (8, 2**63)


def test_numpy_flags_are_flags() -> None:
    settings = Settings(FILE, shuffle=np.False_, drop_remainder=np.True_)  # type: ignore[arg-type]
    assert (settings.shuffle, settings.drop_remainder) == (False, True)
    assert json.dumps(settings.shuffle) == "false"


def test_names_lose_their_leading_slash() -> None:
    settings = Settings(FILE, x={"a": "/train/x"}, y=["/y", "z"])  # type: ignore[arg-type]
    assert settings.x == {"a": "train/x"}
    assert settings.y == ("y", "z")
